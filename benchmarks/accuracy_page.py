"""The page of ``accuracy.py``: figures against their goals, and every case."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxredge.metrics.classification import wilson

Record = Mapping[str, Any]
Counted = tuple[int, int]
"""Number of images that count, and of all images."""

_COVID, _OTHER_FINDING, _NORMAL = "covid19", "other finding", "normal"


@dataclass(frozen=True)
class Figure:
    """A figure of a set, with its goal.

    Attributes:
        name: Words for the table.
        sets: Sets that it is measured on.
        goal: Least value, or most if ``at_most``.
        count: Returns the images that count and all images of a case.
        at_most: Whether the goal is an upper bound.
    """

    name: str
    sets: tuple[str, ...]
    goal: float
    count: Callable[[Record], Counted]
    at_most: bool = False

    def is_met(self, value: float) -> bool:
        """Whether a value reaches the goal."""
        return value <= self.goal if self.at_most else value >= self.goal


def page(found: Record) -> str:
    """Return the page as Markdown."""
    cases: Sequence[Record] = found["cases"]
    machines = sorted({_machine(case["machine"]) for case in cases})
    tools = ", ".join(f"{name} {version}" for name, version in found["tools"].items())
    lines = [
        "# Accuracy by patient, and outside the collection",
        "",
        f"Machines: {'; '.join(machines)}. Versions: {tools}. Accuracy is FP32's on the test "
        "split; calls and agreement are those of the bundle as it serves, with FP32 for near ties. "
        "A cell is the mean over the seeds, their range, and Wilson's 95% interval for the images "
        "of one seed, as seeds share images.",
        "",
        *_goals(cases),
        "",
        *_rows(cases),
    ]
    return "\n".join(lines) + "\n"


def _goals(cases: Sequence[Record]) -> Iterator[str]:
    yield "| figure | set | network | recipe | seeds | value (range) [95%] | goal | met |"
    yield "|" + "---|" * 8
    keys = sorted({tuple(case["case"][n] for n in ("set", "network", "recipe")) for case in cases})
    for figure in _FIGURES:
        for key in keys:
            chosen = [
                case
                for case in cases
                if key == tuple(case["case"][n] for n in ("set", "network", "recipe"))
            ]
            if key[0] in figure.sets:
                yield _goal(figure, key, [figure.count(case) for case in chosen])


def _goal(figure: Figure, key: tuple[str, ...], counts: Sequence[Counted]) -> str:
    shares = [number / total for number, total in counts]
    mean, images = statistics.mean(shares), round(statistics.mean(total for _, total in counts))
    low, high = wilson(round(mean * images), images)
    sign = "at most" if figure.at_most else "at least"
    cells = [
        figure.name,
        *key,
        len(counts),
        f"{mean:.3f} ({min(shares):.3f}-{max(shares):.3f}) [{low:.3f}-{high:.3f}]",
        f"{sign} {figure.goal:g}",
        "yes" if figure.is_met(mean) else "no",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _rows(cases: Sequence[Record]) -> Iterator[str]:
    yield (
        "| set | network | recipe | seed | images (train, val, test) | epochs (best) | minutes | "
        "validation | test (95%) | INT8 as FP32: TensorRT's dialect, as served |"
    )
    yield "|" + "---|" * 10
    for case in cases:
        of, test = case["case"], case["test"]
        low, high = test["ci95"]
        cells = [
            of["set"], of["network"], of["recipe"], of["seed"],
            ", ".join(str(case["images"][split]) for split in ("train", "val", "test")),
            f"{case['epochs']} ({case['best_epoch']})", f"{case['training_seconds'] / 60:.0f}",
            f"{case['validation']['accuracy']:.3f}",
            f"{test['accuracy']:.3f} ({low:.3f}-{high:.3f})",
            f"{case['agreement_tensorrt']:.3f}, {case['served']['agreement_fp32']:.3f}",
        ]  # fmt: skip
        yield f"| {' | '.join(map(str, cells))} |"


def _accuracy(case: Record) -> Counted:
    confusion = case["test"]["confusion"]
    return sum(row[index] for index, row in enumerate(confusion)), sum(map(sum, confusion))


def _pneumonia_or_normal(case: Record) -> Counted:
    """Count the X-rays that are rightly called normal or one of the pneumonias."""
    normal, confusion = case["classes"].index(_NORMAL), case["test"]["confusion"]
    right = sum(
        count
        for label, row in enumerate(confusion)
        for answer, count in enumerate(row)
        if (label == normal) == (answer == normal)
    )
    return right, sum(map(sum, confusion))


def _covid_recall(case: Record) -> Counted:
    index = case["classes"].index(_COVID)
    row = case["served"]["confusion"][index]
    return row[index], sum(row)


def _adults_covid(case: Record) -> Counted:
    """Count the normal X-rays of adults; those of Kermany's collection are children's."""
    (called,) = (
        row["called"]
        for row in case["served"]["called_by_source"]
        if (row["class_name"], row["source"]) == (_NORMAL, "adults")
    )
    return called[_COVID], sum(called.values())


def _others_called_covid(case: Record) -> Counted:
    found = case["served"]["controls"][_OTHER_FINDING]
    return found["called_if_answered"][_COVID], found["images"]


def _agreement(name: str) -> Callable[[Record], Counted]:
    def count(case: Record) -> Counted:
        images = case["images"]["test"]
        share = case[name] if name in case else case["served"][name]
        return round(share * images), images

    return count


def _machine(machine: Record) -> str:
    return f"{machine['cpu']}, {machine['cores']} cores"


_WITH_ADULTS = ("cxr-d", "cxr-d-other")
_FIGURES = (
    Figure("accuracy, 3 classes", ("kermany",), 0.92, _accuracy),
    Figure("pneumonia against normal", ("kermany",), 0.965, _pneumonia_or_normal),
    Figure("accuracy, 4 classes", ("full",), 0.88, _accuracy),
    Figure("accuracy, 4 classes", ("cxr-b",), 0.90, _accuracy),
    Figure("adults without a finding called COVID-19", _WITH_ADULTS, 0.03, _adults_covid, True),
    Figure("other findings called COVID-19", _WITH_ADULTS, 0.30, _others_called_covid, True),
    Figure("COVID-19 recall", _WITH_ADULTS, 0.90, _covid_recall),
    Figure(
        "INT8 decides as FP32, TensorRT's dialect",
        ("kermany", "full", "cxr-b", *_WITH_ADULTS),
        0.99,
        _agreement("agreement_tensorrt"),
    ),
    Figure(
        "INT8 decides as FP32, as served here",
        ("kermany", "full", "cxr-b", *_WITH_ADULTS),
        0.99,
        _agreement("agreement_fp32"),
    ),
)
