"""An epoch end to end and on cached features of the frozen blocks, in turn.

    python benchmarks/frozen_features.py MANIFEST --weights DIR \
        --out benchmarks/results/frozen_features

Both train the same network from the same weights, seed and views. Writes OUT.json (every epoch)
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
from cxredge.training.memory import keep_freed_memory
from cxredge.vocabulary import Augmentation, FeatureCache

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
        print(_row(network, found["networks"][network]), flush=True)
        write_json(arguments.out.with_suffix(".json"), found)
    write_text(arguments.out.with_suffix(".md"), _table(found))


def measure(manifest: Manifest, config: TrainConfig, rounds: int) -> dict[str, Any]:
    """Time ``rounds`` epochs of each way, after one that warms up, and compare their histories."""
    images = load_images(manifest, config.input_size, Silent())
    classes, cpu = len(manifest.classes), Hardware("cpu")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        ways = {
            name: assemble(
                replace(config, features=features), cpu, classes, images, scratch / name, Silent()
            )
            for name, features in (("end_to_end", FeatureCache.OFF), ("cached", config.features))
        }
        for _ in range(rounds + 1):
            for way in ways.values():
                way.run_epoch(lambda: None)
        start = time.perf_counter()
        write_checkpoint(scratch, "key", ways["cached"].checkpoint())
        checkpoint = time.perf_counter() - start
        features = ways["cached"].source.facts()
    seconds = {n: [e.seconds for e in way.state.history[1:]] for n, way in ways.items()}
    losses = {n: [e.train_loss for e in way.state.history] for n, way in ways.items()}
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = [a / b for a, b in zip(seconds["end_to_end"], seconds["cached"], strict=True)]
    per_epoch = medians["cached"] + checkpoint
    return {
        "images": {split.value: len(part.labels) for split, part in images.items()},
        "features": features,
        "seconds": seconds,
        "train_loss": losses,
        "median_seconds": medians,
        "ratio": {
            "median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)
        },
        "checkpoint_seconds": checkpoint,
        "paper_recipe_minutes": {
            "end_to_end": PAPER_EPOCHS * (medians["end_to_end"] + checkpoint) / 60,
            "cached": (features["seconds"] + PAPER_EPOCHS * per_epoch) / 60,
        },
    }  # fmt: skip


def _config(network: str, arguments: argparse.Namespace) -> TrainConfig:
    return TrainConfig(
        network=network, weights=str(arguments.weights / f"{network}.safetensors"),
        freeze="paper", epochs=40, patience=40, batch_size=32, learning_rate=1e-3,
        backbone_rate=0.3, weight_decay=0.05, label_smoothing=0.1, dropout=0.2, average_decay=0.98,
        augmentation=Augmentation.LIGHT, balance=True, seed=0, input_size=224, mean=0.5, std=0.5,
        views=arguments.views,
    )  # fmt: skip


def _row(network: str, result: dict[str, Any]) -> str:
    medians, ratio, features = result["median_seconds"], result["ratio"], result["features"]
    minutes = result["paper_recipe_minutes"]
    spread = {n: f"{min(v):.2f}-{max(v):.2f}" for n, v in result["seconds"].items()}
    cells = [
        network,
        f"{medians['end_to_end']:.2f} ({spread['end_to_end']})",
        f"{medians['cached']:.2f} ({spread['cached']})",
        f"{ratio['median']:.1f} ({ratio['min']:.1f}-{ratio['max']:.1f})",
        f"{features['views']} views, {features['bytes'] / 1e9:.2f} GB, {features['seconds']:.0f} s",
        f"{minutes['end_to_end']:.0f}",
        f"{minutes['cached']:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _table(found: dict[str, Any]) -> str:
    machine = found["machine"]
    header = [
        "network", "s/epoch end to end (range)", "s/epoch cached (range)", "ratio (range)",
        "computed once", "1000 epochs end to end, min", "1000 epochs cached, min",
    ]  # fmt: skip
    lines = [
        "# Training on cached features of frozen blocks",
        "",
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_flags'])}), "
        f"{machine['system']}. The paper's freeze point, batches of 32 at 224x224; both ways timed "
        "in turn in one process. The 1000 epochs are reckoned from the medians and one checkpoint "
        "an epoch.",
        "",
        f"| {' | '.join(header)} |",
        "|" + "---|" * len(header),
        *(_row(network, result) for network, result in found["networks"].items()),
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
