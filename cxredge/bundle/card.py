"""The card of a bundle: settings of the build, what the gate found, and where it comes from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from cxredge.artifacts.card import ArtifactKind, Card
from cxredge.artifacts.quantization_record import QuantizationSummary
from cxredge.artifacts.records import UNSET, Count, Share, Threshold, UnsetType, shorten
from cxredge.artifacts.run_config import TrainingSummary
from cxredge.bundle.layout import PICTURES
from cxredge.bundle.operating_point import OperatingPoint
from cxredge.gate.consistency import contradictions
from cxredge.gate.fidelity import Measure
from cxredge.gate.gate import GateResult
from cxredge.gate.limits import GateLimits, RefusalLimits
from cxredge.metrics.maps import MapGrid
from cxredge.targets.engine_request import EngineRequest
from cxredge.vocabulary import Effort, Precision, Split


@dataclass(frozen=True)
class BundleConfig:
    """Configuration of a build.

    Attributes:
        float_stem: Whether the first, cheap layers stay in float in the INT8 model.
        target: Name of the device.
        backend: Runtime of the target.
        precision: The precision that was requested; ``auto`` for the best that passes.
        gate: Limits of the gate.
        split: Split that the gate uses.
        specificity: Specificity of the operating thresholds on validation images.
        calibration_seed: Seed of the calibration list if none was given.
        effort: Extent of the search for the quantization.
        engine: Settings of the engines.
        compute_capabilities: Compute capabilities that engines were built for ahead of time.
        cascade: Whether FP32 decides the near ties of a reduced precision.
        familiar_share: Share of the validation images that are familiar; None if the networks do
            not measure familiarity.
        set_coverage: Share of images whose prediction set contains their class; None on cards of
            earlier versions, which have no prediction sets.
        heatmaps: Whether the networks also return class activation maps.
        refusals: Limits of the gate on controls and refusals.
    """

    float_stem: bool
    target: str
    backend: str
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"]
    gate: GateLimits
    split: Split
    specificity: Share
    calibration_seed: int
    effort: Effort
    engine: EngineRequest = field(default_factory=EngineRequest)
    compute_capabilities: tuple[str, ...] = ()
    cascade: bool = False
    familiar_share: Share | None = None
    set_coverage: Share | None = None
    heatmaps: bool = False
    refusals: RefusalLimits = field(default_factory=RefusalLimits)


@dataclass(frozen=True)
class PackedEngine:
    """An engine that was built ahead for a compute capability.

    Attributes:
        file: Name in the bundle.
        precision: Its precision.
        compute_capability: Such as ``8.6``.
        tensorrt_rtx: Version of TensorRT for RTX.
    """

    file: str
    precision: Precision
    compute_capability: str
    tensorrt_rtx: str


@dataclass(frozen=True)
class BundleFacts:
    """Results of a build.

    Attributes:
        precision: The precision that serves until the bundle is finished on its device.
        gate: Result of the gate by precision, in ONNX Runtime if it has the precision.
        gate_by_runtime: Result of the gate by runtime and precision.
        thresholds: Operating threshold by precision and class, in ONNX Runtime if it has the
            precision.
        operating_points: Limits by runtime and precision; empty on cards of earlier versions.
        map_grid: Where the cells of class activation maps lie in the picture; None if the models
            return no maps.
        data: Number of images by split and class.
        patients: Number of patients by split.
        images_without_patient: Number of images whose patient is not known, by split; each counts
            as a patient of its own. UNSET on cards of earlier versions.
        warnings: Warnings about the data, in sentences.
        quantization: Summary of the quantization; None without INT8.
        trtexec: The ``trtexec`` command by precision, for boards.
        training: Summary of the training; None if the bundle was built from a model.
        engines: Engines that were built ahead.
        engines_left_out: Reason, in a sentence, by file name of an engine that failed to build.
    """

    precision: Precision
    gate: Mapping[Precision, GateResult]
    gate_by_runtime: Mapping[str, Mapping[Precision, GateResult]]
    thresholds: Mapping[Precision, Mapping[str, Threshold]]
    data: Mapping[Split, Mapping[str, Count]]
    patients: Mapping[Split, Count]
    warnings: tuple[str, ...]
    quantization: QuantizationSummary | None
    trtexec: Mapping[Precision, str]
    training: TrainingSummary | None
    engines: tuple[PackedEngine, ...] = ()
    engines_left_out: Mapping[str, str] = field(default_factory=dict)
    images_without_patient: Mapping[Split, Count] | UnsetType = UNSET
    operating_points: Mapping[str, Mapping[Precision, OperatingPoint]] = field(default_factory=dict)
    map_grid: MapGrid | None = None

    def __post_init__(self) -> None:
        if not {self.precision, Precision.FP32} <= self.gate.keys() <= self.thresholds.keys():
            raise ValueError(
                "Expected 'gate' and 'thresholds' for FP32 and for the precision that serves, got "
                f"{', '.join(self.gate)} and {', '.join(self.thresholds)}"
            )

    def operating_point(self, precision: Precision, backend: str) -> OperatingPoint:
        """Return the limits of a precision in a runtime, else in the build's first one."""
        by_runtime = self.operating_points
        for name in (backend, *by_runtime):
            if (found := by_runtime.get(name, {}).get(precision)) is not None:
                return found
        return OperatingPoint(self.thresholds[precision])

    def gate_of(self, precision: Precision, backend: str) -> GateResult:
        """Return the gate's result of a precision in a runtime, else in the build's first one."""
        return self.gate_by_runtime.get(backend, {}).get(precision) or self.gate[precision]


@dataclass(frozen=True)
class BundleCard(Card[BundleConfig, BundleFacts]):
    """The card of a bundle."""

    kind: ClassVar[ArtifactKind] = ArtifactKind.BUNDLE
    removable: ClassVar[frozenset[str]] = PICTURES

    def __post_init__(self) -> None:
        classes = set(self.classifier.classes)
        for precision, thresholds in self.facts.thresholds.items():
            if thresholds.keys() != classes:
                raise ValueError(
                    f"Expected thresholds of {precision.value} for the classes "
                    f"{', '.join(self.classifier.classes)}, got {', '.join(thresholds) or 'none'}"
                )
        for precision, gate in self.facts.gate.items():
            named = {c.class_name for c in gate.checks if c.measure is not Measure.CONTROL_RATE}
            named |= {row.class_name for row in gate.thresholds}
            named |= {name for kind in gate.controls.values() for name in kind.called}
            named |= {name for flip in gate.flipped for name in (flip.label, flip.fp32, flip.now)}
            if unknown := named - classes - {None}:
                raise ValueError(
                    f"The gate of {precision.value} names {', '.join(map(shorten, unknown))}, "
                    f"which is not among the classes {', '.join(self.classifier.classes)}"
                )
        for backend, points in self.facts.operating_points.items():
            for precision, point in points.items():
                where = f"of {precision.value} in {shorten(backend)}"
                _require_classes(f"thresholds {where}", point.thresholds, classes)
                if point.set_levels:
                    _require_classes(f"set levels {where}", point.set_levels, classes)

    def contradictions(self) -> Iterator[str]:
        """Yield what contradicts itself in the gate and the thresholds, a clause each."""
        facts = self.facts
        for gates in (facts.gate, *facts.gate_by_runtime.values()):
            for precision, gate in gates.items():
                for problem in contradictions(gate, self.config.gate, self.config.refusals):
                    yield f"gate of {precision.value}: {problem}"
        for precision, gate in facts.gate.items():
            own = {row.class_name: row.candidate for row in gate.thresholds}
            if own and own != dict(facts.thresholds[precision]):
                yield f"the thresholds of {precision.value} differ from those of its gate"
        yield from self._of_operating_points()

    def _of_operating_points(self) -> Iterator[str]:
        """Yield what contradicts the gate and the configuration in the operating points."""
        facts, config = self.facts, self.config
        if not facts.operating_points:
            if config.familiar_share is not None or config.set_coverage is not None:
                yield "it has no operating points, but shares that they are derived for"
            return
        if facts.operating_points.keys() != facts.gate_by_runtime.keys():
            yield "the gate compared other runtimes than the operating points are for"
            return
        for backend, gates in facts.gate_by_runtime.items():
            points = facts.operating_points[backend]
            if points.keys() != gates.keys():
                yield f"{backend} has not the same precisions in its gate and operating points"
                return
            for precision, point in points.items():
                where = f"the operating point of {precision.value} in {backend}"
                own = {row.class_name: row.candidate for row in gates[precision].thresholds}
                if own and own != dict(point.thresholds):
                    yield f"{where} has other thresholds than its gate"
                if (point.max_distance is None) != (config.familiar_share is None):
                    yield f"{where} and the familiar share are not both present"
                if bool(point.set_levels) != (config.set_coverage is not None):
                    yield f"{where} has not the set levels that its coverage requires"


def _require_classes(what: str, found: Mapping[str, float], classes: Collection[str]) -> None:
    """Raise ValueError unless there is a value for each class."""
    if found.keys() != set(classes):
        raise ValueError(
            f"Expected {what} for the classes {', '.join(classes)}, got "
            f"{', '.join(map(shorten, found)) or 'none'}"
        )
