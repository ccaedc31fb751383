"""Blocks of a report, such as tables and pictures, independent of the format.

Texts are plain, with formatted numbers (:mod:`cxredge.report.numbers`); markup and escaping belong
to the renderers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

Cells = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows under a header.

    Attributes:
        title: Title of the table.
        header: Column names; the first column names the row.
        rows: Cells as texts.
        note: How to read the table.
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
    """A heading within a section, for the blocks that follow."""

    kind: ClassVar[str] = "part"
    title: str


@dataclass(frozen=True)
class Commands:
    """Commands to run."""

    kind: ClassVar[str] = "commands"
    title: str
    lines: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Missing:
    """A measurement that is missing, and the command that makes it."""

    kind: ClassVar[str] = "missing"
    what: str
    command: str


@dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes:
        title: Title of the picture.
        svg: One ``<svg>`` element.
        caption: How to read it.
        data: The same data as a table, for formats without pictures; None if another table of the
            section shows them.
    """

    kind: ClassVar[str] = "figure"
    title: str
    svg: str
    caption: str
    data: Table | None = None


@dataclass(frozen=True)
class Xray:
    """One X-ray with its prediction; ``png`` is base64, empty without pictures."""

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
    """One X-ray that two precisions classify differently.

    Attributes:
        png: The picture in base64; empty without pictures.
        name: Name of the image in the report.
        truth: Its true class.
        before: Class and probability in FP32.
        now: Class and probability in the other precision.
        effect: Effect of the change, such as ``now wrong``.
    """

    png: str
    name: str
    truth: str
    before: str
    now: str
    effect: str


@dataclass(frozen=True)
class Flips:
    """X-rays that two precisions classify differently, with both decisions.

    Attributes:
        title: Title with their number.
        precision: The precision that is compared with FP32.
        flips: The images.
        note: Origin of the images.
    """

    kind: ClassVar[str] = "flips"
    title: str
    precision: str
    flips: tuple[Flip, ...]
    note: str


@dataclass(frozen=True)
class Example:
    """One X-ray beside its heatmap.

    Attributes:
        png: The X-ray in base64; empty without pictures.
        heatmap_png: The X-ray with the heatmap of the most probable class; empty without one.
        outcome: ``right``, ``wrong``, ``refused``, or ``answered`` if its class is not known.
        truth: Its true class, or the kind of a control.
        predicted: The most probable class.
        probability: Its probability.
        details: Prediction set, familiarity and scale of the heatmap.
    """

    png: str
    heatmap_png: str
    outcome: str
    truth: str
    predicted: str
    probability: str
    details: str


@dataclass(frozen=True)
class Examples:
    """X-rays beside their heatmaps."""

    kind: ClassVar[str] = "examples"
    title: str
    examples: tuple[Example, ...]
    note: str


Block = Part | Table | Facts | Sentences | Commands | Missing | Figure | Gallery | Flips | Examples


@dataclass(frozen=True)
class Section:
    """A heading with its content."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        """The heading as a fragment identifier."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.title).lower().split())
