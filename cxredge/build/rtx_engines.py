"""Engines of TensorRT for RTX, built in advance for given compute capabilities, without a GPU.

They are packed with the bundle as ``model-<precision>-sm<capability>.plan``, each with its facts,
and are listed on the card. On a machine with a GPU, :mod:`cxredge.build.engines` copies the one
that fits instead of building it. TensorRT for RTX 1.7 names tensors differently from run to run, so
two engines of the same model have the same layers and different bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path

from cxredge.backends.tensorrt.api import Flavour, load_api
from cxredge.backends.tensorrt.builder import build_engine
from cxredge.backends.tensorrt.configure import served_capabilities
from cxredge.backends.tensorrt.settings import EngineConfig
from cxredge.bundle.card import PackedEngine
from cxredge.bundle.layout import ahead_name, engine_source
from cxredge.errors import ArtifactError, WrongUsage
from cxredge.progress import Progress
from cxredge.targets.engine_request import EngineRequest
from cxredge.targets.record import Target
from cxredge.vocabulary import Precision

RTX_BACKEND = "tensorrt-rtx"


def resolve_capabilities(
    target: Target, wanted: tuple[str, ...], request: EngineRequest
) -> tuple[str, ...]:
    """Return the compute capabilities to build engines for, after checking each.

    Args:
        target: Target of the bundle.
        wanted: Compute capabilities such as ``8.6``, or ``all`` for all of the target.
        request: Settings of the engines.

    Raises:
        WrongUsage: The target's engines are built only on the device, or one is not supported.
        DependencyError: TensorRT for RTX is not installed.
    """
    if wanted == ("all",):
        wanted = target.hardware.compute_capabilities
    if not wanted:
        return ()
    if target.backend != RTX_BACKEND:
        raise WrongUsage(
            f"--compute-capability is for --target rtx; engines for {target.name} are built on the "
            "device.",
            "Leave it out.",
        )
    if request.version_compatible:
        raise WrongUsage(
            "Version-compatible engines contain code that is executed when they are loaded, so "
            "they are built only on the device.",
            "Leave --version-compatible or --compute-capability out.",
        )
    api = load_api(Flavour.RTX)
    supported = served_capabilities(api)
    unknown = [one for one in wanted if one not in supported]
    if unknown:
        raise WrongUsage(
            f"{api.title} does not support compute capability {', '.join(unknown)}; it supports "
            f"{', '.join(supported)}.",
            "The capability of a GPU is in NVIDIA's list of CUDA GPUs; an RTX 3060 has 8.6.",
        )
    return wanted


@dataclass(frozen=True)
class Packed:
    """The engines of a bundle that were built in advance.

    Attributes:
        engines: Their entries on the card.
        left_out: Reason, in a sentence, by file name of an engine that failed to build.
    """

    engines: tuple[PackedEngine, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


def build_ahead(
    folder: Path,
    precisions: Iterable[Precision],
    capabilities: Sequence[str],
    request: EngineRequest,
    progress: Progress,
) -> Packed:
    """Build an engine of each precision for each compute capability, in a bundle's folder.

    Not every GPU supports every precision: TensorRT for RTX 1.7 has no FP32 matrix product for 7.5.
    Engines that it refuses are left out, with a note.

    Args:
        folder: The bundle's folder, with the ONNX files.
        precisions: The precisions.
        capabilities: Compute capabilities such as ``8.6``.
        request: Settings of the engines.
        progress: Progress listener.

    Raises:
        ArtifactError: Every engine failed to build.
    """
    engines: list[PackedEngine] = []
    left_out: dict[str, str] = {}
    failure: ArtifactError | None = None
    # Kernels that TensorRT for RTX 1.7 compiled for an engine that it then refused are also in the
    # next engine: 30 MB instead of 13 for MobileNet V1. The engine after that is free of them.
    leftovers = False
    for precision, capability in product(precisions, capabilities):
        plan = folder / ahead_name(precision, capability)
        progress.note(f"Building {plan.name}.")
        settings = EngineConfig(
            precision, flavour=Flavour.RTX, compute_capability=capability, **asdict(request)
        )
        held = [path.name for path in folder.iterdir()]
        source = folder / engine_source(precision, True, held)
        try:
            if leftovers:
                build_engine(source, plan, settings, progress)
            facts = build_engine(source, plan, settings, progress)
        except ArtifactError as error:
            progress.note(f"{plan.name} is left out: {error.message}")
            left_out[plan.name], failure, leftovers = error.message, error, True
            continue
        leftovers = False
        engines.append(PackedEngine(plan.name, precision, capability, facts.version))
    if failure is not None and not engines:
        raise failure
    return Packed(tuple(engines), left_out)
