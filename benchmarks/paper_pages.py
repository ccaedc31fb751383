"""Tables 2, 3 and 5 and Figures 5 and 6 of the paper, from measured runs."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxredge import plots
from cxredge.artifacts.atomic import write_text
from cxredge.metrics.classification import wilson
from cxredge.models.zoo import ZOO

Record = dict[str, Any]

# Validation and test accuracy in percent, the paper's Table 2.
TABLE_2 = {
    "vgg19": {"cxr-a": (100, 97.37), "cxr-b": (100, 94.74)},
    "inception_v3": {"cxr-a": (100, 97.37), "cxr-b": (100, 97.37)},
    "resnet50": {"cxr-a": (100, 97.37), "cxr-b": (100, 94.08)},
    "resnet50_v2": {"cxr-a": (100, 97.37), "cxr-b": (100, 94.08)},
    "mobilenet_v1": {"cxr-a": (100, 97.37), "cxr-b": (100, 95.4)},
    "mobilenet_v2": {"cxr-a": (100, 97.37), "cxr-b": (100, 95.4)},
    "densenet121": {"cxr-a": (100, 97.37), "cxr-b": (100, 98.69)},
    "nasnet_mobile": {"cxr-a": (100, 97.37), "cxr-b": (98.44, 97.37)},
}
# F1 by class of the paper's Table 3, rounded as there, and its macro F1.
TABLE_3 = {
    "cxr-a": {"bacterial": 0.95, "covid19": 1.0, "normal": 1.0, "viral": 0.95, "macro": 0.975},
    "cxr-b": {"bacterial": 0.98, "covid19": 1.0, "normal": 1.0, "viral": 0.98, "macro": 0.99},
}
# Trained weights in millions and their share in percent, the paper's Table 5.
TABLE_5 = {
    "vgg19": (4.72, 23.6),
    "inception_v3": (6.073, 27.9),
    "mobilenet_v1": (1.59, 49.4),
    "densenet121": (4.4, 62.5),
}
SPLITS = ("image", "patient")


def write(found: Record, out: Path) -> None:
    """Write OUT.md and, beside it, OUT_figure_5.svg and OUT_figure_6.svg."""
    runs = [run for run in found["runs"] if not run["smoke"]]
    smoke = [run for run in found["runs"] if run["smoke"]]
    figures = {"figure_5": _figure_5(runs), "figure_6": _figure_6(runs)}
    for name, svg in figures.items():
        if svg:
            write_text(out.with_name(f"{out.name}_{name}.svg"), svg)
    parts = [
        _head(found),
        *(_table_2(runs, protocol) for protocol in ("cxr-a", "cxr-b", "cxr-c", "full")),
        _table_3(runs),
        _table_5(runs),
        *(_picture(out, name) for name, svg in figures.items() if svg),
        _smoke(smoke),
    ]
    write_text(out.with_suffix(".md"), "\n\n".join(part for part in parts if part) + "\n")


def _head(found: Record) -> str:
    machine = found["machine"]
    return (
        "# The paper's tables, measured\n\n"
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_flags'])}), "
        f"{machine['system']}. Recipe: {found.get('recipe', 'paper')}. Each seed draws its own "
        "images. A cell is the mean over the seeds, in brackets the lowest and highest of several, "
        "then Wilson's 95% interval of the mean for the images of one test split. By image, as the "
        "paper split, a patient's images fall into several splits; by patient they do not. The "
        "paper states no intervals, seeds or patients."
    )


def _table_2(runs: Sequence[Record], protocol: str) -> str:
    title = {"full": "All images of both collections"}.get(protocol, protocol.upper())
    chosen = [run for run in runs if run["protocol"] == protocol]
    rows = []
    for network in _networks(chosen):
        paper = TABLE_2[network].get(protocol) if network in TABLE_2 else None
        published = (
            f"{paper[0]:g} / {paper[1]:g}" if paper else "- / 100" if protocol == "cxr-c" else ""
        )
        cells = [network, published]
        for split in SPLITS:
            here = _of(chosen, network=network, split=split)
            cells += [
                _spread([run["validation"]["accuracy"] for run in here]),
                _test_cell(here),
                _mean(here, lambda run: f1_by_class(run["test"]["confusion"]).mean(), "{:.3f}"),
                _covid(here),
            ]
        rows.append(cells)
    columns = [f"by {s}: {n}" for s in SPLITS for n in ("val %", "test %", "macro F1", "COVID-19")]
    header = ["network", "paper: val / test %", *columns]
    return f"## Table 2: {title}\n\n{_table(header, rows)}" if rows else ""


def _table_3(runs: Sequence[Record]) -> str:
    rows = []
    for protocol, paper in TABLE_3.items():
        rows.append([protocol, "paper's best", "image", *(f"{v:g}" for v in paper.values())])
        for network in _networks(_of(runs, protocol=protocol)):
            for split in SPLITS:
                here = _of(runs, protocol=protocol, network=network, split=split)
                if not here:
                    continue
                scores = np.mean([f1_by_class(run["test"]["confusion"]) for run in here], axis=0)
                by_class = dict(zip(here[0]["classes"], scores, strict=True))
                cells = [f"{by_class[label]:.3f}" for label in list(paper)[:-1]]
                rows.append([protocol, network, split, *cells, f"{scores.mean():.3f}"])
    header = ["protocol", "network", "split by", *TABLE_3["cxr-a"]]
    return f"## Table 3: F1 by class, mean over the seeds\n\n{_table(header, rows)}"


def _table_5(runs: Sequence[Record]) -> str:
    rows = []
    for name, network in ZOO.items():
        if not network.paper_name:
            continue
        freeze, paper = network.paper_freeze, TABLE_5.get(name)
        trained = {run["trainable"] for run in _of(runs, network=name)}
        rows.append(
            [
                name,
                freeze.first_trained,
                f"{freeze.trainable:,}",
                f"{100 * freeze.trainable / network.parameters:.1f}",
                f"{paper[0]:g}" if paper else "-",
                f"{paper[1]:g}" if paper else "-",
                ", ".join(f"{number:,}" for number in sorted(trained)) or "no run",
            ]
        )
    header = [
        "network", "trains from", "trainable", "% of all", "paper: million", "paper: %",
        "trainable in the runs here, batch norm's statistics not counted",
    ]  # fmt: skip
    return f"## Table 5: block freeze\n\n{_table(header, rows)}"


def _smoke(runs: Sequence[Record]) -> str:
    if not runs:
        return ""
    rows = [
        [run["network"], run["protocol"], f"{run['seconds']:.0f}", f"{run['trainable']:,}"]
        for run in runs
    ]
    header = ["network", "protocol", "seconds of the epoch", "trainable"]
    return (
        "## Trained for one epoch from scratch, to show that they run\n\nNo ImageNet weights were "
        "at hand for these; their accuracy means nothing and is not shown.\n\n"
        + _table(header, rows)
    )


def f1_by_class(confusion: Sequence[Sequence[int]]) -> np.ndarray:
    """Return F1 of each class; float64 (C,). Rows are true classes."""
    counts = np.asarray(confusion, float)
    right = np.diag(counts)
    wrong = counts.sum(axis=0) + counts.sum(axis=1)
    return np.divide(2 * right, wrong, out=np.zeros(len(counts)), where=wrong > 0)


def _figure_5(runs: Sequence[Record]) -> str:
    """Draw the confusion matrices of CXR A and B, sums over the seeds, in a grid."""
    pictures = []
    for protocol in ("cxr-a", "cxr-b"):
        for network in _networks(_of(runs, protocol=protocol)):
            for split in SPLITS:
                here = _of(runs, protocol=protocol, network=network, split=split)
                if here:
                    counts = np.sum([run["test"]["confusion"] for run in here], axis=0).tolist()
                    name = f"{network}, {protocol.upper()} by {split}"
                    pictures.append((name, plots.heat_table(name, here[0]["classes"], counts)))
    return _grid(pictures, columns=2 * len({run["network"] for run in runs}) or 1)


def _figure_6(runs: Sequence[Record]) -> str:
    """Plot test against validation accuracy on CXR C, one dot per run."""
    lines = []
    chosen = _of(runs, protocol="cxr-c")
    for network in _networks(chosen):
        for split in SPLITS:
            here = _of(chosen, network=network, split=split)
            dots = [
                plots.Dot(100 * run["validation"]["accuracy"], 100 * run["test"]["accuracy"])
                for run in here
            ]
            if dots:
                lines.append(plots.Line(f"{network}, by {split}", [], [], dots))
    if not lines:
        return ""
    least = min(min(dot.x, dot.y) for line in lines for dot in line.dots)
    low = min(95.0, 5 * (least // 5))
    x, y = (plots.Axis(f"{name} accuracy, %", low, 100) for name in ("validation", "test"))
    return plots.line_chart("CXR C", x, y, lines, diagonal=True)


def _grid(pictures: Sequence[tuple[str, str]], columns: int) -> str:
    """Arrange pictures of one size side by side, each with its name above."""
    if not pictures:
        return ""
    sizes = [re.search(r'width="(\d+)" height="(\d+)"', svg) for _, svg in pictures]
    width = max(int(size[1]) for size in sizes if size)
    height = max(int(size[2]) for size in sizes if size) + 24
    parts = []
    for number, (name, svg) in enumerate(pictures):
        x, y = number % columns * width, number // columns * height
        placed = svg.replace("<svg ", f'<svg x="{x}" y="{y + 20}" ', 1)
        parts.append(f'<text x="{x + 12}" y="{y + 14}" class="name">{name}</text>{placed}')
    rows = -(-len(pictures) // columns)
    return (
        f'<svg xmlns="{plots.NAMESPACE}" viewBox="0 0 {columns * width} {rows * height}">'
        "<style>.name{font:600 13px system-ui,sans-serif}</style>" + "".join(parts) + "</svg>"
    )


def _picture(out: Path, name: str) -> str:
    caption = {
        "figure_5": "Figure 5: confusion matrices of the test splits, summed over the seeds",
        "figure_6": "Figure 6: validation and test accuracy on CXR C, one dot a seed",
    }[name]
    return f"## {caption}\n\n![{caption}]({out.name}_{name}.svg)"


def _of(runs: Iterable[Record], **wanted: str) -> list[Record]:
    return [run for run in runs if all(run[key] == value for key, value in wanted.items())]


def _networks(runs: Iterable[Record]) -> list[str]:
    there = {run["network"] for run in runs}
    return [name for name in ZOO if name in there]


def _test_cell(runs: Sequence[Record]) -> str:
    if not runs:
        return "-"
    values = [run["test"]["accuracy"] for run in runs]
    images = runs[0]["images"]["test"]
    low, high = wilson(round(statistics.mean(values) * images), images)
    return f"{_spread(values)}, {100 * low:.1f}-{100 * high:.1f}"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    mean = f"{100 * statistics.mean(values):.1f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({100 * min(values):.1f}-{100 * max(values):.1f})"


def _covid(runs: Sequence[Record]) -> str:
    recalls = []
    for run in runs:
        row = run["test"]["confusion"][run["classes"].index("covid19")]
        recalls.append(f"{row[run['classes'].index('covid19')]}/{sum(row)}")
    return ", ".join(recalls) or "-"


def _mean(runs: Sequence[Record], value: Callable[[Record], float], form: str) -> str:
    return form.format(statistics.mean(map(value, runs))) if runs else "-"


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
