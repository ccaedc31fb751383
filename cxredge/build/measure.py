"""Every precision in every runtime: compared with FP32 on held-out images, and timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxredge.backends import CPU_BACKENDS, installed_on_cpu, reduced_precisions
from cxredge.backends.batched import NotFiniteError
from cxredge.build.candidates import Candidate
from cxredge.build.config import BuildConfig
from cxredge.build.controls import ControlOutputs, infer_controls, judge_refusals
from cxredge.build.held_out import SplitOutputs, infer_split, judge
from cxredge.build.operating_points import (
    distance_limits,
    operating_point,
    warn_of_few_patients,
)
from cxredge.build.outputs import BundleModel
from cxredge.build.speed import Variant, measure_speeds
from cxredge.bundle.serving import Speed
from cxredge.data.manifest import Manifest, check_labels
from cxredge.errors import CxredgeError
from cxredge.progress import Progress
from cxredge.targets.registry import is_here
from cxredge.vocabulary import Precision, Split

PACKED_FOR = "onnxruntime"
"""The runtime of a bundle until it is finished on its device."""


@dataclass(frozen=True)
class Measured:
    """The candidates of a build.

    Attributes:
        candidates: The candidates, ONNX Runtime's first.
        held_out: Their outputs on the split of the gate.
        timed: They were timed: this machine is the target.
    """

    candidates: tuple[Candidate, ...]
    held_out: SplitOutputs
    timed: bool

    @property
    def packed(self) -> list[Candidate]:
        """Those in ONNX Runtime, without times: the card does not depend on this machine."""
        found = [c for c in self.candidates if c.variant.backend == PACKED_FOR]
        return [replace(candidate, speed=None) for candidate in found]

    @property
    def by_precision(self) -> dict[Precision, Candidate]:
        """One candidate per precision: ONNX Runtime's if it has the precision."""
        return {candidate.precision: candidate for candidate in reversed(self.candidates)}


def measure(
    models: Mapping[Precision, BundleModel],
    manifest: Manifest,
    config: BuildConfig,
    progress: Progress,
) -> Measured:
    """Compare every candidate with FP32, and time the candidates if this machine is the target.

    Targets that run engines are not timed: their engines are built when the bundle is finished.

    Args:
        models: Models by precision; FP32 is always among them, INT8 is in the target's dialect.
        manifest: Has the split of the gate, and ``val`` for the operating thresholds; its controls
            are measured too.
        config: The settings.
        progress: Progress listener.

    Raises:
        CxredgeError: The classes differ, or no runtime here supports the precision to ship.
        NotFiniteError: FP32 or the precision to ship returns NaN or infinity.
    """
    classifier = models[Precision.FP32].artifact.card.classifier
    check_labels(manifest, classifier.classes)
    for sentence in warn_of_few_patients(manifest, config.set_coverage):
        progress.note(sentence)
    timed = is_here(config.target) and config.target.backend in CPU_BACKENDS
    files = {precision: model.file for precision, model in models.items()}
    variants = _variants(files, config, timed)
    held_out = infer_split(manifest.of(config.split), variants, classifier, progress)
    variants = _finite(variants, held_out, config)
    validation = infer_split(manifest.of(Split.VAL), variants, classifier, progress)
    variants = _finite(variants, validation, config)
    controls = infer_controls(manifest, variants, classifier, progress)
    variants = _finite(variants, controls, config) if controls else variants
    held_out, validation = held_out.of(variants), validation.of(variants)
    speeds: dict[Variant, Speed] = {}
    if timed:
        progress.note("Timing the candidates side by side on this machine.")
        speeds = measure_speeds(variants, held_out.images.pixels[:1], progress)
    rules = (config.limits, classifier.classes, config.specificity, config.cascade)
    candidates, limits = [], distance_limits(validation, config)
    for variant in variants:
        gate = judge(variant, held_out, validation, *rules, limits[variant])
        gate = judge_refusals(gate, variant, held_out, controls, limits, config.refusals)
        point = operating_point(
            variant, validation, gate, limits[variant], config.set_coverage, classifier.classes
        )
        candidates.append(Candidate(variant, gate, speeds.get(variant), operating_point=point))
    return Measured(tuple(candidates), held_out, timed)


def _finite(
    variants: Sequence[Variant], found: SplitOutputs | ControlOutputs, config: BuildConfig
) -> tuple[Variant, ...]:
    """Return the variants with finite logits.

    Raises:
        NotFiniteError: None of them has the precision to ship.
    """
    left = tuple(v for v in variants if v in found.outputs)
    if config.precision and config.precision not in {v.precision for v in left}:
        raise NotFiniteError(
            f"The network returns NaN or infinity in {config.precision.value}.",
            "Use --precision fp32 or auto.",
        )
    return left


def _variants(
    models: Mapping[Precision, Path], config: BuildConfig, here: bool
) -> tuple[Variant, ...]:
    """Return all ways to run the models on this machine, ONNX Runtime's first.

    Raises:
        CxredgeError: No runtime here supports the precision to ship.
    """
    variants = [Variant(PACKED_FOR, p, model) for p, model in models.items()]
    for backend in installed_on_cpu() if here else ():
        if backend != PACKED_FOR:
            variants += [Variant(backend, p, model) for p, model in models.items()]
        extra = [p for p in reduced_precisions(backend) if p in config.candidates]
        variants += [Variant(backend, p, models[Precision.FP32]) for p in extra]
    if config.precision and config.precision not in {v.precision for v in variants}:
        raise CxredgeError(
            f"No runtime on this machine supports {config.precision.value}.",
            "It requires OpenVINO (pip install 'cxredge[openvino]') and a processor with "
            "instructions for it; see: cxredge doctor. Or use --precision auto.",
        )
    return tuple(variants)
