"""An epoch end to end and on cached features of the frozen blocks, in float32 and BF16, in turn.

    python benchmarks/frozen_features.py MANIFEST --weights DIR \
        --out benchmarks/results/frozen_features

All train the same network from the same weights, seed and views. Writes OUT.json (every epoch)
and OUT.md (medians, ratios, and what the paper's 1000 epochs take by them). The weights folder
holds one ``<network>.safetensors`` each.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxredge.artifacts import tool_versions, write_json, write_text
from cxredge.data.manifest import Manifest, read_manifest
from cxredge.progress import Silent
from cxredge.telemetry.linux import read_machine
from cxredge.training.assembly import assemble, load_images
from cxredge.training.checkpoint import write_checkpoint
from cxredge.training.config import Hardware, TrainConfig
from cxredge.training.fit import Trainer
from cxredge.training.memory import keep_freed_memory
from cxredge.vocabulary import Augmentation, FeatureCache, TrainingPrecision

PAPER_EPOCHS = 1000


def main() -> None:
    arguments = _arguments()
    keep_freed_memory()
    manifest = read_manifest(arguments.manifest)
    found: dict[str, Any] = {
        "machine": read_machine().to_json(),
        "tools": tool_versions("torch", "torchvision", "timm"),
        "networks": {},
    }
    for network in arguments.networks:
        config = _config(network, arguments)
        found["networks"][network] = measure(manifest, config, arguments.rounds)
        print(*_rows(network, found["networks"][network]), sep="\n", flush=True)
        write_json(arguments.out.with_suffix(".json"), found)
    write_text(arguments.out.with_suffix(".md"), _table(found))


def measure(manifest: Manifest, config: TrainConfig, rounds: int) -> dict[str, Any]:
    """Time ``rounds`` epochs of each way in turn, after one that warms up."""
    images = load_images(manifest, config.input_size, Silent())
    classes = len(manifest.classes)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        ways = {
            f"{features.value}, {precision.value}": assemble(
                replace(config, features=features),
                Hardware("cpu", precision=precision),
                classes,
                images,
                scratch / features.value / precision.value,
                Silent(),
            )
            for precision in TrainingPrecision
            for features in (FeatureCache.OFF, config.features)
        }
        for _ in range(rounds + 1):
            for way in ways.values():
                way.run_epoch(lambda: None)
        start = time.perf_counter()
        write_checkpoint(scratch, "key", next(iter(ways.values())).checkpoint())
        checkpoint = time.perf_counter() - start
    base = [e.seconds for e in next(iter(ways.values())).state.history[1:]]
    return {
        "images": {split.value: len(part.labels) for split, part in images.items()},
        "checkpoint_seconds": checkpoint,
        "ways": {name: _timing(way, base, checkpoint) for name, way in ways.items()},
    }


def _timing(way: Trainer, base: list[float], checkpoint: float) -> dict[str, Any]:
    """Return the times of one way, and its speed against ``base``, round by round."""
    seconds = [epoch.seconds for epoch in way.state.history[1:]]
    features = way.source.facts()
    ratios = [a / b for a, b in zip(base, seconds, strict=True)]
    once, epoch = features.get("seconds", 0.0), statistics.median(seconds) + checkpoint
    return {
        "features": features,
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "paper_recipe_minutes": (once + PAPER_EPOCHS * epoch) / 60,
        "train_loss": [epoch.train_loss for epoch in way.state.history],
        "val_accuracy": [epoch.val_accuracy for epoch in way.state.history],
    }


def _config(network: str, arguments: argparse.Namespace) -> TrainConfig:
    return TrainConfig(
        network=network, weights=str(arguments.weights / f"{network}.safetensors"),
        freeze="paper", epochs=40, patience=40, batch_size=32, learning_rate=1e-3,
        backbone_rate=0.3, weight_decay=0.05, label_smoothing=0.1, dropout=0.2, average_decay=0.9,
        augmentation=Augmentation.LIGHT, balance=True, seed=0, input_size=224, mean=0.5, std=0.5,
        views=arguments.views,
    )  # fmt: skip


def _rows(network: str, result: dict[str, Any]) -> list[str]:
    rows = []
    for name, way in result["ways"].items():
        ratio, features = way["ratio"], way["features"]
        once = "-"
        if features["cached"]:
            size = f"{features['bytes'] / 1e9:.2f} GB"
            once = f"{features['views']} views, {size}, {features['seconds']:.0f} s"
        cells = [
            network,
            *name.split(", "),
            f"{way['median_seconds']:.2f} ({min(way['seconds']):.2f}-{max(way['seconds']):.2f})",
            f"{ratio['median']:.1f} ({ratio['min']:.1f}-{ratio['max']:.1f})",
            once,
            f"{way['paper_recipe_minutes']:.0f}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _table(found: dict[str, Any]) -> str:
    machine = found["machine"]
    header = [
        "network", "--features", "--precision", "s/epoch (range)",
        "times as fast as end to end (range)", "computed once", "1000 epochs, min",
    ]  # fmt: skip
    lines = [
        "# Training on cached features of frozen blocks",
        "",
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_flags'])}), "
        f"{machine['system']}. The paper's freeze point, batches of 32 at 224x224; all ways timed "
        "in turn in one process, the ratio round by round against end to end in float32. The 1000 "
        "epochs are reckoned from the medians and one checkpoint an epoch.",
        "",
        f"| {' | '.join(header)} |",
        "|" + "---|" * len(header),
        *(row for network, result in found["networks"].items() for row in _rows(network, result)),
    ]
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=["mobilenet_v1", "mobilenet_v2"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--views", type=int, default=8)
    return parser.parse_args()


if __name__ == "__main__":
    main()
