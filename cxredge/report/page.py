"""The view model of a report: its content in order, independent of the format."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cxredge.metrics.controls import Controls
from cxredge.metrics.maps import MapFidelity
from cxredge.report.blocks import Block, Section
from cxredge.results.answered import Answered, Groups, WithinSource
from cxredge.results.coverage import SetCoverage
from cxredge.results.map_evidence import BorderEvidence


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
