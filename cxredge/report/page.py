"""The view model of a report: its content in order, independent of the format.

Texts are plain, with formatted numbers (:mod:`cxredge.report.numbers`); markup and escaping belong
to the renderers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from cxredge.metrics.controls import Controls
from cxredge.metrics.maps import MapFidelity
from cxredge.results.answered import Answered, Groups, WithinSource
from cxredge.results.coverage import SetCoverage
from cxredge.results.map_evidence import BorderEvidence

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
class Headline:
    """One headline number.

    Attributes:
        label: Name of the number.
        text: The formatted number.
        detail: Interval and circumstances.
        value: The number; None if it was not measured.
        ci95: Its 95% interval, if known.
    """

    label: str
    text: str
    detail: str
    value: float | None = None
    ci95: tuple[float, float] | None = None


class Answer(str, Enum):
    """Answer to a question, in the words that are shown."""

    YES = "yes"
    NO = "no"
    DOUBTFUL = "doubtful"
    UNKNOWN = "not known"


@dataclass(frozen=True)
class TrustQuestion:
    """One question that decides whether the numbers can be relied on.

    Attributes:
        question: The question, worded so that yes is good.
        answer: The answer.
        evidence: Evidence for the answer, or the command that would provide it.
    """

    question: str
    answer: Answer
    evidence: str


@dataclass(frozen=True)
class Measurement:
    """One metric as numbers, for programs and spreadsheets.

    Attributes:
        figure: Name of the metric, such as ``accuracy`` or ``latency p50``.
        of: Its class or stage; empty for the whole.
        value: Its value; None if it was not measured.
        ci95: Its 95% interval, if known.
        unit: ``1`` for shares and areas, otherwise ``ms``, ``images/s``, ``J``, ``bytes``.
        measured: The images, or the scenario.
        machine: The machine; empty if it makes no difference.
        verdict: Reasons against relying on it; empty without any.
        elsewhere: Whether it was measured on another machine than the target.
    """

    figure: str
    of: str
    value: float | None
    ci95: tuple[float | None, float | None] | None
    unit: str
    measured: str
    machine: str = ""
    verdict: str = ""
    elsewhere: bool = False


@dataclass(frozen=True)
class Section:
    """A heading with its content."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        """The heading as a fragment identifier."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.title).lower().split())


@dataclass(frozen=True)
class Evidence:
    """What one evaluation found beyond accuracy, as the records of its result.

    Attributes:
        answered: What is answered and what refused.
        controls: What controls are called, by kind.
        coverage: Prediction sets.
        by: Accuracy by source, sex, age and view.
        auroc_within_source: How well classes are told apart within one source.
        border_evidence: Share of the evidence in the border of the picture.
        heatmaps_fp32: Agreement of the heatmaps with FP32's.
    """

    answered: Answered | None
    controls: Controls
    coverage: SetCoverage | None
    by: Groups
    auroc_within_source: tuple[WithinSource, ...]
    border_evidence: tuple[BorderEvidence, ...]
    heatmaps_fp32: MapFidelity | None


@dataclass(frozen=True)
class Chapter:
    """The part of a report about one bundle.

    Attributes:
        name: Name of the bundle's folder.
        network: Name in the zoo.
        precision: The precision that serves.
        target: The device it was built for.
        card: SHA-256 of the bundle's card.
        warnings: Warnings to read before the numbers.
        headlines: The headline numbers.
        checks: Questions that decide whether the numbers can be relied on.
        sections: The other sections, in order.
        measurements: All metrics as numbers.
        subject: What the network answers, in plain words.
        first: The warnings that concern every reader: what controls show, and the data.
        summary: The sections for readers who use the answers; ``sections`` are the appendix.
        evidence: The records behind the summary; None without an evaluation.
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
    subject: str = ""
    first: tuple[str, ...] = ()
    summary: tuple[Section, ...] = ()
    evidence: Evidence | None = None

    @property
    def later(self) -> tuple[str, ...]:
        """The warnings that concern engineers."""
        return tuple(text for text in self.warnings if text not in self.first)

    @property
    def title(self) -> str:
        """Network, precision and target."""
        return " · ".join((self.network, self.precision.upper(), self.target))


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        title: Title of the report.
        notice: The research-use notice.
        notes: Results that were left out or listed separately, with the reasons.
        warnings: Warnings to read before comparing the bundles.
        comparison: Comparison of the bundles, if there are several.
        chapters: One for each bundle.
        version: Version of cxredge that wrote it.
    """

    title: str
    notice: str
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    comparison: tuple[Block, ...]
    chapters: tuple[Chapter, ...]
    version: str
