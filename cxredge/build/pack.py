"""A bundle's folder: models, golden images, recipes and engines, under one card."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx

from cxredge.artifacts.atomic import write_text
from cxredge.artifacts.card import ArtifactKind, StagePlan, write_card
from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.folder import atomic_folder
from cxredge.artifacts.training_images import copy_training_images
from cxredge.build.candidates import BuildResult, Choice, listed, serving
from cxredge.build.choice import choose
from cxredge.build.config import BuildConfig
from cxredge.build.describe import onnx_names
from cxredge.build.held_out import pick_goldens
from cxredge.build.measure import Measured
from cxredge.build.outputs import BundleModel
from cxredge.build.rtx_engines import build_ahead
from cxredge.bundle.bundle import open_bundle
from cxredge.bundle.card import BundleCard, BundleConfig, BundleFacts
from cxredge.bundle.flipped import write_flipped
from cxredge.bundle.golden import write_golden
from cxredge.bundle.layout import (
    CALIBRATION_NAME,
    GOLDEN_NAME,
    TYPED_INT8_NAME,
    engine_name,
    float_input_name,
    model_name,
)
from cxredge.bundle.orientation import write_orientation
from cxredge.bundle.passport import write_passport
from cxredge.errors import CxredgeError
from cxredge.graph.model_file import FP32_NAME, read_model, with_float_input
from cxredge.metrics.orientation import OrientationTemplates
from cxredge.progress import Progress
from cxredge.quantization.qdq.int8_with_fp16 import to_int8_with_fp16
from cxredge.quantization.quantize import RANGES_NAME
from cxredge.targets.trtexec import RECIPE_NAME, recipe
from cxredge.vocabulary import Precision


def pack(
    models: Mapping[Precision, BundleModel],
    measured: Measured,
    planned: StagePlan[BundleConfig],
    facts: BundleFacts,
    config: BuildConfig,
    orientation: OrientationTemplates | None,
    out: Path,
    progress: Progress,
) -> BuildResult:
    """Write a bundle, and its passport if the candidates were timed on this machine.

    Args:
        models: Models by precision.
        measured: The candidates.
        planned: The part of the card that was known in advance.
        facts: The facts of the card, without engines.
        config: The settings.
        orientation: Templates that tell upside down and inverted X-rays; None for none.
        out: The bundle's folder.
        progress: Progress listener.

    Raises:
        GateRefused: The precision to ship does not pass. Nothing is written.
    """
    choice = choose(measured.candidates, config.precision, config.target)
    size_bytes = sum(model.file.stat().st_size for model in models.values())
    room = writing(out.parent, size_bytes, f"the bundle {out.name}")
    with room, atomic_folder(out, ArtifactKind.BUNDLE.value) as folder:
        _write_models(models, config, folder)
        _write_images(measured, folder)
        if orientation is not None:
            write_orientation(folder, orientation)
        fp32 = models[Precision.FP32].artifact
        copy_training_images(fp32.path, fp32.card, folder)
        if Precision.INT8 in models:
            _write_quantization(models[Precision.INT8], config, folder, progress)
        if config.target.jetpack:
            size = planned.classifier.input_size
            names = onnx_names(measured, config)
            write_text(folder / RECIPE_NAME, recipe(config.target, names, size, config.engine))
        passed = [c.precision for c in measured.packed if c.passed]
        wanted = config.compute_capabilities
        ahead = build_ahead(folder, passed, wanted, config.engine, progress)
        facts = replace(facts, engines=ahead.engines, engines_left_out=ahead.left_out)
        write_card(folder, BundleCard.of(planned, facts))
        if measured.timed:
            _write_passport(measured, choice, folder)
    gate, candidates = choice.candidate.gate, listed(measured.candidates)
    return BuildResult(open_bundle(out), gate, candidates, choice.reason)


def _write_models(
    models: Mapping[Precision, BundleModel], config: BuildConfig, folder: Path
) -> None:
    for precision, model in models.items():
        shutil.copyfile(model.file, folder / model_name(precision))
        if config.target.needs_float_input:
            twin = with_float_input(read_model(model.file))
            onnx.save(twin, folder / float_input_name(precision))


def _write_images(measured: Measured, folder: Path) -> None:
    """Write the golden images, and those that a precision decides differently from FP32."""
    write_golden(folder / GOLDEN_NAME, pick_goldens(measured.held_out))
    indices = {flip.index for c in measured.candidates for flip in c.gate.flipped}
    write_flipped(folder, measured.held_out.images.pixels, indices)


def _write_quantization(
    int8: BundleModel, config: BuildConfig, folder: Path, progress: Progress
) -> None:
    """Write what belongs to INT8: ranges, calibration list, and the file for typed builders."""
    if config.target.strongly_typed:
        _write_typed_int8(int8, folder, progress)
    source = int8.artifact.path
    write_text(folder / CALIBRATION_NAME, _anonymous_csv(source / "calibration.csv"))
    shutil.copyfile(source / RANGES_NAME, folder / RANGES_NAME)


def _write_typed_int8(int8: BundleModel, folder: Path, progress: Progress) -> None:
    """Write INT8 with FP16 between the integers, or keep FP32 there if FP16 cannot hold it."""
    try:
        typed = to_int8_with_fp16(read_model(int8.artifact.path / FP32_NAME))
    except CxredgeError as error:
        progress.note(f"INT8 keeps FP32 between its integers: {error.message}")
        return
    onnx.save(int8.extra.add_to(typed), folder / TYPED_INT8_NAME)


def _anonymous_csv(path: Path) -> str:
    """Return the calibration list without paths and patients, which stay on the workstation."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("label", "source", "sha256"))
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        for row in csv.DictReader(stream):
            writer.writerow((row["label"], row["source"], row["sha256"]))
    return text.getvalue()


def _write_passport(measured: Measured, choice: Choice, folder: Path) -> None:
    """Write the passport of the folder, whose models have other names than those measured."""
    chosen = choice.candidate
    file = folder / engine_name(chosen.precision, chosen.variant.backend)
    packed = replace(chosen, variant=replace(chosen.variant, model=file))
    write_passport(folder, serving(measured.candidates, Choice(packed, choice.reason)))
