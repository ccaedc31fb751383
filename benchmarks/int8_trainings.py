"""INT8 compared with FP32 over several trainings of one network, because single images are chance.

    python benchmarks/int8_trainings.py RESULT.json --manifest MANIFEST \
        --out benchmarks/results/int8_trainings

RESULT is the output of ``int8_fidelity.py`` for cases that differ only in the training seed and
were all compared on MANIFEST's test images. Decisions change where FP32 is undecided. The number of
such near ties among 150 images depends on chance in a single training; over several trainings it
shows the method. The interval of agreement is Wilson's, which assumes independent decisions; that
of accuracy resamples patients, each with all images in all trainings.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.data.manifest import read_manifest
from cxredge.metrics.bootstrap import patient_weights, percentile_interval, weighted_mean
from cxredge.metrics.classification import wilson
from cxredge.vocabulary import Split


def main() -> None:
    arguments = _arguments()
    found = json.loads(arguments.result.read_text(encoding="utf-8"))
    patients = [entry.patient for entry in read_manifest(arguments.manifest).of(Split.TEST)]
    cases = found["cases"]
    methods = [
        m for m in next(iter(cases.values()))["rows"] if all(m in c["rows"] for c in cases.values())
    ]
    pooled = {
        method: pool({name: case["rows"][method]["gate"] for name, case in cases.items()}, patients)
        for method in methods
    }
    kept = {key: found[key] for key in ("machine", "tools")}
    result = kept | {"images": len(patients), "trainings": list(cases), "methods": pooled}
    write_json(arguments.out.with_suffix(".json"), result)
    write_text(arguments.out.with_suffix(".md"), _page(result))


def pool(gates: Mapping[str, Mapping[str, Any]], patients: list[str]) -> dict[str, Any]:
    """Compare the decisions of INT8 and FP32 over all trainings and images.

    Args:
        gates: The gate of each training, as JSON values.
        patients: Patients of the test images, in order.
    """
    same = np.ones((len(gates), len(patients)))
    gained = np.zeros_like(same)
    for row, (name, gate) in enumerate(gates.items()):
        if gate["images"] != len(patients):
            raise SystemExit(f"{name} was compared on {gate['images']} images, not {len(patients)}")
        for image in gate["flipped"]:
            same[row, image["index"]] = 0
            right = [image[decision] == image["label"] for decision in ("now", "fp32")]
            gained[row, image["index"]] = int(right[0]) - int(right[1])
    aurocs = np.array([
        [check["difference"] for check in gate["checks"] if check["measure"] == "auroc"]
        for gate in gates.values()
    ])  # fmt: skip
    worst = np.abs(aurocs.mean(axis=0)).argmax()
    return {
        "decisions": same.size,
        "flipped": [int((row == 0).sum()) for row in same],
        "expected_flips": [gate["near_ties"]["expected_flips"] for gate in gates.values()],
        "agreement": float(same.mean()),
        "agreement_ci95": list(wilson(int(same.sum()), same.size)),
        "accuracy_difference": float(gained.mean()),
        "accuracy_difference_ci95": _interval(gained.mean(axis=0), patients),
        "accuracy_differences": gained.mean(axis=1).tolist(),
        "auroc_difference": float(aurocs.mean(axis=0)[worst]),
        "auroc_differences": [float(row[np.abs(row).argmax()]) for row in aurocs],
        "near_ties": float(np.mean([gate["near_ties"]["share"] for gate in gates.values()])),
        "logit_error": [gate["logit_error"] for gate in gates.values()],
        "cascade": next(iter(gates.values()))["cascade"],
    }


def _interval(values: np.ndarray, patients: list[str]) -> list[float]:
    draws = patient_weights(patients, resamples=10_000)
    low, high = percentile_interval(np.concatenate([weighted_mean(values, w) for w in draws]))
    return [low, high]


def _page(result: Mapping[str, Any]) -> str:
    machine, trainings = result["machine"], result["trainings"]
    tools = ", ".join(f"{name} {version}" for name, version in result["tools"].items())
    lines = [
        f"# INT8 against FP32 over {len(trainings)} trainings",
        "",
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_flags'])}), "
        f"{machine['system']}. Versions: {tools}. {', '.join(trainings)}: the same settings and "
        f"images, another seed; {result['images']} test images each. Changes are INT8 minus FP32; "
        "the interval of agreement is Wilson's, that of accuracy resamples patients with all their "
        "images in all trainings. Expected: flips to expect with FP32's margins, by how far the "
        "method moved validation images. In brackets: each training by itself.",
        "",
        "| method | agreement with FP32 (95%) | flipped | expected | "
        "accuracy, points (95%, paired) | AUROC, largest change of a class | "
        "decided by FP32, % | logit error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_row(m, row) for m, row in result["methods"].items())]) + "\n"


def _row(method: str, row: Mapping[str, Any]) -> str:
    least, most = row["agreement_ci95"]
    low, high = (100 * end for end in row["accuracy_difference_ci95"])
    points = ", ".join(f"{100 * one:+.1f}" for one in row["accuracy_differences"])
    aurocs = ", ".join(f"{one:+.4f}" for one in row["auroc_differences"])
    cells = (
        method,
        f"{row['agreement']:.4f} ({least:.4f}-{most:.4f})",
        f"{sum(row['flipped'])} of {row['decisions']} [{', '.join(map(str, row['flipped']))}]",
        "-" if row["cascade"] else f"{sum(row['expected_flips']):.1f}",
        f"{100 * row['accuracy_difference']:+.2f} ({low:+.2f} to {high:+.2f}) [{points}]",
        f"{row['auroc_difference']:+.4f} [{aurocs}]",
        f"{100 * row['near_ties']:.1f}" if row["cascade"] else "0",
        f"{np.mean(row['logit_error']):.3f}",
    )
    return f"| {' | '.join(cells)} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path, help="int8_fidelity's JSON, one training per case")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    return parser.parse_args()


if __name__ == "__main__":
    main()
