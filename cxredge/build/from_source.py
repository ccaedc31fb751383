"""The whole build from a run or a model: runs the missing stages, then packs the bundle."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cxredge.progress import Progress
from cxredge.vocabulary import Effort, Precision, Split

if TYPE_CHECKING:
    from cxredge.artifacts.card import AnyCard
    from cxredge.artifacts.run_card import TrainingSummary
    from cxredge.build.candidates import BuildResult
    from cxredge.build.pack import BuildConfig
    from cxredge.data.manifest import Manifest

CALIBRATION_IMAGES = 256


def build_from_source(
    source: Path,
    card: AnyCard,
    config: BuildConfig,
    manifest: Manifest,
    calibration: Path | None,
    out: Path,
    output: Progress,
) -> BuildResult:
    """Run the stages that are missing, then the build."""
    from cxredge.artifacts.card import CARD_NAME, ArtifactKind, sha256_of_file, up_to_date
    from cxredge.build.fine_tuning import tuning_of
    from cxredge.build.finish import finish, reopen
    from cxredge.build.pack import build as stage
    from cxredge.build.pack import plan
    from cxredge.bundle.card import BundleCard
    from cxredge.quantization.calibration_set import read_calibration, write_calibration
    from cxredge.quantization.config import QuantizeConfig
    from cxredge.quantization.quantize import quantize
    from cxredge.targets.registry import is_here

    parents = {"source": sha256_of_file(source / CARD_NAME), "manifest": manifest.sha256}
    if calibration is not None:
        parents["calibration"] = read_calibration(calibration).sha256
    planned = plan(card, parents, config)
    if up_to_date(out, planned, BundleCard) is not None:
        output.note(f"{out} is up to date: same source, images, settings and versions.")
        return reopen(out, config.precision, output)
    with tempfile.TemporaryDirectory(prefix="cxredge-build-") as name:
        scratch = Path(name)
        fp32 = source
        if card.kind is ArtifactKind.RUN:
            from cxredge.export.export import export

            fp32 = scratch / "fp32"
            export(source, fp32, output)
        folders = {Precision.FP32: fp32}
        if Precision.FP16 in config.models:
            from cxredge.export.half_precision import write_fp16

            folders[Precision.FP16] = scratch / "fp16"
            write_fp16(fp32, folders[Precision.FP16])
        if Precision.INT8 in config.models:
            if calibration is None:
                calibration = scratch / "calibration.csv"
                count = min(CALIBRATION_IMAGES, len(manifest.of(Split.TRAIN)))
                write_calibration(manifest, count, config.calibration_seed, calibration)
                output.note(f"No --calibration given: {count} training images were chosen.")
            folders[Precision.INT8] = scratch / "int8"
            settings = QuantizeConfig(
                config.target.dialect,
                config.effort,
                float_stem=config.float_stem,
                split=config.split,
                limits=config.limits,
                specificity=config.specificity,
            )
            tuning = None
            if card.kind is ArtifactKind.RUN and config.effort is Effort.EXTENSIVE:
                tuning = tuning_of(source, fp32, output)
            int8 = folders[Precision.INT8]
            quantize(fp32, calibration, manifest, settings, int8, output, tuning)
        built = stage(folders, manifest, planned, config, _training_of(card), out, output)
    if built.bundle.passport is None and is_here(config.target):
        output.note(f"Wrote {out}. This is its device: finishing it here.")
        return finish(out, config.precision, output)
    return built


def _training_of(card: AnyCard) -> TrainingSummary | None:
    """Return what the bundle's card repeats of the training."""
    from cxredge.artifacts.run_card import RunCard, TrainingSummary

    if not isinstance(card, RunCard):
        return None
    facts = card.facts
    return TrainingSummary(
        **{**vars(card.config), "freeze": facts.freeze},
        best_epoch=facts.best_epoch,
        trainable=facts.trainable,
        validation_accuracy=facts.validation.accuracy,
    )
