"""Packing what ships: candidates measured side by side, behind a gate, in one folder."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from cxredge.artifacts.card import (
    AnyCard,
    ArtifactKind,
    StagePlan,
    read_artifact,
    read_card,
    tool_versions,
    write_card,
    write_text,
)
from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.folder import atomic_folder
from cxredge.artifacts.model_card import MODEL_CARDS, QuantizationSummary, QuantizedCard
from cxredge.artifacts.run_card import TrainingSummary
from cxredge.backends import CPU_BACKENDS, installed_on_cpu, reduced_precisions
from cxredge.build.candidates import BuildResult, Candidate, choose, gates_by_runtime, serving
from cxredge.build.held_out import answer, judge, pick_goldens
from cxredge.build.rtx_engines import build_ahead
from cxredge.build.speed import Variant, measure_speeds
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
from cxredge.bundle.passport import write_passport
from cxredge.bundle.serving import Speed
from cxredge.data.audit_record import build_warnings
from cxredge.data.manifest import Manifest, check_labels
from cxredge.errors import CxredgeError
from cxredge.gate.gate import GateLimits
from cxredge.graph.model_file import FP32_NAME, read_model, with_float_input
from cxredge.progress import Progress
from cxredge.quantization.qdq.int8_with_fp16 import to_int8_with_fp16
from cxredge.quantization.quantize import RANGES_NAME
from cxredge.targets.engine_request import EngineRequest
from cxredge.targets.record import Target
from cxredge.targets.registry import is_here
from cxredge.targets.trtexec import RECIPE_NAME, newest_lines, recipe
from cxredge.vocabulary import Dialect, Effort, Precision, Split

_PACKED_FOR = "onnxruntime"
"""Runs a bundle until it is finished on a device."""


@dataclass(frozen=True)
class BuildConfig:
    """The settings of one build.

    Attributes:
        target: The device.
        precision: The precision to ship; None for the best that passes.
        limits: What may be lost against FP32.
        split: Held-out images that the gate compares on.
        specificity: What the operating thresholds are set to reach on validation images.
        calibration_seed: Chooses the calibration images where no list was given.
        effort: How much the quantization tries.
        engine: What is asked of engines, where the target's runtime has such.
        compute_capabilities: What engines are built for ahead of time; TensorRT for RTX alone.
        cascade: Whether FP32 decides the near ties of a reduced precision; by default where
            cxredge runs on the target.
    """

    target: Target
    precision: Precision | None
    limits: GateLimits
    split: Split = Split.TEST
    specificity: float = 0.9
    calibration_seed: int = 0
    effort: Effort = Effort.DEFAULT
    engine: EngineRequest = field(default_factory=EngineRequest)
    compute_capabilities: tuple[str, ...] = ()
    cascade: bool = False

    @property
    def candidates(self) -> tuple[Precision, ...]:
        """What is made and compared: all that the target takes, or FP32 and what was asked for."""
        wanted = {Precision.FP32, self.precision} if self.precision else self.target.precisions
        return tuple(p for p in Precision if p in wanted)

    @property
    def models(self) -> tuple[Precision, ...]:
        """The candidates with an ONNX file of their own; on a CPU, FP32 is reduced as it runs."""
        if self.target.backend in CPU_BACKENDS:
            return tuple(p for p in self.candidates if p in (Precision.FP32, Precision.INT8))
        return self.candidates

    @property
    def float_stem(self) -> bool:
        """Whether the first, cheap layers stay in float in the target's INT8 model."""
        return self.target.dialect is Dialect.CPU

    def record(self) -> BundleConfig:
        """Return the settings as the bundle's card states them."""
        return BundleConfig(
            float_stem=self.float_stem,
            target=self.target.name,
            backend=self.target.backend,
            precision=self.precision.value if self.precision else "auto",
            gate=self.limits,
            split=self.split,
            specificity=self.specificity,
            calibration_seed=self.calibration_seed,
            effort=self.effort,
            engine=self.engine,
            compute_capabilities=self.compute_capabilities,
            cascade=self.cascade,
        )


def plan(
    source: AnyCard, parents: Mapping[str, str], config: BuildConfig
) -> StagePlan[BundleConfig]:
    """Return the card of a bundle before anything is done: what decides its content.

    Args:
        source: The card of the run or model it is built from.
        parents: SHA-256 of the inputs, by role.
        config: The settings.
    """
    ahead = ["tensorrt-rtx"] if config.compute_capabilities else []
    return StagePlan(
        kind=ArtifactKind.BUNDLE,
        classifier=source.classifier,
        parents=parents,
        config=config.record(),
        tools=tool_versions("onnx", "onnxruntime", "openvino", "numpy", "pillow", *ahead),
    )


def build(
    folders: Mapping[Precision, Path],
    manifest: Manifest,
    planned: StagePlan[BundleConfig],
    config: BuildConfig,
    training: TrainingSummary | None,
    out: Path,
    progress: Progress,
) -> BuildResult:
    """Measure the candidates on held-out images, time them if this is the target, write the bundle.

    Where the target runs engines instead of ONNX files, nothing is timed yet: that is left to
    :func:`cxredge.build.finish.finish`.

    Args:
        folders: Model folders of the candidates by precision; FP32 is always one, INT8 is in the
            target's dialect.
        manifest: Has the split of the gate, and ``val`` for the operating thresholds.
        planned: The card that :func:`plan` made.
        config: The settings.
        training: Summary of the training for the card; None if there was none.
        out: The bundle's folder.
        progress: Hears of images done.

    Raises:
        GateRefused: The precision that was forced loses more than the limits allow. Nothing is
            written.
    """
    cards = {precision: _read_model(folder) for precision, folder in folders.items()}
    source = cards[Precision.FP32]
    classes = source.classifier.classes
    check_labels(manifest, classes)
    models = {precision: folder / FP32_NAME for precision, folder in folders.items()}
    # Other runtimes take engines, which are built from the bundle once it is packed.
    here = is_here(config.target) and config.target.backend in CPU_BACKENDS
    variants = _variants(models, config, here)
    held_out = answer(manifest.of(config.split), variants, source.classifier, progress)
    validation = answer(manifest.of(Split.VAL), variants, source.classifier, progress)
    speeds: dict[Variant, Speed] = {}
    if here:
        progress.note("Timing the candidates side by side on this machine.")
        speeds = measure_speeds(variants, held_out.images.pixels[:1])
    judged = (held_out, validation, config.limits, classes, config.specificity, config.cascade)
    candidates = [Candidate(v, judge(v, *judged), speeds.get(v)) for v in variants]
    # ONNX Runtime's come last: what the card says of a precision is what the runtime that is
    # always there gave, where it has that precision.
    by_precision = {c.precision: c for c in reversed(candidates)}
    # The card is the same whenever the bundle is made: what was timed here decides what serves
    # here, and that is for the passport.
    packed_for = [replace(c, speed=None) for c in candidates if c.variant.backend == _PACKED_FOR]
    size = source.classifier.input_size
    name = float_input_name if config.target.needs_float_input else model_name
    files = {c.precision: name(c.precision) for c in packed_for if c.passed}
    int8 = folders.get(Precision.INT8)
    facts = BundleFacts(
        precision=_packed_precision(packed_for, config),
        gate={p: c.gate for p, c in by_precision.items()},
        gate_by_runtime=gates_by_runtime(candidates),
        thresholds={
            p: {row.class_name: row.candidate for row in c.gate.thresholds}
            for p, c in by_precision.items()
        },
        data={Split(name): of_classes for name, of_classes in manifest.counts().items()},
        patients={Split(name): number for name, number in manifest.patients().items()},
        warnings=tuple(build_warnings(manifest)),
        quantization=_summary_of(read_card(int8, QuantizedCard)) if int8 else None,
        trtexec={
            Precision(name): line
            for name, line in newest_lines(config.target, files, size, config.engine).items()
        },
        training=training,
    )
    chosen, reason = choose(candidates, config.precision, config.target)
    size_bytes = sum(model.stat().st_size for model in models.values())
    room = writing(out.parent, size_bytes, f"the bundle {out.name}")
    with room, atomic_folder(out, ArtifactKind.BUNDLE.value) as folder:
        for precision, model in models.items():
            shutil.copyfile(model, folder / model_name(precision))
            if config.target.needs_float_input:
                twin = with_float_input(read_model(model))
                onnx.save(twin, folder / float_input_name(precision))
        write_golden(folder / GOLDEN_NAME, pick_goldens(held_out))
        indices = {flip.index for c in candidates for flip in c.gate.flipped}
        write_flipped(folder, held_out.images.pixels, indices)
        if Precision.INT8 in folders:
            if config.target.strongly_typed:
                _write_typed_int8(models[Precision.INT8], folder, progress)
            listed = _calibration_csv(folders[Precision.INT8] / "calibration.csv")
            write_text(folder / CALIBRATION_NAME, listed)
            shutil.copyfile(folders[Precision.INT8] / RANGES_NAME, folder / RANGES_NAME)
        passed = [c.precision for c in packed_for if c.passed]
        if config.target.jetpack:
            text = recipe(config.target, files, size, config.engine)
            write_text(folder / RECIPE_NAME, text)
        wanted = config.compute_capabilities
        packed = build_ahead(folder, passed, wanted, config.engine, progress)
        facts = replace(facts, engines=packed.engines, engines_left_out=packed.left_out)
        write_card(folder, BundleCard.of(planned, facts))
        if here:
            file = folder / engine_name(chosen.precision, chosen.variant.backend)
            chosen = replace(chosen, variant=replace(chosen.variant, model=file))
            write_passport(folder, serving(candidates, chosen, reason))
    return BuildResult(open_bundle(out), chosen.gate, [c.to_json() for c in candidates], reason)


def _write_typed_int8(model: Path, folder: Path, progress: Progress) -> None:
    """Write INT8 with FP16 between the integers; where FP16 cannot hold it, FP32 stays there."""
    try:
        typed = to_int8_with_fp16(read_model(model))
    except CxredgeError as error:
        progress.note(f"INT8 keeps FP32 between its integers: {error.message}")
        return
    onnx.save(typed, folder / TYPED_INT8_NAME)


def _read_model(folder: Path) -> AnyCard:
    return read_artifact(folder, *MODEL_CARDS).card


def _variants(
    models: Mapping[Precision, Path], config: BuildConfig, here: bool
) -> tuple[Variant, ...]:
    """Return all ways to compute the models on this machine, ONNX Runtime's first.

    Raises:
        CxredgeError: A precision was asked for that no runtime has here.
    """
    variants = [Variant(_PACKED_FOR, p, model) for p, model in models.items()]
    for backend in installed_on_cpu() if here else ():
        if backend != _PACKED_FOR:
            variants += [Variant(backend, p, model) for p, model in models.items()]
        extra = [p for p in reduced_precisions(backend) if p in config.candidates]
        variants += [Variant(backend, p, models[Precision.FP32]) for p in extra]
    held = {variant.precision for variant in variants}
    if config.precision and config.precision not in held:
        raise CxredgeError(
            f"No runtime computes in {config.precision.value} on this machine.",
            "It takes OpenVINO (pip install 'cxredge[openvino]') and a processor with instructions "
            "for it; cxredge doctor says what is here. Or use --precision auto.",
        )
    return tuple(variants)


def _packed_precision(candidates: Sequence[Candidate], config: BuildConfig) -> Precision:
    """Return what serves before any device has chosen, in ONNX Runtime."""
    held = {candidate.precision for candidate in candidates}
    wanted = config.precision if config.precision in held else None
    return choose(candidates, wanted, config.target)[0].precision


def _calibration_csv(path: Path) -> str:
    """Return the calibration list without paths and patients: they stay on the workstation."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("label", "source", "sha256"))
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        for row in csv.DictReader(stream):
            writer.writerow((row["label"], row["source"], row["sha256"]))
    return text.getvalue()


def _summary_of(card: QuantizedCard) -> QuantizationSummary:
    """Return settings and results of the quantization, without its cost, which varies."""
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
