"""Accuracy of the recipes by patient, and outside the collection of a class, against their goals.

    python benchmarks/accuracy.py --cohen DIR --kermany DIR --adults DIR --weights DIR \
        --work WORK --out benchmarks/results/accuracy

Prepares, trains, builds and evaluates sets x networks x recipes x seeds, seed by seed, one process
per command. OUT.json holds every result, OUT.md the tables. Cases that are in OUT.json are not run
again, and an interrupted training is resumed. The weights folder has one ``<network>.safetensors``
per network. Sets: ``kermany``, ``full``, ``cxr-b``, ``cxr-d``, and ``cxr-d-other``, which trains on
half of the patients with other findings as the class ``other``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import accuracy_page
from commands import cxredge

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import read_json_file, to_json
from cxredge.telemetry.linux import read_machine

SETS = {
    "kermany": ("kermany",),
    "full": ("full",),
    "cxr-b": ("cxr-b",),
    "cxr-d": ("cxr-d",),
    "cxr-d-other": ("cxr-d", "--other-share", 0.5),
}
_CALIBRATION_IMAGES = 256


@dataclass(frozen=True)
class Case:
    """One training, with its bundle and evaluation."""

    seed: int
    set: str
    network: str
    recipe: str


def main() -> None:
    arguments = _arguments()
    path = arguments.out.with_suffix(".json")
    found = read_json_file(path) if path.exists() else {"cases": []}
    found["tools"] = tool_versions("torch", "torchvision", "timm", "onnxruntime", "numpy", "pillow")
    done = [record["case"] for record in found["cases"]]
    missing = [case for case in _plan(arguments) if asdict(case) not in done]
    for number, case in enumerate(missing, 1):
        start = time.perf_counter()
        record = _run(case, arguments)
        found["cases"].append(record)
        write_json(path, found)
        write_text(arguments.out.with_suffix(".md"), accuracy_page.page(found))
        print(
            f"{number}/{len(missing)} {case}: test accuracy {record['test']['accuracy']:.3f}, "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
    write_text(arguments.out.with_suffix(".md"), accuracy_page.page(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("cohen", "kermany", "adults", "weights", "work", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--networks", nargs="+", default=["mobilenet_v1", "mobilenet_v2"])
    parser.add_argument("--recipes", nargs="+", default=["paper", "robust"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="Number of epochs, in place of the recipe's.")
    return parser.parse_args()


def _plan(arguments: argparse.Namespace) -> list[Case]:
    return [
        Case(seed, name, network, recipe)
        for seed in arguments.seeds
        for name in arguments.sets
        for network in arguments.networks
        for recipe in arguments.recipes
    ]


def _run(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train, build and evaluate one case."""
    data = _data(case, arguments)
    manifest, work = data / "manifest.csv", arguments.work / "-".join(map(str, vars(case).values()))
    run, fp32, bundle = work / "run", work / "fp32", work / "bundle"
    weights = arguments.weights / f"{case.network}.safetensors"
    epochs = () if arguments.epochs is None else ("--epochs", arguments.epochs)
    trained = cxredge(
        "train", manifest, "--model", case.network, "--recipe", case.recipe, *epochs,
        "--seed", case.seed, "--weights", weights, "--out", run,
    )  # fmt: skip
    calibration = work / "calibration.csv"
    count = min(_CALIBRATION_IMAGES, trained["images"]["train"])
    cxredge("export", run, "--out", fp32)
    cxredge("calibrate", manifest, "--count", count, "--seed", case.seed, "--out", calibration)
    tensorrt = cxredge(
        "quantize", fp32, "--calibration", calibration, "--dialect", "tensorrt",
        "--evaluate", manifest, "--out", work / "int8-tensorrt",
    )  # fmt: skip
    cxredge("build", run, "--target", "here", "--calibration", calibration, "--out", bundle)
    served = cxredge("evaluate", bundle, manifest)
    return {
        "case": asdict(case),
        "machine": to_json(read_machine()),
        "images": trained["images"],
        "classes": trained["classes"],
        "epochs": trained["epochs"],
        "best_epoch": trained["best_epoch"],
        "training_seconds": trained["seconds"],
        "validation": trained["validation"],
        "test": trained["test"],
        "agreement_tensorrt": tensorrt["agreement"],
        "served": {
            name: served[name]
            for name in (
                "precision", "backend", "accuracy", "confusion", "agreement_fp32", "cascade",
                "answered", "called_by_source", "controls", "controls_fp32",
            )
        },
    }  # fmt: skip


def _data(case: Case, arguments: argparse.Namespace) -> Path:
    """Prepare the set of a case, once for all networks and recipes."""
    folder: Path = arguments.work / f"{case.set}-{case.seed}"
    if (folder / "manifest.csv").exists():
        return folder
    protocol, *options = SETS[case.set]
    cohen = () if protocol == "kermany" else ("--cohen", arguments.cohen)
    cxredge(
        "data", "prepare", "--protocol", protocol, *options, *cohen,
        "--kermany", arguments.kermany, "--adults", arguments.adults,
        "--split", "patient", "--seed", case.seed, "--out", folder,
    )  # fmt: skip
    return folder


if __name__ == "__main__":
    main()
