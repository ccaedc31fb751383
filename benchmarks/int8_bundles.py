"""Decisions of INT8 bundles as shipped, compared with FP32 on the same test images.

    python benchmarks/int8_bundles.py --case NAME=MODEL,CALIBRATION,MANIFEST --work WORK \
        --out benchmarks/results/int8_bundles

MODEL is an FP32 model of ``cxredge export``. ``build --precision int8`` with default options makes
a bundle for this machine and one for a board, whose INT8 in TensorRT's dialect runs in ONNX Runtime
here. ``evaluate`` compares their decisions with FP32 on the test split. Bundles that exist in WORK
are evaluated without a new build.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from commands import cxredge
from int8_fidelity import Case

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.backends import CPU_BACKENDS
from cxredge.bundle.bundle import open_bundle
from cxredge.telemetry.linux import read_machine
from cxredge.vocabulary import Precision

TARGETS = ("jetson-orin-nano", "here")
HEADER = (
    "network and images", "target", "run by", "decided otherwise by INT8 alone",
    "decided by FP32, %", "agreement with FP32 (95%)", "accuracy of FP32, points changed (95%)",
    "AUROC, largest change of a class",
)  # fmt: skip


def main() -> None:
    arguments = _arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "machine": to_json(read_machine()),
        "tools": tool_versions("onnx", "onnxruntime", "openvino", "numpy"),
        "cases": {},
    }
    for case in map(Case.parse, arguments.case):
        found["cases"][case.name] = _measure(case, arguments.work)
        write_json(arguments.out.with_suffix(".json"), found)
    write_text(arguments.out.with_suffix(".md"), _page(found))


def _measure(case: Case, work: Path) -> dict[str, Any]:
    fp32 = _evaluated(case, work, "here", Precision.FP32)
    rows = {target: _evaluated(case, work, target, Precision.INT8) for target in TARGETS}
    for row in rows.values():
        changes = [row["auroc"][name] - area for name, area in fp32["auroc"].items()]
        row["auroc_change"] = max(changes, key=abs)
        print(case.name, *_cells(case.name, row), flush=True)
    return {"fp32": fp32, "targets": rows}


def _evaluated(case: Case, work: Path, target: str, precision: Precision) -> dict[str, Any]:
    """Build a bundle unless it exists, and evaluate it on the test split."""
    out = work / f"{case.name}-{precision.value}-{target}"
    if not out.is_dir():
        calibration = () if precision is Precision.FP32 else ("--calibration", case.calibration)
        cxredge(
            "build", case.model, "--target", target, "--precision", precision.value,
            *calibration, "--evaluate", case.manifest, "--out", out,
        )  # fmt: skip
    evaluated = cxredge("evaluate", out, case.manifest, "--split", "test")
    kept = (
        "precision", "backend", "cascade", "images", "patients", "accuracy", "agreement_fp32",
        "agreement_fp32_ci95", "accuracy_fp32", "accuracy_difference_fp32",
        "accuracy_difference_fp32_ci95",
    )  # fmt: skip
    bundle = open_bundle(out)
    facts = bundle.card.facts
    of_runtime = facts.gate_of(precision, bundle.backend)
    return {
        **{key: evaluated[key] for key in kept},
        "target": bundle.card.config.target,
        "flipped": len(evaluated["flipped"]),
        "flipped_alone": len(of_runtime.flipped),
        "auroc": {name: row["auroc"] for name, row in evaluated["by_class"].items()},
    }


def _page(found: dict[str, Any]) -> str:
    machine = found["machine"]
    lines = [
        "# What bundles with INT8 decide, as they ship",
        "",
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_flags'])}), "
        f"{machine['system']}. Versions: "
        f"{', '.join(f'{name} {version}' for name, version in found['tools'].items())}. Each "
        "bundle was made by `cxredge build --precision int8` with the defaults, which has FP32 "
        "decide near ties, and compared with FP32 on the test split by `cxredge evaluate`. The "
        "board's INT8 is in TensorRT's dialect, and ONNX Runtime runs it here: the board's own "
        "kernels differ. Intervals: Wilson's, and a paired one over patients.",
        "",
        f"| {' | '.join(HEADER)} |",
        "|" + "---|" * len(HEADER),
    ]
    for name, case in found["cases"].items():
        lines += [f"| {' | '.join(_cells(name, row))} |" for row in case["targets"].values()]
    return "\n".join(lines) + "\n"


def _cells(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    low, high = row["agreement_fp32_ci95"]
    change = 100 * row["accuracy_difference_fp32"]
    worst, best = (100 * end for end in row["accuracy_difference_fp32_ci95"])
    near = row["cascade"]
    return (
        f"{name}, {row['images']}",
        row["target"],
        CPU_BACKENDS[row["backend"]],
        str(row["flipped_alone"]),
        f"{100 * near['near'] / near['images']:.1f}" if near else "0",
        f"{row['agreement_fp32']:.3f} ({low:.3f}-{high:.3f})",
        f"{row['accuracy_fp32']:.3f}, {change:+.1f} ({worst:+.1f} to {best:+.1f})",
        f"{row['auroc_change']:+.4f}",
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", required=True, help="NAME=MODEL,LIST,DATA")
    parser.add_argument("--work", type=Path, required=True, help="folder for the bundles")
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    return parser.parse_args()


if __name__ == "__main__":
    main()
