"""The page of familiarity.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cxredge.artifacts.atomic import write_text


def write_page(found: dict[str, Any], path: Path) -> None:
    """Write all parts that were measured."""
    machine = found["machine"]
    lines = [
        "# Familiarity and prediction sets",
        "",
        "CXR B by patient; controls are X-rays that show none of the classes, and that no network "
        "was trained on. Limits are those of 120 validation images. A row is a bundle, with the "
        "number of its training's seed; those for a Jetson have INT8 in TensorRT's dialect. In a "
        "cascade, FP32 decides near ties. Shares with Wilson's 95% "
        f"interval. {machine['cpu']}, {machine['cores']} cores; "
        f"{', '.join(f'{name} {version}' for name, version in found['tools'].items())}.",
    ]
    if found["bundles"]:
        lines += ["", *_refusals(found["bundles"]), "", *_sets(found["bundles"])]
    if "methods" in found:
        lines += ["", *_methods(found["methods"])]
    write_text(path, "\n".join(lines) + "\n")


def _variants(bundles: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the title and the figures of every bundle, alone and in a cascade."""
    names = {"fp32": "FP32", "int8": "INT8", "cascade": "INT8 with FP32 for near ties"}
    return [
        (f"{label}, {name}", one[key])
        for label, one in bundles.items()
        for key, name in names.items()
    ]


def _refusals(bundles: dict[str, Any]) -> list[str]:
    variants = _variants(bundles)
    kinds = list(variants[0][1]["controls"])
    lines = [
        "## Refused as unfamiliar",
        "",
        f"| | test images | {' | '.join(kinds)} | as FP32 |",
        "|---" * (len(kinds) + 3) + "|",
    ]
    for title, one in variants:
        cells = [one["test"], *one["controls"].values(), one["alike"]]
        lines.append(f"| {title} | {' | '.join(map(_share, cells))} |")
    altered = list(variants[0][1]["altered"])
    lines += ["", "Test images as they should not be given, refused:", ""]
    lines += [f"| | {' | '.join(altered)} |", "|---" * (len(altered) + 1) + "|"]
    for title, one in variants:
        lines.append(f"| {title} | {' | '.join(map(_share, one['altered'].values()))} |")
    lines += ["", "Not refused, by the class that they are called:", ""]
    lines += [f"| | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for title, one in variants:
        called = [
            ", ".join(f"{n} {name}" for name, n in kind["called"].items() if n) or "none"
            for kind in one["controls"].values()
        ]
        lines.append(f"| {title} | {' | '.join(called)} |")
    return lines


def _sets(bundles: dict[str, Any]) -> list[str]:
    variants = _variants(bundles)
    classes = list(variants[0][1]["sets"]["by_class"])
    lines = [
        "## Prediction sets at 90%",
        "",
        f"| | mean size | covered | {' | '.join(classes)} |",
        "|---" * (len(classes) + 3) + "|",
    ]
    for title, one in variants:
        sets = one["sets"]
        cells = [_share(sets["coverage"]), *map(_share, sets["by_class"].values())]
        lines.append(f"| {title} | {sets['mean_size']:.2f} | {' | '.join(cells)} |")
    return lines


def _methods(found: dict[str, Any]) -> list[str]:
    kinds = list(next(iter(found.values())))
    lines = [
        "## Other methods",
        "",
        "Share refused over 20 random splits of the X-rays by patient, in percent, mean and "
        "standard deviation; the limit is that of 95% of the validation images of each split.",
        "",
        f"| | {' | '.join(kinds)} |",
        "|---" * (len(kinds) + 1) + "|",
    ]
    for name, row in found.items():
        cells = [f"{100 * mean:.0f} ± {100 * spread:.0f}" for mean, spread in row.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _share(one: dict[str, Any]) -> str:
    low, high = (100 * bound for bound in one["ci95"])
    return f"{100 * one['share']:.1f}% ({low:.0f}-{high:.0f})"
