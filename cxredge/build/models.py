"""The models of a bundle: the stages that make the missing ones, into a scratch folder."""

from __future__ import annotations

from pathlib import Path

from cxredge.artifacts.card import Artifact
from cxredge.artifacts.model_card import ExportedCard, HalfPrecisionCard, QuantizedCard
from cxredge.artifacts.run_card import RunCard
from cxredge.build.config import BuildConfig, Source
from cxredge.build.fine_tuning import tuning_of
from cxredge.data.manifest import Manifest
from cxredge.export.half_precision import write_fp16
from cxredge.progress import Progress
from cxredge.quantization.calibration_set import write_calibration
from cxredge.quantization.config import QuantizeConfig
from cxredge.quantization.quantize import quantize
from cxredge.vocabulary import Effort, Precision, Split

CALIBRATION_IMAGES = 256
"""Number of training images to calibrate on if no list is given."""


def export_fp32(source: Source, scratch: Path, progress: Progress) -> Artifact[ExportedCard]:
    """Return the FP32 model: the source, or what a run is exported to."""
    if isinstance(source.card, ExportedCard):
        return Artifact(source.path, source.card)
    from cxredge.export.export import export  # imports torch

    out = scratch / Precision.FP32.value
    return Artifact(out, export(Artifact(source.path, source.card), out, progress))


def convert_to_fp16(
    fp32: Artifact[ExportedCard], config: BuildConfig, scratch: Path
) -> Artifact[HalfPrecisionCard] | None:
    """Return the FP16 model; None if it is not a candidate."""
    if Precision.FP16 not in config.models:
        return None
    out = scratch / Precision.FP16.value
    return Artifact(out, write_fp16(fp32, out))


def choose_calibration(
    manifest: Manifest, config: BuildConfig, scratch: Path, progress: Progress
) -> Path | None:
    """Write a list of training images to calibrate on; None if there is no INT8 candidate."""
    if Precision.INT8 not in config.models:
        return None
    count = min(CALIBRATION_IMAGES, len(manifest.of(Split.TRAIN)))
    path = scratch / "calibration.csv"
    write_calibration(manifest, count, config.calibration_seed, path)
    progress.note(f"No --calibration given: {count} training images were chosen.")
    return path


def quantize_to_int8(
    fp32: Artifact[ExportedCard],
    source: Source,
    calibration: Path | None,
    manifest: Manifest,
    config: BuildConfig,
    scratch: Path,
    progress: Progress,
) -> Artifact[QuantizedCard] | None:
    """Return the INT8 model in the target's dialect; None if it is not a candidate.

    With extensive effort, the images of a run are used to fine-tune the weights if necessary.
    """
    if Precision.INT8 not in config.models or calibration is None:
        return None
    settings = QuantizeConfig(
        config.target.dialect,
        config.effort,
        float_stem=config.float_stem,
        split=config.split,
        limits=config.limits,
        specificity=config.specificity,
    )
    tuning = None
    if isinstance(source.card, RunCard) and config.effort is Effort.EXTENSIVE:
        tuning = tuning_of(Artifact(source.path, source.card), fp32, progress)
    out = scratch / Precision.INT8.value
    card = quantize(fp32, calibration, manifest, settings, out, progress, tuning)
    return Artifact(out, card)
