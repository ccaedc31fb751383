"""The facts on a bundle's card: what the gate found, and where the bundle comes from."""

from __future__ import annotations

from collections.abc import Sequence

from cxredge.artifacts.model_card import QuantizedCard
from cxredge.artifacts.quantization_record import QuantizationSummary
from cxredge.artifacts.run_card import RunCard
from cxredge.artifacts.run_config import TrainingSummary
from cxredge.artifacts.training_images import read_training_images
from cxredge.build.candidates import Candidate
from cxredge.build.choice import choose
from cxredge.build.config import BuildConfig, Source
from cxredge.build.measure import Measured
from cxredge.build.operating_points import warn_of_few_patients
from cxredge.bundle.card import BundleFacts
from cxredge.bundle.layout import float_input_name, model_name
from cxredge.bundle.operating_point import OperatingPoint
from cxredge.data.audit_record import build_warnings
from cxredge.data.manifest import Manifest
from cxredge.data.seen_images import warn_of_gate_images
from cxredge.gate.gate import GateResult
from cxredge.targets.trtexec import newest_lines
from cxredge.vocabulary import Precision, Split


def describe(
    source: Source,
    int8: QuantizedCard | None,
    manifest: Manifest,
    measured: Measured,
    config: BuildConfig,
) -> BundleFacts:
    """Return the facts of a bundle, which do not depend on the machine that builds it.

    Args:
        source: The run or model that the bundle is built from.
        int8: Card of the INT8 model, if there is one.
        manifest: Images of the gate.
        measured: The candidates.
        config: The settings.

    Raises:
        GateRefused: The precision to ship does not pass.
    """
    by_precision = measured.by_precision
    names, size = onnx_names(measured, config), source.card.classifier.input_size
    training = read_training_images(source.path, source.card)
    lines = newest_lines(config.target, names, size, config.engine)
    return BundleFacts(
        precision=_packed_precision(measured.packed, config),
        gate={p: c.gate for p, c in by_precision.items()},
        gate_by_runtime=_gates_by_runtime(measured.candidates),
        thresholds={
            p: {row.class_name: row.candidate for row in c.gate.thresholds}
            for p, c in by_precision.items()
        },
        data={Split(name): by_class for name, by_class in manifest.counts().items()},
        patients={Split(name): count for name, count in manifest.patients().items()},
        images_without_patient={
            Split(name): count for name, count in manifest.without_patient().items()
        },
        warnings=(
            *warn_of_gate_images(training, manifest.of(config.split)),
            *build_warnings(manifest),
            *warn_of_few_patients(manifest, config.set_coverage),
        ),
        quantization=_quantization(int8) if int8 else None,
        trtexec={Precision(name): line for name, line in lines.items()},
        training=_training(source.card) if isinstance(source.card, RunCard) else None,
        operating_points=_operating_points(measured.candidates),
    )


def onnx_names(measured: Measured, config: BuildConfig) -> dict[Precision, str]:
    """Return the names of the ONNX files that engines are made from; those that passed."""
    name = float_input_name if config.target.needs_float_input else model_name
    return {c.precision: name(c.precision) for c in measured.packed if c.passed}


def _packed_precision(candidates: Sequence[Candidate], config: BuildConfig) -> Precision:
    """Return the precision that serves in ONNX Runtime until a device has chosen."""
    held = {candidate.precision for candidate in candidates}
    wanted = config.precision if config.precision in held else None
    return choose(candidates, wanted, config.target).candidate.precision


def _gates_by_runtime(
    candidates: Sequence[Candidate],
) -> dict[str, dict[Precision, GateResult]]:
    found: dict[str, dict[Precision, GateResult]] = {}
    for candidate in candidates:
        of_runtime = found.setdefault(candidate.variant.backend, {})
        of_runtime[candidate.precision] = candidate.gate
    return found


def _operating_points(
    candidates: Sequence[Candidate],
) -> dict[str, dict[Precision, OperatingPoint]]:
    found: dict[str, dict[Precision, OperatingPoint]] = {}
    for candidate in candidates:
        if candidate.operating_point is not None:
            of_runtime = found.setdefault(candidate.variant.backend, {})
            of_runtime[candidate.precision] = candidate.operating_point
    return found


def _quantization(card: QuantizedCard) -> QuantizationSummary:
    """Return settings and results without the costs, which differ from run to run."""
    config, facts = card.config, card.facts
    return QuantizationSummary(
        dialect=config.dialect,
        calibration_images=config.calibration_images,
        effort=config.effort,
        float_stem=config.float_stem,
        judged_on=facts.judged_on,
        chosen=facts.chosen,
        in_float=facts.in_float,
        agreement=facts.agreement,
        size_bytes=facts.size_bytes,
        size_bytes_fp32=facts.size_bytes_fp32,
        layers=facts.layers,
        steps=tuple(step.untimed() for step in facts.steps),
    )


def _training(card: RunCard) -> TrainingSummary:
    facts = card.facts
    return TrainingSummary(
        **{**vars(card.config), "freeze": facts.freeze},
        best_epoch=facts.best_epoch,
        trainable=facts.trainable,
        validation_accuracy=facts.validation.accuracy,
    )
