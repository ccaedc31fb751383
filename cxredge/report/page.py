"""The view model of a report: what it says, in order, before it takes any format.

Texts are plain and final (numbers are formatted by :mod:`cxredge.report.numbers`); markup and
escaping belong to the renderers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

Cells = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows under a header.

    Attributes:
        title: What the table shows.
        header: Column names; the first column names the row.
        rows: Cells as texts.
        note: What a reader must know to read it.
    """

    kind: ClassVar[str] = "table"
    title: str
    header: Cells
    rows: tuple[Cells, ...]
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    kind: ClassVar[str] = "facts"
    title: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sentences:
    """Paragraphs or, with a title, a list."""

    kind: ClassVar[str] = "sentences"
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Commands:
    """Commands to type."""

    kind: ClassVar[str] = "commands"
    title: str
    lines: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Missing:
    """Something that was not measured, and the command that measures it."""

    kind: ClassVar[str] = "missing"
    what: str
    command: str


@dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes:
        title: What it shows.
        svg: One ``<svg>`` element.
        caption: How to read it.
        data: The same as a table, for formats without pictures; None when a table beside the
            picture says it already.
    """

    kind: ClassVar[str] = "figure"
    title: str
    svg: str
    caption: str
    data: Table | None = None


@dataclass(frozen=True)
class Xray:
    """One X-ray with its prediction; ``png`` is base64 and empty when pictures are left out."""

    png: str
    truth: str
    predicted: str
    probability: str
    wrong: bool


@dataclass(frozen=True)
class Gallery:
    """X-rays with their predictions."""

    kind: ClassVar[str] = "gallery"
    title: str
    xrays: tuple[Xray, ...]
    note: str


@dataclass(frozen=True)
class Flip:
    """One X-ray that two precisions decide differently; ``png`` is base64, empty without picture.

    Attributes:
        png: The picture.
        name: What the report calls the image.
        truth: Its true class.
        before: FP32's decision with its probability.
        now: The other precision's decision with its probability.
        effect: What became of it, such as ``now wrong``.
    """

    png: str
    name: str
    truth: str
    before: str
    now: str
    effect: str


@dataclass(frozen=True)
class Flips:
    """X-rays that two precisions decide differently, the decisions side by side.

    Attributes:
        title: How many there are.
        precision: What is set against FP32.
        flips: The images.
        note: Where they are from.
    """

    kind: ClassVar[str] = "flips"
    title: str
    precision: str
    flips: tuple[Flip, ...]
    note: str


Block = Table | Facts | Sentences | Commands | Missing | Figure | Gallery | Flips


@dataclass(frozen=True)
class Headline:
    """One large number.

    Attributes:
        label: What it is.
        text: The number as read.
        detail: Interval and circumstances.
        value: The number itself; None when it was not measured.
        ci95: Its 95% interval, if there is one.
    """

    label: str
    text: str
    detail: str
    value: float | None = None
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        """The heading as a fragment identifier."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.title).lower().split())


@dataclass(frozen=True)
class Chapter:
    """All there is to say about one bundle.

    Attributes:
        name: How the report calls it: its folder's name.
        network: Name in the zoo.
        precision: The precision that serves.
        target: The device it was built for.
        warnings: What must be read before the numbers.
        headlines: The row of large numbers.
        sections: The rest, in order.
    """

    name: str
    network: str
    precision: str
    target: str
    warnings: tuple[str, ...]
    headlines: tuple[Headline, ...]
    sections: tuple[Section, ...]

    @property
    def title(self) -> str:
        """Network, precision and target."""
        return " · ".join((self.network, self.precision.upper(), self.target))


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        title: What it is about.
        notice: The research-use notice.
        notes: What was left out and why.
        comparison: The bundles side by side, when there are several.
        chapters: One for each bundle.
        version: The cxredge that wrote it.
    """

    title: str
    notice: str
    notes: tuple[str, ...]
    comparison: Table | None
    chapters: tuple[Chapter, ...]
    version: str
