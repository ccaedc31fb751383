"""The paper's Tables 2, 3 and 5 and Figures 5 and 6, measured and compared with the paper.

    python benchmarks/paper_tables.py --cohen DIR --kermany DIR --weights DIR --work WORK \
        --out benchmarks/results/paper_tables [--recipe robust]

Trains networks x protocols x split kinds x seeds with ``cxredge train``, seed by seed, so that an
interrupted run has complete seeds; runs that are in OUT.json are not repeated. After each run,
OUT.json, OUT.md and the figures beside it are updated.

The weights folder has one ``<network>.safetensors`` (or ``.h5``, ``.pth``) per network. A network
without a file is trained for one epoch from scratch on one protocol, only to show that it runs, and
is marked accordingly: its accuracy is meaningless.

``--protocols full`` trains on all images of both collections, with patients kept apart and the loss
weighted so that every class has the same weight.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paper_pages
from commands import cxredge

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import read_json_file, to_json
from cxredge.models.zoo import ZOO
from cxredge.telemetry.linux import read_machine

SMOKE = ("cxr-c", "image")
PAPER = [network.name for network in ZOO.values() if network.paper_name]


@dataclass(frozen=True)
class Run:
    """One training."""

    seed: int
    protocol: str
    split: str
    network: str
    smoke: bool


def main() -> None:
    arguments = _arguments()
    path = arguments.out.with_suffix(".json")
    found = read_json_file(path) if path.exists() else {"runs": []}
    if found.setdefault("recipe", arguments.recipe) != arguments.recipe:
        raise SystemExit(f"{path} has the recipe {found['recipe']}; choose another --out.")
    found["machine"] = to_json(read_machine())
    found["tools"] = tool_versions("torch", "torchvision", "timm", "numpy", "pillow")
    done = {_key(record) for record in found["runs"]}
    missing = [run for run in _plan(arguments) if _key(vars(run)) not in done]
    for number, run in enumerate(missing, 1):
        start = time.perf_counter()
        record = _train(run, arguments)
        found["runs"].append(record)
        write_json(path, found)
        paper_pages.write(found, arguments.out)
        print(
            f"{number}/{len(missing)} {run.network} {run.protocol} by {run.split}, seed {run.seed}"
            f"{' (smoke)' if run.smoke else ''}: test accuracy {record['test']['accuracy']:.3f}, "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
    paper_pages.write(found, arguments.out)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("cohen", "kermany", "weights", "work", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=PAPER, choices=list(ZOO))
    parser.add_argument("--protocols", nargs="+", default=["cxr-a", "cxr-b", "cxr-c"])
    parser.add_argument("--splits", nargs="+", default=["patient", "image"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", default="paper", help="One for each OUT.")
    return parser.parse_args()


def _plan(arguments: argparse.Namespace) -> list[Run]:
    """Return all requested runs, smoke runs last."""
    with_weights = [n for n in arguments.networks if _weights(arguments.weights, n)]
    runs = [
        Run(seed, protocol, split, network, smoke=False)
        for seed in range(arguments.seeds)
        for protocol in arguments.protocols
        for split in (("patient",) if protocol == "full" else arguments.splits)
        for network in with_weights
    ]
    others = [n for n in arguments.networks if n not in with_weights]
    return runs + [Run(0, *SMOKE, network, smoke=True) for network in others]


def _key(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record[name] for name in ("seed", "protocol", "split", "network", "smoke"))


def _weights(folder: Path, network: str) -> Path | None:
    paths = (folder / f"{network}.{ending}" for ending in ("safetensors", "h5", "pth"))
    return next((path for path in paths if path.exists()), None)


def _train(run: Run, arguments: argparse.Namespace) -> dict[str, Any]:
    data = arguments.work / f"{run.protocol}-{run.split}-{run.seed}"
    manifest = data / "manifest.csv"
    if not manifest.exists():
        cxredge(
            "data", "prepare", "--protocol", run.protocol, "--cohen", arguments.cohen,
            "--kermany", arguments.kermany, "--split", run.split, "--seed", run.seed, "--out", data,
        )  # fmt: skip
    # Mixing needs the whole image at every step, so that features cannot be cached.
    cached = ("--features", "fp16", "--views", 1 if run.smoke else 8)
    options = cached if arguments.recipe == "paper" else ()
    epochs = ("--epochs", 1) if run.smoke else ()
    name = f"{data.name}-{run.network}{'-smoke' if run.smoke else ''}"
    trained = cxredge(
        "train", manifest, "--recipe", arguments.recipe, "--model", run.network, "--seed", run.seed,
        "--weights", "none" if run.smoke else _weights(arguments.weights, run.network),
        *epochs, *options, "--out", arguments.work / name,
    )  # fmt: skip
    return {**vars(run), **{key: value for key, value in trained.items() if key != "run"}}


if __name__ == "__main__":
    main()
