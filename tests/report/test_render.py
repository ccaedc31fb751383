"""Renderers on a small report made by hand, whose exact output is known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import cxredge.report
from cxredge.report.blocks import (
    Example,
    Examples,
    Facts,
    Flip,
    Flips,
    Missing,
    Part,
    Section,
    Sentences,
    Table,
)
from cxredge.report.cells import columns
from cxredge.report.page import Answer, Chapter, Headline, Measurement, Report, TrustQuestion
from cxredge.report.render import to_csv, to_html, to_markdown

CHAPTER = Chapter(
    name="a_b",
    network="mobilenet_v1",
    precision="int8",
    target="cpu-x86",
    card="ab" * 32,
    warnings=("Both", "Mind | this"),
    headlines=(Headline("Accuracy", "82.2%", "95%: 75.4-87.5%", 0.822, (0.754, 0.875)),),
    checks=(TrustQuestion("Is it?", Answer.DOUBTFUL, "Perhaps."),),
    sections=(
        Section(
            "Numbers",
            (
                Part("One"),
                Table("T", ("class", "recall"), (("<b>", "65.8% (49.9-78.8)"),), "A note."),
                Facts("", (("Network", "v1"),)),
                Sentences("List", ("First.", "Second.")),
                Missing("Energy", "cxredge bench X"),
                Flips(
                    "F", "INT8", (Flip("", "image 3", "a", "a 51%", "b 52%", "now wrong"),), "N."
                ),
            ),
        ),
    ),
    subject="Names a | b",
    first=("Both",),
    summary=(
        Section(
            "What it is for",
            (
                Examples(
                    "E",
                    (Example("P", "H", "wrong", "a", "b", "51.0%", "set: a, b"),),
                    "First ones.",
                ),
            ),
        ),
    ),
    measurements=(Measurement("accuracy", "", 0.822, (0.754, None), "1", "test, 9 images"),),
)
REPORT = Report("T*tle", "Research only.", ("Left out: x",), (), (), (CHAPTER,), "1.0")

MARKDOWN = r"""# T\*tle

**Research only.**

- Left out: x

## a_b: mobilenet_v1 · INT8 · cpu-x86

Names a \| b.

Read this first:

- Both

### What it is for

#### E

| | true class | most probable | probability | |
| --- | --- | --- | --- | --- |
| wrong | a | b | 51.0% | set: a, b |

First ones.

### Appendix for engineers

Before these figures are used:

- Mind \| this

| metric | value | circumstances |
| --- | --- | --- |
| Accuracy | 82.2% | 95%: 75.4-87.5% |

### Can these numbers be relied on?

| question | answer | evidence |
| --- | --- | --- |
| Is it? | doubtful | Perhaps. |

### Numbers

#### One

#### T

| class | recall |
| --- | --- |
| \<b\> | 65.8% (49.9-78.8) |

A note.

| | |
| --- | --- |
| Network | v1 |

#### List

- First.
- Second.

Energy: not measured. Run: cxredge bench X

#### F

| image | true class | FP32 | INT8 | effect |
| --- | --- | --- | --- | --- |
| image 3 | a | a 51% | b 52% | now wrong |

N.

Written by cxredge 1.0.
"""


def test_exact_markdown() -> None:
    assert to_markdown(REPORT) == MARKDOWN


def test_exact_csv() -> None:
    card = "ab" * 32
    assert to_csv(REPORT) == (
        "bundle,card,network,precision,target,figure,of,value,ci95_low,ci95_high,unit,measured,"
        "machine,verdict\n"
        f'a_b,{card},mobilenet_v1,int8,cpu-x86,accuracy,,0.822,0.754,,1,"test, 9 images",,\n'
    )


def test_html_separates_value_and_interval() -> None:
    page = to_html(REPORT)
    assert '<td class="number short" data-label="recall"><span>65.8% <span class="interval"' in page
    assert "(49.9-78.8)</span></span></td>" in page
    assert "&lt;b&gt;" in page
    assert '<li class="doubtful">' in page


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2,345"], "number"),
        (["65.8% (49.9\N{EN DASH}78.8)", "not available"], "number"),
        (["\N{MINUS SIGN}1.0 points (\N{MINUS SIGN}2.0 to 0.0)", "is FP32"], "number"),
        (["12.3 ms", "1.23 ms (1.20\N{EN DASH}1.30)"], "number"),
        (["kermany (3)", "1"], "text"),
        (["not available", ""], "text"),
        (["1 of 3"], "text"),
    ],
)
def test_columns_of_numbers_are_recognised(cells: list[str], kind: str) -> None:
    (_, column) = columns(Table("", ("a", "b"), tuple(("row", cell) for cell in cells)))
    assert column.kind == kind


CSS = (Path(cxredge.report.__file__).parent / "templates" / "report.css").read_text()


def luminance(colour: str) -> float:
    """Return the relative luminance (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_required_by_wcag(scheme: str) -> None:
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", CSS.split("@media")[0]))
    if scheme == "dark":
        dark = CSS[CSS.index("prefers-color-scheme: dark") :].split("* {")[0]
        colours |= dict(re.findall(r"--([\w-]+): (#\w{6})", dark))
    on = {"warn-ink": "warn"}
    for ink in ("ink", "soft", "accent", "bad", "good", "unsure", "warn-ink"):
        for paper in ("paper", "tint") if ink not in on else (on[ink],):
            lighter, darker = sorted(
                (luminance(colours[ink]), luminance(colours[paper])), reverse=True
            )
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (ink, paper)
