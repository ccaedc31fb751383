"""The README's commands on real X-rays, over networks, protocols and seeds.

    python benchmarks/main_job.py --cohen DIR --kermany DIR --weights DIR --work WORK \
        --out benchmarks/results/main_job

Trains, builds, evaluates and benchmarks, one process per command, and writes OUT.json (every
result) and OUT.md (the table). Combinations that are in OUT.json are not run again. The weights
folder has one ``<network>.safetensors`` per network.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from commands import cxredge

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import read_json_file, to_json
from cxredge.telemetry.linux import read_machine

_KEY = ("recipe", "protocol", "network", "split", "seed")


def main() -> None:
    arguments = _arguments()
    path = arguments.out.with_suffix(".json")
    found = read_json_file(path) if path.exists() else {"runs": []}
    found["machine"] = to_json(read_machine())
    found["tools"] = tool_versions("torch", "onnxruntime", "numpy", "pillow")
    for run in found["runs"]:
        run.setdefault("recipe", "paper")
    done = {tuple(r[name] for name in _KEY) for r in found["runs"]}
    for protocol in arguments.protocols:
        for network in arguments.networks:
            for seed in range(arguments.seeds):
                key = (arguments.recipe, protocol, network, arguments.split, seed)
                if key in done:
                    continue
                print("running", *key, flush=True)
                found["runs"].append(_job(arguments, *key))
                write_json(path, found)
                write_text(arguments.out.with_suffix(".md"), _table(found))
    print(_table(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("cohen", "kermany", "weights", "work", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=["mobilenet_v1", "mobilenet_v2"])
    parser.add_argument("--protocols", nargs="+", default=["cxr-b", "cxr-c"])
    parser.add_argument("--split", default="patient")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", default="paper")
    return parser.parse_args()


def _job(
    arguments: argparse.Namespace, recipe: str, protocol: str, network: str, split: str, seed: int
) -> dict[str, Any]:
    data = arguments.work / f"{protocol}-{split}-{seed}"
    run = arguments.work / f"{protocol}-{split}-{seed}-{network}-{recipe}"
    manifest, bundle = data / "manifest.csv", run / "bundle"
    cxredge(
        "data", "prepare", "--protocol", protocol, "--cohen", arguments.cohen,
        "--kermany", arguments.kermany, "--split", split, "--seed", seed, "--out", data,
    )  # fmt: skip
    trained = cxredge(
        "train", manifest, "--model", network, "--recipe", recipe, "--seed", seed,
        "--weights", arguments.weights / f"{network}.safetensors", "--out", run / "run",
    )  # fmt: skip
    exported = cxredge("export", run / "run", "--out", run / "fp32")
    calibration = run / "calibration.csv"
    count = min(256, trained["images"]["train"])
    cxredge("calibrate", manifest, "--count", count, "--seed", seed, "--out", calibration)
    tensorrt = cxredge(
        "quantize", run / "fp32", "--calibration", calibration, "--dialect", "tensorrt",
        "--evaluate", manifest, "--out", run / "int8-tensorrt",
    )  # fmt: skip
    built = cxredge(
        "build",
        run / "fp32",
        "--target",
        "here",
        "--calibration",
        calibration,
        "--no-cascade",
        "--out",
        bundle,
    )
    evaluated = cxredge("evaluate", bundle, manifest, "--split", "test")
    benched = cxredge("bench", bundle, "--seconds", 5)
    candidates = {c["precision"]: c for c in built["candidates"]}
    return {
        "recipe": recipe,
        "protocol": protocol,
        "network": network,
        "split": split,
        "seed": seed,
        "train": {k: v for k, v in trained.items() if k != "run"},
        "parity_max_abs": exported["parity_max_abs"],
        "quantize_tensorrt": _nameless({k: v for k, v in tensorrt.items() if k != "model"}),
        "build": _nameless({k: v for k, v in built.items() if k not in ("bundle", "engine")}),
        "int8_speedup": candidates["fp32"]["latency_ms"]["p50"]
        / candidates["int8"]["latency_ms"]["p50"],
        "int8_agreement": candidates["int8"]["agreement"],
        "evaluate": {k: v for k, v in evaluated.items() if k not in ("flipped", "roc", "result")},
        "bench": {k: v for k, v in benched.items() if k not in ("histogram_ms", "result")},
    }


def _nameless(value: Any) -> Any:
    """Return a result without its lists of flipped images, which name files of the data set."""
    if isinstance(value, dict):
        return {k: _nameless(item) for k, item in value.items() if k != "flipped"}
    return [_nameless(item) for item in value] if isinstance(value, list) else value


def _table(found: dict[str, Any]) -> str:
    machine = found["machine"]
    lines = [
        "# The main job on real X-rays",
        "",
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_flags'])}), "
        f"{machine['system']}. Accuracy on the test split with Wilson's 95% interval; INT8 against "
        "FP32 on the same images; speed-up at batch 1, both timed in turn in one run.",
        "",
        "| recipe | protocol | split | network | seed | epochs (best) | s/epoch | "
        "FP32 accuracy (95%) | macro F1 | COVID-19 recall | parity | INT8 cpu: agreement | "
        "accuracy | speed-up | INT8 tensorrt: agreement | shipped |",
        "|" + "---|" * 16,
    ]
    lines += [_row(run) for run in found["runs"]]
    lines += [
        "",
        "| recipe | protocol | split | network | seeds | mean accuracy (min-max) |",
        "|" + "---|" * 6,
    ]
    groups: dict[tuple[str, ...], list[float]] = {}
    for run in found["runs"]:
        key = (run["recipe"], run["protocol"], run["split"], run["network"])
        groups.setdefault(key, []).append(run["train"]["test"]["accuracy"])
    for key, values in groups.items():
        low, high = min(values), max(values)
        lines.append(
            f"| {' | '.join(key)} | {len(values)} | {statistics.mean(values):.3f} "
            f"({low:.3f}-{high:.3f}) |"
        )
    return "\n".join(lines) + "\n"


def _row(run: dict[str, Any]) -> str:
    train, test = run["train"], run["train"]["test"]
    covid = train["classes"].index("covid19")
    confusion = test["confusion"][covid]
    int8 = next(c for c in run["build"]["candidates"] if c["precision"] == "int8")
    cells = [
        run["recipe"],
        run["protocol"],
        run["split"],
        run["network"],
        run["seed"],
        f"{train['epochs']} ({train['best_epoch']})",
        f"{train['seconds_per_epoch']:.1f}",
        f"{test['accuracy']:.3f} ({test['ci95'][0]:.3f}-{test['ci95'][1]:.3f})",
        f"{test['macro_f1']:.3f}",
        f"{confusion[covid]}/{sum(confusion)}",
        f"{run['parity_max_abs']:.1e}",
        f"{int8['agreement']:.3f}",
        f"{int8['accuracy']:.3f}",
        f"{run['int8_speedup']:.2f}",
        f"{run['quantize_tensorrt']['agreement']:.3f}",
        run["build"]["precision"],
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
