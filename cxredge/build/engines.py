"""TensorRT engines of a bundle, built on the machine that runs them.

An engine is stored beside its ONNX file as ``model-<precision>.plan``, with its facts in
``model-<precision>.plan.json`` and the kernel timings of its build. Timings are valid for a board,
its GPU and a version of TensorRT, which are part of their name, and for every bundle; they are also
kept in the user's cache.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.card import CARD_NAME
from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.backends.cuda.driver import Gpu, read_gpu
from cxredge.backends.tensorrt.api import Api, Flavour, load_api
from cxredge.backends.tensorrt.builder import build_engine
from cxredge.backends.tensorrt.facts import EngineFacts, facts_path, read_facts, write_facts
from cxredge.backends.tensorrt.job import typing_of
from cxredge.backends.tensorrt.settings import EngineConfig, LegacyCalibration, Typing
from cxredge.bundle.bundle import Bundle
from cxredge.bundle.layout import ahead_name, engine_source, model_name, plan_name
from cxredge.errors import CxredgeError, WrongUsage
from cxredge.progress import Progress
from cxredge.targets import registry
from cxredge.targets.detect import read_board
from cxredge.targets.engine_request import EngineRequest, workspace_for
from cxredge.targets.record import Target, version_of
from cxredge.targets.trtexec import LEVELS
from cxredge.vocabulary import Precision

_FLAVOURS = {"tensorrt": Flavour.TENSORRT, "tensorrt-rtx": Flavour.RTX}
"""The TensorRT product of a backend."""
_LARGEST_PART_OF_MODEL = 2
"""Largest observed size of an engine per profile, in multiples of the FP32 file."""


@dataclass(frozen=True)
class Engines:
    """Engines of a bundle on this machine.

    Attributes:
        runtime: Version, by name, of the runtime that built them and runs them.
        left_out: Reason, in a sentence, by precision without an engine on this machine.
    """

    runtime: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def are_built(backend: str) -> bool:
    """Return whether a backend runs engines that are built on the device, not ONNX files."""
    return backend in _FLAVOURS


@dataclass(frozen=True)
class EngineOptions:
    """Options of engines that override what a bundle was packed with; None keeps that.

    Attributes:
        batches: Batch sizes to optimise for, ascending.
        workspace_mb: Largest scratch memory of a layer, in units of 10^6 bytes.
        optimization_level: 0 to 5.
        version_compatible: Newer TensorRT versions may load the engine.
        calibration: List of images for TensorRT's own calibrator, used instead of Q/DQ; INT8 only.
    """

    batches: tuple[int, ...] | None = None
    workspace_mb: int | None = None
    optimization_level: int | None = None
    version_compatible: bool | None = None
    calibration: Path | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The options of :class:`EngineRequest` that are not None, by name."""
        values = {name: value for name, value in asdict(self).items() if name != "calibration"}
        return {name: value for name, value in values.items() if value is not None}

    def override(self, packed: EngineRequest) -> EngineRequest:
        """Return a request in which these options replace the packed ones.

        Raises:
            WrongUsage: A value is out of range.
        """
        return replace(packed, **self.given)


DEFAULT_OPTIONS = EngineOptions()


@dataclass(frozen=True)
class _Origin:
    """The software and GPU that built an engine; one of another origin is not up to date."""

    flavour: Flavour
    version: str
    compute_capability: str
    gpu: str
    board: str | None


def check_options(target: Target, options: EngineOptions) -> None:
    """Refuse options of engines for a target whose runtime loads the ONNX files directly.

    Raises:
        WrongUsage: The options would have no effect.
    """
    if options != DEFAULT_OPTIONS and not are_built(target.backend):
        raise WrongUsage(
            f"--batch, --workspace-mb, --optimization-level, --version-compatible and "
            f"--legacy-calibration are for TensorRT engines; {target.name} has none.",
            "Leave them out.",
        )
    newest = target.jetpack[-1].tensorrt if target.jetpack else ""
    late = {"optimization_level", "version_compatible"} & set(options.given)
    if late and newest and version_of(newest) < LEVELS:
        raise WrongUsage(
            f"Optimization levels and version-compatible engines came with TensorRT 8.6; the "
            f"newest for {target.name} is {newest}.",
            "Leave --optimization-level and --version-compatible out.",
        )


def build_engines(
    bundle: Bundle,
    backend: str,
    wanted: Precision | None,
    options: EngineOptions,
    progress: Progress,
) -> Engines:
    """Build an engine of every precision in a bundle; engines that are up to date are kept.

    An engine is up to date if its ONNX file, card, settings, TensorRT and GPU are the same. One
    that was packed for this GPU's compute capability is copied instead of being built.

    Args:
        bundle: The bundle; the engines are written to its folder.
        backend: ``tensorrt`` or ``tensorrt-rtx``.
        wanted: A precision that must not be left out, if any.
        options: Options that override the packed ones.
        progress: Progress listener.

    Raises:
        DependencyError: TensorRT, the driver or a GPU is missing.
        CxredgeError: The engine of ``wanted``, or every engine, failed to build.
    """
    api, gpu, board = load_api(_FLAVOURS[backend]), read_gpu(), read_board(registry.ROOT)
    left_out: dict[str, str] = {}
    failure: CxredgeError | None = None
    for precision in bundle.precisions:
        settings = _settings(bundle, precision, options, api, gpu)
        origin = _Origin(api.flavour, api.version, gpu.compute_capability, gpu.name, board.model)
        if _is_up_to_date(bundle, settings, origin):
            progress.note(f"{plan_name(precision)} is up to date: same model, TensorRT and GPU.")
            continue
        if _take_packed(bundle, settings, origin):
            packed = ahead_name(precision, gpu.compute_capability)
            progress.note(f"Copied {packed}, which was built for this GPU's compute capability.")
            continue
        progress.note(f"Building {plan_name(precision)} with {api.title} for {gpu.name}.")
        try:
            _build(bundle, settings, progress)
        except CxredgeError as error:
            if precision is wanted:
                raise
            progress.note(f"{precision.value} is left out: {error.message}")
            left_out[precision.value], failure = error.message, error
    if failure is not None and len(left_out) == len(bundle.precisions):
        raise failure
    return Engines({api.flavour.value: api.version}, left_out)


def _settings(
    bundle: Bundle, precision: Precision, options: EngineOptions, api: Api, gpu: Gpu
) -> EngineConfig:
    """Return the settings of an engine: those of the card, overridden, completed for this GPU."""
    request = options.override(bundle.card.config.engine)
    if request.workspace_mb is None and gpu.integrated:
        request = replace(request, workspace_mb=workspace_for(gpu.memory_mb))
    cache = _cache_folder()
    parents = {"card": sha256_of_file(bundle.path / CARD_NAME)}
    calibration = None
    if options.calibration is not None and precision is Precision.INT8:
        parents["calibration"] = sha256_of_file(options.calibration)
        calibration = LegacyCalibration(options.calibration, cache or bundle.path)
    return EngineConfig(
        precision,
        **asdict(request),
        typing=typing_of(api),
        flavour=api.flavour,
        timing_cache_folders=(*([cache] if cache else []), bundle.path),
        calibration=calibration,
        parents=parents,
    )


def _build(bundle: Bundle, settings: EngineConfig, progress: Progress) -> None:
    """Build one engine; after a failure, no outdated engine remains."""
    plan = bundle.path / plan_name(settings.precision)
    source = bundle.path / _source(bundle, settings)
    fp32_bytes = (bundle.path / model_name(Precision.FP32)).stat().st_size
    most_bytes = _LARGEST_PART_OF_MODEL * len(settings.batches) * fp32_bytes
    try:
        with writing(bundle.path, most_bytes, f"the engine {plan.name}"):
            build_engine(source, plan, settings, progress)
    except BaseException:
        plan.unlink(missing_ok=True)
        facts_path(plan).unlink(missing_ok=True)
        raise


def _source(bundle: Bundle, settings: EngineConfig) -> str:
    """Return the ONNX file of an engine: FP32's if TensorRT's own calibrator is used."""
    precision = Precision.FP32 if settings.calibration else settings.precision
    return engine_source(precision, settings.typing is Typing.STRONG, bundle.card.files)


def _take_packed(bundle: Bundle, settings: EngineConfig, origin: _Origin) -> bool:
    """Copy an engine that was packed with the bundle, if it fits this machine.

    Its hash is on the card and was checked when the bundle was opened. Engines that contain code
    are never copied.
    """
    packed = bundle.path / ahead_name(settings.precision, origin.compute_capability)
    facts = _facts_of(packed) if packed.name in bundle.card.files else None
    if facts is None or settings.version_compatible:
        return False
    made_of = (facts.settings, facts.parents.get("onnx"))
    made_by = (facts.flavour, facts.version, facts.compute_capability)
    if made_by != (origin.flavour, origin.version, origin.compute_capability):
        return False
    if made_of != (settings.recorded(), bundle.card.files[_source(bundle, settings)]):
        return False
    plan = bundle.path / plan_name(settings.precision)
    with writing(bundle.path, facts.size_bytes, f"the engine {plan.name}"):
        with atomic_file(plan) as temporary:
            shutil.copyfile(packed, temporary)
        parents = {**settings.parents, "onnx": facts.parents["onnx"]}
        write_facts(plan, replace(facts, plan=plan.name, parents=parents, board=origin.board))
    return True


def _is_up_to_date(bundle: Bundle, settings: EngineConfig, origin: _Origin) -> bool:
    """Return whether a bundle's engine has the same inputs and origin as a new one would.

    An engine that was built in advance has no name of a GPU.
    """
    facts = _facts_of(bundle.path / plan_name(settings.precision))
    if facts is None:
        return False
    parents = {**settings.parents, "onnx": bundle.card.files[_source(bundle, settings)]}
    same_inputs = (dict(facts.parents), facts.settings) == (parents, settings.recorded())
    gpu = facts.gpu or origin.gpu
    made_by = _Origin(facts.flavour, facts.version, facts.compute_capability, gpu, facts.board)
    return same_inputs and made_by == origin


def _facts_of(plan: Path) -> EngineFacts | None:
    """Return an engine's facts; None if they are missing, damaged or of another file."""
    if not plan.is_file():
        return None
    try:
        return read_facts(plan)
    except CxredgeError:
        return None


def _cache_folder() -> Path | None:
    """Return the folder of kernel timings and calibration tables; None if it is not writable.

    Follows the XDG Base Directory Specification: ``$XDG_CACHE_HOME``, else ``~/.cache``.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        home = Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
        folder = home / "cxredge" / "tensorrt"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return folder if os.access(folder, os.W_OK) else None
