"""The logits of every variant on images that training never saw, and their comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cxredge.artifacts.card import ClassifierSpec
from cxredge.backends.base import Logits, Outputs
from cxredge.backends.batched import NotFiniteError, run_file
from cxredge.build.speed import Variant
from cxredge.bundle.golden import Golden
from cxredge.data.loading import LabelledImages, load_labelled
from cxredge.data.manifest import Entry
from cxredge.gate.gate import GateLimits, GateResult, Validation, compare
from cxredge.metrics.distance_limit import DistanceLimit
from cxredge.metrics.maps import MapFidelity, measure_map_fidelity
from cxredge.progress import Progress
from cxredge.vocabulary import Precision

_GOLDENS = 12


@dataclass(frozen=True)
class SplitOutputs:
    """The images of a split, and the outputs of every variant.

    Attributes:
        images: The images.
        outputs: Outputs by variant; the first FP32 variant is the reference.
    """

    images: LabelledImages
    outputs: Mapping[Variant, Outputs]

    @property
    def logits(self) -> dict[Variant, Logits]:
        """Logits by variant, float32 (N, classes)."""
        return {variant: found.logits for variant, found in self.outputs.items()}

    @property
    def reference(self) -> Outputs:
        """The reference's outputs."""
        return next(v for k, v in self.outputs.items() if k.precision is Precision.FP32)

    @property
    def fp32(self) -> Logits:
        """The reference's logits."""
        return self.reference.logits

    def of(self, variants: Sequence[Variant]) -> SplitOutputs:
        """Return the outputs of some variants."""
        return replace(self, outputs={variant: self.outputs[variant] for variant in variants})


def infer_split(
    entries: Sequence[Entry],
    variants: Sequence[Variant],
    classifier: ClassifierSpec,
    progress: Progress,
) -> SplitOutputs:
    """Load the images of a split and run every variant on them.

    A variant that returns NaN or infinity is left out, with a note.

    Raises:
        NotFiniteError: The first FP32 variant, which is the reference, does.
    """
    images = load_labelled(entries, classifier.classes, classifier.input_size, progress)
    outputs = {}
    reference = next(v for v in variants if v.precision is Precision.FP32)
    for variant in variants:
        try:
            outputs[variant] = run_file(
                variant.model, images.pixels, variant.backend, variant.precision
            )
        except NotFiniteError as error:
            if variant is reference:
                raise
            progress.note(f"{error.message} It is left out.")
    return SplitOutputs(images, outputs)


def judge(
    variant: Variant,
    held_out: SplitOutputs,
    validation: SplitOutputs,
    limits: GateLimits,
    classes: Sequence[str],
    specificity: float,
    cascade: bool = False,
    limit: DistanceLimit | None = None,
) -> GateResult:
    """Compare a variant with FP32.

    Args:
        variant: The candidate.
        held_out: Split on which the limits apply.
        validation: Split on which operating thresholds are derived.
        limits: Largest losses that are allowed.
        classes: Names of the classes.
        specificity: Specificity of the operating thresholds on ``validation``.
        cascade: FP32 decides the near ties of a reduced precision.
        limit: The variant's limit of distances; None if it has none.
    """
    distances = held_out.outputs[variant].distances
    found = compare(
        held_out.fp32,
        held_out.logits[variant],
        held_out.images.labels,
        held_out.images.patients,
        limits,
        classes,
        Validation(
            validation.fp32, validation.logits[variant], validation.images.labels, specificity
        ),
        None if limit is None or distances is None else limit.near(distances),
    )
    return replace(
        found,
        cascade=cascade and variant.precision is not Precision.FP32,
        maps=_map_fidelity(variant, held_out),
    )


def _map_fidelity(variant: Variant, held_out: SplitOutputs) -> MapFidelity | None:
    """Compare a variant's maps with FP32's; None without maps."""
    maps, reference = held_out.outputs[variant].maps, held_out.reference.maps
    if maps is None or reference is None:
        return None
    return measure_map_fidelity(reference, maps, held_out.fp32.argmax(axis=1))


def pick_goldens(held_out: SplitOutputs) -> Golden:
    """Pick a dozen images, of every class in turn, in the manifest's order, with their outputs."""
    labels = held_out.images.labels
    by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    in_turn = [group[turn] for turn in range(_GOLDENS) for group in by_class if turn < len(group)]
    chosen = np.sort(np.array(in_turn[:_GOLDENS]))
    first = {v.precision: v for v in reversed(held_out.logits)}
    others = [v for v in held_out.logits if v is not first[v.precision]]
    distances = {
        variant: found.distances[chosen]
        for variant, found in held_out.outputs.items()
        if found.distances is not None
    }
    return Golden(
        pixels=held_out.images.pixels[chosen],
        labels=labels[chosen],
        logits={p: held_out.logits[v][chosen] for p, v in first.items()},
        of_runtimes={(v.backend, v.precision): held_out.logits[v][chosen] for v in others},
        distances={p: distances[v] for p, v in first.items() if v in distances},
        distances_of_runtimes={
            (v.backend, v.precision): distances[v] for v in others if v in distances
        },
    )
