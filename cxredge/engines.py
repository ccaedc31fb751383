"""TensorRT engines of a bundle, built on the machine that they serve on.

An engine lies beside the ONNX file that it was made from, as ``model-<precision>.plan`` with its
facts in ``model-<precision>.plan.json``. Kernel timings are no part of a bundle: they hold for a
board and a version of TensorRT, so they are kept in the user's cache, where the next bundle finds
them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cxredge.artifacts import CARD_NAME, sha256_of_file
from cxredge.backends.cuda.driver import read_gpu
from cxredge.backends.tensorrt.api import Flavour, load_api
from cxredge.backends.tensorrt.builder import build_engine
from cxredge.backends.tensorrt.facts import EngineFacts, facts_path, read_facts
from cxredge.backends.tensorrt.settings import EngineConfig, workspace_for
from cxredge.bundle import Bundle, model_name, plan_name
from cxredge.errors import CxredgeError
from cxredge.progress import Progress
from cxredge.vocabulary import Precision, PrecisionChoice

_FLAVOURS = {"tensorrt": None, "tensorrt-rtx": Flavour.RTX}
"""By backend; ``tensorrt`` takes TensorRT, or TensorRT for RTX where that is what is installed."""


@dataclass(frozen=True)
class Engines:
    """What the precisions of a bundle came to on this machine.

    Attributes:
        runtime: Version of the runtime that built them and runs them, by its name.
        left_out: Why a precision has no engine here, in a sentence, by its name.
    """

    runtime: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def are_built(backend: str) -> bool:
    """Tell whether a backend runs engines that are built on the device, not the ONNX files."""
    return backend in _FLAVOURS


def build_engines(
    bundle: Bundle, backend: str, wanted: PrecisionChoice, progress: Progress
) -> Engines:
    """Build an engine of every precision in a bundle; what is up to date is kept.

    An engine is up to date when its ONNX file, card, settings, TensorRT and GPU are the same.

    Args:
        bundle: Its folder receives the engines.
        backend: ``tensorrt`` or ``tensorrt-rtx``.
        wanted: A precision that was asked for may not be left out.
        progress: Hears what is going on.

    Raises:
        DependencyError: There is no TensorRT, driver or GPU.
        CxredgeError: The engine that was asked for cannot be built, or none can.
    """
    api, gpu = load_api(_FLAVOURS[backend]), read_gpu()
    left_out: dict[str, str] = {}
    failure: CxredgeError | None = None
    for precision in bundle.precisions:
        settings = EngineConfig(
            precision,
            workspace_mb=workspace_for(gpu.memory_mb),
            flavour=api.flavour,
            timing_cache_folder=_timing_cache_folder(),
            parents={"card": sha256_of_file(bundle.path / CARD_NAME)},
        )
        origin = (api.flavour, api.version, gpu.name, gpu.compute_capability)
        if _is_up_to_date(bundle, settings, origin):
            progress.note(f"{plan_name(precision)} is up to date: same model, TensorRT and GPU.")
            continue
        progress.note(f"Building {plan_name(precision)} with {api.title} for {gpu.name}.")
        try:
            _build(bundle, settings, progress)
        except CxredgeError as error:
            if precision.value == wanted.value:
                raise
            progress.note(f"{precision.value} is left out: {error.message}")
            left_out[precision.value], failure = error.message, error
    if failure is not None and len(left_out) == len(bundle.precisions):
        raise failure
    return Engines({api.flavour.value: api.version}, left_out)


def _build(bundle: Bundle, settings: EngineConfig, progress: Progress) -> None:
    """Build one engine; where that fails, none is left that was made of something else."""
    plan = bundle.path / plan_name(settings.precision)
    try:
        build_engine(bundle.path / _source(settings.precision), plan, settings, progress)
    except CxredgeError:
        plan.unlink(missing_ok=True)
        facts_path(plan).unlink(missing_ok=True)
        raise


def _source(precision: Precision) -> str:
    """Return the ONNX file that an engine is made from.

    FP16 is made from the FP32 file: the builder rounds its weights itself, by a flag or by types.
    """
    return model_name(Precision.INT8 if precision is Precision.INT8 else Precision.FP32)


def _is_up_to_date(
    bundle: Bundle, settings: EngineConfig, origin: tuple[Flavour, str, str, str]
) -> bool:
    """Tell whether a bundle's engine is what would be built now: same inputs, same origin."""
    facts = _facts_of(bundle.path / plan_name(settings.precision))
    if facts is None:
        return False
    parents = {**settings.parents, "onnx": bundle.card.files[_source(settings.precision)]}
    made_by = (facts.flavour, facts.version, facts.gpu, facts.compute_capability)
    same_inputs = (dict(facts.parents), dict(facts.settings)) == (parents, settings.to_json())
    return same_inputs and made_by == origin


def _facts_of(plan: Path) -> EngineFacts | None:
    """Return an engine's facts; None where it is missing, damaged or another file's."""
    if not plan.is_file():
        return None
    try:
        return read_facts(plan)
    except CxredgeError:
        return None


def _timing_cache_folder() -> Path | None:
    """Return where the user's kernel timings are kept, or None where nothing can be written.

    By the XDG Base Directory Specification: ``$XDG_CACHE_HOME``, else ``~/.cache``.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        home = Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
        folder = home / "cxredge" / "tensorrt"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return folder if os.access(folder, os.W_OK) else None
