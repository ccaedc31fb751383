"""The page of heatmaps.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from cxredge.artifacts.atomic import write_text
from cxredge.metrics.maps import BORDER, UNIFORM_BORDER_SHARE


def write_page(found: dict[str, Any], path: Path) -> None:
    """Write all parts that were measured."""
    machine = found["machine"]
    lines = [
        "# Heatmaps out of the engine",
        "",
        f"{found['network']} on CXR B by patient: {found['images']} test images of "
        f"{found['patients']} patients, which training, calibration and thresholds did not see. "
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_flags'])}), "
        f"{machine['system']}. "
        f"{', '.join(f'{name} {version}' for name, version in found['tools'].items())}.",
    ]
    parts: dict[str, Callable[[Any], list[str]]] = {
        "agreement": _agreement,
        "border": _border,
        "deletion": _deletion,
        "latency": _latency,
        "size": _size,
    }
    for part, write in parts.items():
        if part in found:
            lines += ["", *write(found[part])]
    write_text(path, "\n".join(lines) + "\n")


def _agreement(found: dict[str, Any]) -> list[str]:
    rows = [
        f"| {name} | {one['correlation']:.4f} | {100 * one['peaks_kept']:.1f}% |"
        for name, one in found.items()
    ]
    return [
        "## Agreement with FP32",
        "",
        "Maps of the class that FP32 decides, compared with FP32 in ONNX Runtime: mean of the "
        "images' correlations, and share of images whose strongest cell moves by at most one cell.",
        "",
        "| | correlation | peaks kept |",
        "|---|---|---|",
        *rows,
    ]


def _border(found: list[dict[str, Any]]) -> list[str]:
    rows = [
        f"| {one['label']} | {one['source']} | {one['images']} | {100 * one['share']:.1f}% "
        f"({100 * one['share_ci95'][0]:.1f}-{100 * one['share_ci95'][1]:.1f}) |"
        for one in found
    ]
    return [
        "## Evidence in the border of the picture",
        "",
        f"Share of the positive evidence for the decided class in the outer {100 * BORDER:.1f}% of "
        "the picture on each side, with the 95% interval of a bootstrap over patients. A uniform "
        f"map has {100 * UNIFORM_BORDER_SHARE:.2f}% there: that share of the picture is border.",
        "",
        "| class | source | images | share in the border |",
        "|---|---|---|---|",
        *rows,
    ]


def _deletion(found: dict[str, Any]) -> list[str]:
    lines = [
        "## Deletion",
        "",
        "Mean probability of the decided class while 16x16 pixels at a time are replaced by the "
        "image's mean, or by the blurred image: in the order of the map, and in random order. Area "
        "between: positive if the map names what the decision rests on.",
    ]
    for name, groups in found.items():
        shares = groups["all"]["mean"]["shares"]
        header = " | ".join(f"{100 * share:.0f}%" for share in shares)
        lines += ["", f"{name}, share removed:", "", f"| | | {header} | area between |"]
        lines += ["|---|---|" + "---|" * (len(shares) + 1)]
        for group, fills in groups.items():
            for fill, curve in fills.items():
                for order, words in (("by_map", "by the map"), ("at_random", "at random")):
                    if group != "all":
                        continue
                    values = " | ".join(f"{value:.2f}" for value in curve[order])
                    area = f"{curve['area_between']:.3f}" if order == "by_map" else ""
                    lines.append(f"| {fill} | {words} | {values} | {area} |")
        lines += ["", "Area between, by the decided class:", "", "| class | mean | blurred |"]
        lines += ["|---|---|---|"]
        lines += [
            f"| {group} | {fills['mean']['area_between']:.3f} | "
            f"{fills['blurred']['area_between']:.3f} |"
            for group, fills in groups.items()
            if group != "all"
        ]
    return lines


def _latency(found: dict[str, Any]) -> list[str]:
    rows = []
    for name, by_threads in found["variants"].items():
        for threads, taken in by_threads.items():
            cells = [f"{median(taken['none']):.2f}"]
            for label in ("familiarity", "maps", "both"):
                pairs = zip(taken["none"], taken[label], strict=True)
                ratios = sorted(100 * (other / one - 1) for one, other in pairs)
                low, high = (ratios[round(share * (len(ratios) - 1))] for share in (0.25, 0.75))
                cells.append(f"{median(ratios):+.1f}% ({low:+.1f} to {high:+.1f})")
            rows.append(f"| {name} | {threads} | {' | '.join(cells)} |")
    return [
        "## Latency of further outputs",
        "",
        f"One image, without reading its file. {found['rounds']} rounds of {found['calls']} "
        "images, the four graphs in random order for each image; a round's figure is its median. "
        "On one thread processor time, on two threads wall time. Medians of the ratios within "
        "rounds, with their quartiles. Other work took "
        f"{100 * found['other_work']:.0f}% of the processor meanwhile.",
        "",
        "| | threads | no output, ms | familiarity | maps | both |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


def _size(found: dict[str, dict[str, int]]) -> list[str]:
    rows = []
    for name, sizes in found.items():
        alone = sizes["none"]
        more = [
            f"{100 * (sizes[label] / alone - 1):+.1f}%" for label in ("familiarity", "maps", "both")
        ]
        rows.append(f"| {name} | {alone / 1e6:.2f} | {' | '.join(more)} |")
    return [
        "## Size of further outputs",
        "",
        "| | no output, MB | familiarity | maps | both |",
        "|---|---|---|---|---|",
        *rows,
    ]
