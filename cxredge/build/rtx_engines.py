"""Engines of TensorRT for RTX, built where there is no GPU for the compute capabilities asked.

They are packed with the bundle as ``model-<precision>-sm<capability>.plan``, each with its facts
beside it, and the card lists them. On a machine with a GPU, :mod:`cxredge.build.engines` takes the
one that fits instead of building it. TensorRT for RTX 1.7 names tensors differently from run to
run, so two engines of the same model have the same layers in other bytes.
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


def check_capabilities(target: Target, wanted: Sequence[str], request: EngineRequest) -> None:
    """Refuse compute capabilities that no engine can be built for, before anything is done.

    Args:
        target: What the bundle is for.
        wanted: Such as ``8.6``; nothing is asked for when empty.
        request: What is asked of the engines.

    Raises:
        WrongUsage: The target's engines are built on the device alone, or one is not served.
        DependencyError: TensorRT for RTX is not installed.
    """
    if not wanted:
        return
    if target.backend != RTX_BACKEND:
        raise WrongUsage(
            f"--compute-capability is for --target rtx; engines for {target.name} are built on it.",
            "Leave it out.",
        )
    if request.version_compatible:
        raise WrongUsage(
            "Version-compatible engines carry code that is run where they are loaded, so they are "
            "built on the device alone.",
            "Leave --version-compatible or --compute-capability out.",
        )
    api = load_api(Flavour.RTX)
    served = served_capabilities(api)
    unknown = [one for one in wanted if one not in served]
    if unknown:
        raise WrongUsage(
            f"{api.title} does not support compute capability {', '.join(unknown)}; it supports "
            f"{', '.join(served)}.",
            "The capability of a GPU is in NVIDIA's list of CUDA GPUs; an RTX 3060 has 8.6.",
        )


@dataclass(frozen=True)
class Packed:
    """The engines of a bundle that were built ahead.

    Attributes:
        engines: What the card states about each.
        left_out: Why an engine could not be built, in a sentence, by its file's name.
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
    """Build an engine of each precision for each compute capability, into a bundle's folder.

    Not every GPU takes every precision: TensorRT for RTX 1.7 has no FP32 matrix product for 7.5.
    What it refuses is left out and said.

    Args:
        folder: Has the ONNX files.
        precisions: What is built.
        capabilities: Such as ``8.6``.
        request: What is asked of the engines.
        progress: Hears what is built.

    Raises:
        ArtifactError: Not one engine could be built.
    """
    engines: list[PackedEngine] = []
    left_out: dict[str, str] = {}
    failure: ArtifactError | None = None
    # What TensorRT for RTX 1.7 had compiled for an engine that it then refuses gets into the next
    # one, which has 30 MB instead of 13 for MobileNet V1. The one after that is clean again.
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
