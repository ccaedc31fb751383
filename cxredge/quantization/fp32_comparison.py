"""Comparison of quantized graphs with FP32.

Steps of the search are compared on validation images, and only the final model on the held-out
images of the gate, which therefore select nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from cxredge.artifacts.card import ClassifierSpec
from cxredge.backends.base import Logits
from cxredge.backends.batched import infer_file
from cxredge.data.images import GreyImage
from cxredge.data.loading import LabelledImages, load_labelled
from cxredge.data.manifest import Manifest
from cxredge.gate.gate import GateLimits, GateResult, Validation, compare
from cxredge.metrics.classification import Ints
from cxredge.progress import Progress
from cxredge.quantization.sessions import infer_graph
from cxredge.vocabulary import JudgedOn, Split

_STEP_IMAGES = 300
"""Maximum number of validation images for a step: enough to detect 1% of changed decisions."""


@dataclass(frozen=True)
class StepMetrics:
    """Accuracy and size of a quantized graph.

    Attributes:
        agreement: Share of images with the same decision as FP32.
        accuracy: Share of images decided correctly.
        logit_error: See :func:`logit_error`.
        size_bytes: Size of the graph as a file.
    """

    agreement: float
    accuracy: float
    logit_error: float
    size_bytes: int


@dataclass(frozen=True)
class StepEvaluator:
    """Images on which steps are compared with FP32, and FP32's logits for them.

    Attributes:
        pixels: uint8 (N, S, S).
        labels: int (N,).
        reference: FP32's logits, float32 (N, classes).
        images: Origin of the images.
    """

    pixels: GreyImage
    labels: Ints
    reference: Logits
    images: JudgedOn

    def evaluate(self, graph: onnx.ModelProto) -> StepMetrics:
        """Run a quantized graph on the images and compare it with FP32."""
        logits = infer_graph(graph, self.pixels)
        decided = logits.argmax(axis=1)
        return StepMetrics(
            agreement=float((decided == self.reference.argmax(axis=1)).mean()),
            accuracy=float((decided == self.labels).mean()),
            logit_error=logit_error(self.reference, logits),
            size_bytes=graph.ByteSize(),
        )


@dataclass(frozen=True)
class Fp32Reference:
    """Labelled images with FP32's logits.

    Attributes:
        held_out: Images on which the gate compares.
        reference: FP32's logits for them.
        validation: Images on which steps and thresholds are chosen; None if there are none.
        validation_reference: FP32's logits for them; None if there are none.
    """

    held_out: LabelledImages
    reference: Logits
    validation: LabelledImages | None
    validation_reference: Logits | None


def logit_error(reference: Logits, logits: Logits) -> float:
    """Return the root mean square difference, relative to the reference's root mean square."""
    difference = np.sqrt(np.mean((logits - reference) ** 2))
    return float(difference / np.sqrt(np.mean(reference**2)))


def run_fp32(
    manifest: Manifest, split: Split, source: ClassifierSpec, fp32: Path, progress: Progress
) -> Fp32Reference:
    """Load a split and the validation images, and run FP32 on them.

    Args:
        manifest: Manifest of the images.
        split: The held-out split.
        source: The classifier.
        fp32: The FP32 ONNX file.
        progress: Progress listener.
    """
    classes, size = source.classes, source.input_size
    held_out = load_labelled(manifest.of(split), classes, size, progress)
    reference = infer_file(fp32, held_out.pixels)
    if split is Split.VAL or Split.VAL.value not in manifest.counts():
        return Fp32Reference(held_out, reference, None, None)
    validation = load_labelled(manifest.of(Split.VAL), classes, size, progress)
    return Fp32Reference(held_out, reference, validation, infer_file(fp32, validation.pixels))


def step_evaluator(
    fp32: Path, reference: Fp32Reference, calibration: LabelledImages, progress: Progress
) -> StepEvaluator:
    """Return an evaluator on evenly spaced validation images, or on calibration images.

    Args:
        fp32: The FP32 ONNX file.
        reference: FP32's logits; its validation images are used if it has any.
        calibration: Calibration images, used otherwise.
        progress: Progress listener.
    """
    validation, logits = reference.validation, reference.validation_reference
    if validation is None or logits is None:
        progress.note("There are no validation images: steps are judged on calibration images.")
        logits = infer_file(fp32, calibration.pixels)
        return StepEvaluator(calibration.pixels, calibration.labels, logits, JudgedOn.CALIBRATION)
    some = np.unique(np.linspace(0, len(logits) - 1, _STEP_IMAGES).astype(int))
    return StepEvaluator(
        validation.pixels[some], validation.labels[some], logits[some], JudgedOn.VALIDATION
    )


def compare_with_fp32(
    path: Path,
    reference: Fp32Reference,
    classes: Sequence[str],
    limits: GateLimits,
    specificity: float,
) -> GateResult:
    """Compare a model with FP32 on the held-out images.

    Args:
        path: The model's ONNX file.
        reference: The images with FP32's logits.
        classes: Names of the classes.
        limits: Maximum loss.
        specificity: Specificity of the operating thresholds on validation images.
    """
    validation = None
    if reference.validation is not None and reference.validation_reference is not None:
        validation = Validation(
            reference.validation_reference,
            infer_file(path, reference.validation.pixels),
            reference.validation.labels,
            specificity,
        )
    return compare(
        reference.reference,
        infer_file(path, reference.held_out.pixels),
        reference.held_out.labels,
        reference.held_out.patients,
        limits,
        classes,
        validation,
    )
