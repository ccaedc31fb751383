"""Time of a training epoch, end to end and on cached features, in float32 and BF16.

    python benchmarks/frozen_features.py MANIFEST --weights DIR \
        --out benchmarks/results/frozen_features

All variants train the same network from the same weights, seed and views, alternately. Writes
OUT.json (every epoch) and OUT.md (medians, ratios, and the extrapolated time of the paper's 1000
epochs). The weights folder has one ``<network>.safetensors`` per network.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.data.manifest import read_manifest
from cxredge.progress import Silent
from cxredge.telemetry.linux import read_machine
from cxredge.training.assembly import assemble, load_images
from cxredge.training.checkpoint import write_checkpoint
from cxredge.training.config import TrainConfig, TrainingHardware
from cxredge.training.performance import keep_freed_memory
from cxredge.training.run import plan_run
from cxredge.vocabulary import Augmentation, FeatureCache, TrainingPrecision

PAPER_EPOCHS = 1000


@dataclass(frozen=True)
class Way:
    """Settings of a training."""

    features: FeatureCache
    precision: TrainingPrecision


WAYS = {
    f"{features.value}, {precision.value}": Way(features, precision)
    for precision in TrainingPrecision
    for features in (FeatureCache.OFF, FeatureCache.FP16)
}
END_TO_END = f"{FeatureCache.OFF.value}, {TrainingPrecision.FP32.value}"


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        print(json.dumps(train(arguments)))
        return
    found: dict[str, Any] = {
        "machine": to_json(read_machine()),
        "tools": tool_versions("torch", "torchvision", "timm"),
        "networks": {},
    }
    record = arguments.out.with_suffix(".json")
    if arguments.add and record.is_file():
        found["networks"] = json.loads(record.read_text())["networks"]
    for network in arguments.networks:
        found["networks"][network] = measure(arguments.manifest, network, arguments)
        print(*_rows(network, found["networks"][network]), sep="\n", flush=True)
        write_json(record, found)
    write_text(arguments.out.with_suffix(".md"), _table(found))


def measure(manifest: Path, network: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Time the variants alternately, each in a new process, like the command."""
    epochs: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            for name, rounds in epochs.items():
                command = [
                    sys.executable, __file__, manifest, "--weights", arguments.weights, "--out",
                    arguments.out, "--networks", network, "--views", arguments.views, "--epochs",
                    arguments.epochs, "--child", name, "--scratch", folder,
                ]  # fmt: skip
                done = subprocess.run(
                    list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True
                )
                rounds.append(json.loads(done.stdout.splitlines()[-1]))
    return {name: _timing(rounds, epochs[END_TO_END]) for name, rounds in epochs.items()}


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one variant for a warm-up epoch and the timed epochs."""
    keep_freed_memory()
    manifest, way = read_manifest(arguments.manifest), WAYS[arguments.child]
    config = replace(_config(arguments.networks[0], arguments), features=way.features)
    images = load_images(manifest, config.input_size, Silent())
    folder = arguments.scratch / arguments.child
    hardware = TrainingHardware("cpu", precision=way.precision)
    trainer = assemble(config, hardware, len(manifest.classes), images, folder, Silent())
    for _ in range(arguments.epochs + 1):
        trainer.run_epoch(lambda: None)
    start = time.perf_counter()
    plan = plan_run(manifest, config, hardware)
    write_checkpoint(folder / "checkpoint", plan, trainer.checkpoint())
    return {
        "seconds": [epoch.seconds for epoch in trainer.state.history[1:]],
        "checkpoint_seconds": time.perf_counter() - start,
        "features": {k: v for k, v in vars(trainer.source.facts()).items() if v is not None},
        "train_loss": [epoch.train_loss for epoch in trainer.state.history],
    }


def _timing(rounds: list[dict[str, Any]], base: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the times of one variant, and its speed relative to ``base``, by round."""
    medians = [statistics.median(one["seconds"]) for one in rounds]
    ratios = [statistics.median(b["seconds"]) / m for b, m in zip(base, medians, strict=True)]
    # The first process computes the features; the others use its cache.
    features = rounds[0]["features"]
    checkpoint = statistics.median(one["checkpoint_seconds"] for one in rounds)
    epoch = statistics.median(medians) + checkpoint
    return {
        "features": features,
        "rounds": rounds,
        "median_seconds": statistics.median(medians),
        "seconds": [seconds for one in rounds for seconds in one["seconds"]],
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "paper_recipe_minutes": (features.get("seconds", 0.0) + PAPER_EPOCHS * epoch) / 60,
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
    for name, way in result.items():
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
        f"{machine['system']}. The paper's freeze point, batches of 32 at 224x224; all ways in "
        "turn, each a process of its own, the ratio round by round against end to end in float32. "
        "The 1000 epochs are reckoned from the medians and one checkpoint an epoch.",
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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="number of timed epochs per process")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--add", action="store_true", help="keep other networks in OUT.json")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
