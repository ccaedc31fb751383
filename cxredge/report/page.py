"""The view model of a report: what it says, in order, before it takes any format.

Texts are plain and final (numbers are formatted by :mod:`cxredge.report.numbers`); markup and
escaping belong to the renderers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
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
class Part:
    """A heading within a section; what follows belongs to it."""

    kind: ClassVar[str] = "part"
    title: str


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


Block = Part | Table | Facts | Sentences | Commands | Missing | Figure | Gallery | Flips


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


class Answer(str, Enum):
    """What a check came to, in the word that the reader sees."""

    YES = "yes"
    NO = "no"
    DOUBTFUL = "doubtful"
    UNKNOWN = "not known"


@dataclass(frozen=True)
class TrustQuestion:
    """One question that decides whether the numbers can be relied on.

    Attributes:
        question: Asked so that yes is good.
        answer: What was found.
        evidence: What the answer rests on, or the command that would find it.
    """

    question: str
    answer: Answer
    evidence: str


@dataclass(frozen=True)
class Measurement:
    """One measured figure as numbers, for programs and spreadsheets.

    Attributes:
        figure: What it is, such as ``accuracy`` or ``latency p50``.
        of: The class or stage it is of; empty for the whole.
        value: The figure; None when it was not measured.
        ci95: Its 95% interval, if there is one.
        unit: ``1`` for shares and areas, otherwise ``ms``, ``images/s``, ``J``, ``bytes``.
        measured: On which images or in which scenario.
        machine: On which machine; empty where that makes no difference.
        verdict: What speaks against relying on it; empty when nothing was found.
    """

    figure: str
    of: str
    value: float | None
    ci95: tuple[float | None, float | None] | None
    unit: str
    measured: str
    machine: str = ""
    verdict: str = ""


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
        card: SHA-256 of the card that everything here belongs to.
        warnings: What must be read before the numbers.
        headlines: The row of large numbers.
        checks: Whether the numbers can be relied on.
        sections: The rest, in order.
        measurements: All figures as numbers.
    """

    name: str
    network: str
    precision: str
    target: str
    card: str
    warnings: tuple[str, ...]
    headlines: tuple[Headline, ...]
    checks: tuple[TrustQuestion, ...]
    sections: tuple[Section, ...]
    measurements: tuple[Measurement, ...]

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
        notes: What was left out or set apart, and why.
        warnings: What must be read before the bundles are compared.
        comparison: The bundles side by side, when there are several.
        chapters: One for each bundle.
        version: The cxredge that wrote it.
    """

    title: str
    notice: str
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    comparison: tuple[Block, ...]
    chapters: tuple[Chapter, ...]
    version: str
