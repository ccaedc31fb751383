"""The whole build, from a run or an FP32 model to a bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from cxredge.artifacts.card import ArtifactKind, up_to_date
from cxredge.artifacts.exclusive import exclusive
from cxredge.artifacts.folder import check_replaceable
from cxredge.artifacts.temporary import scratch_folder, sweep_scratch
from cxredge.build.candidates import BuildResult
from cxredge.build.config import BuildConfig, Source, plan
from cxredge.build.describe import describe
from cxredge.build.finish import finish, reopen
from cxredge.build.measure import measure
from cxredge.build.models import choose_calibration, convert_to_fp16, export_fp32, quantize_to_int8
from cxredge.build.outputs import add_outputs, load_training_images, map_grid
from cxredge.build.pack import pack
from cxredge.bundle.archive import archive_of, write_archive
from cxredge.bundle.card import BundleCard
from cxredge.bundle.signature import read_private_key, sign
from cxredge.data.manifest import Manifest, read_manifest
from cxredge.metrics.orientation import fit_orientation
from cxredge.progress import Progress, Silent
from cxredge.targets.registry import is_here
from cxredge.vocabulary import Precision


def build_bundle(
    source: Source,
    manifest: Manifest,
    config: BuildConfig,
    out: Path,
    *,
    calibration: Path | None = None,
    sign_with: Path | None = None,
    archive: bool = False,
    progress: Progress | None = None,
) -> BuildResult:
    """Build a bundle: run the missing stages, compare with FP32, pack what passes.

    A bundle in ``out`` that is up to date is kept. On the target itself, the bundle is finished.

    Args:
        source: A run or an FP32 model.
        manifest: Has the split of the gate, ``val`` for the operating thresholds, and ``train`` if
            calibration images are to be chosen.
        config: The settings.
        out: The bundle's folder.
        calibration: List of calibration images; None for a choice from the manifest.
        sign_with: Ed25519 private key (PEM) to sign the bundle with.
        archive: Also pack the bundle as one file beside ``out``.
        progress: Progress listener.

    Raises:
        WrongUsage: ``sign_with`` is not a usable key.
        ArtifactError: An input is damaged, ``out`` holds something else, or another process is
            writing it.
        GateRefused: ``config.precision`` loses more than the limits allow. Nothing is written.
    """
    signer = partial(sign, key=read_private_key(sign_with)) if sign_with else None
    with exclusive(out):
        result = _build(source, manifest, config, out, calibration, progress or Silent())
        return _hand_over(result, signer, archive)


def _build(
    source: Source,
    manifest: Manifest,
    config: BuildConfig,
    out: Path,
    calibration: Path | None,
    progress: Progress,
) -> BuildResult:
    """Return the bundle in ``out``, made again unless it is up to date; see build_bundle."""
    check_replaceable(out, ArtifactKind.BUNDLE.value)
    planned = plan(source, manifest, calibration, config)
    if up_to_date(out, planned, BundleCard) is not None:
        sweep_scratch("build")  # its process may have been killed when the bundle was in place
        progress.note(f"{out} is up to date: same source, images, settings and versions.")
        return reopen(out, config.precision, progress)
    with scratch_folder("build") as scratch:
        fp32 = export_fp32(source, scratch, progress)
        fp16 = convert_to_fp16(fp32, config, scratch)
        listed = calibration or choose_calibration(manifest, config, scratch, progress)
        int8 = quantize_to_int8(fp32, source, listed, manifest, config, scratch, progress)
        made = {Precision.FP32: fp32, Precision.FP16: fp16, Precision.INT8: int8}
        present = {precision: model for precision, model in made.items() if model}
        trained_on = read_manifest(source.path / "manifest.csv")
        training = load_training_images(trained_on, fp32.card.classifier, config, progress)
        models = add_outputs(present, training, config, scratch, progress)
        measured = measure(models, manifest, config, progress)
        facts = describe(source, int8.card if int8 else None, manifest, measured, config)
        maps = measured.held_out.reference.maps
        facts = replace(facts, map_grid=map_grid(models[Precision.FP32], maps))
        orientation = fit_orientation(training.pixels) if training else None
        result = pack(models, measured, planned, facts, config, orientation, out, progress)
    if result.bundle.passport is None and is_here(config.target):
        progress.note(f"Wrote {out}. This is its device: finishing it here.")
        result = finish(out, config.precision, progress)
    return result


def _hand_over(
    result: BuildResult, signer: Callable[[Path], None] | None, archive: bool
) -> BuildResult:
    """Sign the bundle and pack its archive, if requested."""
    folder = result.bundle.path
    if signer is not None:
        signer(folder)
    if not archive:
        return result
    packed = archive_of(folder)
    write_archive(folder, packed)
    return replace(result, archive=packed)
