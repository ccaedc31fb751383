"""One build, decided before TensorRT is asked for anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxredge.backends.cuda.driver import Gpu, read_gpu
from cxredge.backends.tensorrt.api import Api, Flavour, load_api
from cxredge.backends.tensorrt.settings import EngineConfig, Typing
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.targets import registry
from cxredge.targets.detect import Board, read_board
from cxredge.vocabulary import Precision


@dataclass(frozen=True)
class Job:
    """What the steps of a build share.

    Attributes:
        api: The bindings.
        settings: What is asked for.
        typing: Who decides number formats.
        gpu: The GPU that is built for; None where the build is for one that is not here.
        board: The machine that is built on.
        onnx: The model as TensorRT gets it.
        plan_path: The engine's file.
    """

    api: Api
    settings: EngineConfig
    typing: Typing
    gpu: Gpu | None
    board: Board
    onnx: bytes
    plan_path: Path

    @property
    def doing(self) -> str:
        """How a sentence about its failure begins."""
        return f"{self.api.title} cannot build {self.plan_path.name}"


def plan_job(onnx_path: Path, plan_path: Path, settings: EngineConfig) -> Job:
    """Check that settings, version, GPU and model go together.

    Raises:
        DependencyError: No TensorRT, no driver or no GPU.
        ArtifactError: The model is missing, or not the one for this precision.
        CxredgeError: This version cannot do what the settings ask for.
    """
    api = load_api(settings.flavour)
    typing = _typing(api, settings)
    gpu, board = _gpu(api, settings), read_board(registry.ROOT)
    return Job(api, settings, typing, gpu, board, _read(onnx_path, settings), plan_path)


def typing_of(api: Api) -> Typing:
    """Return who decides number formats where nobody asked: flags, as long as there are any."""
    return Typing.FLAGS if api.has("BuilderFlag.INT8") else Typing.STRONG


def _typing(api: Api, settings: EngineConfig) -> Typing:
    """Return who decides number formats, which not every version leaves open."""
    has_strong = api.has("NetworkDefinitionCreationFlag.STRONGLY_TYPED")
    typing = settings.typing or typing_of(api)
    if typing is Typing.FLAGS and typing_of(api) is Typing.STRONG:
        raise CxredgeError(
            f"{api.title} takes number formats from the ONNX file alone.", "Use Typing.STRONG."
        )
    if typing is Typing.STRONG and not has_strong:
        raise CxredgeError(
            f"{api.title} takes number formats from builder flags; strong typing came with 10.",
            "Use Typing.FLAGS.",
        )
    if settings.calibration and typing is Typing.STRONG:
        raise CxredgeError(
            f"{api.title} cannot calibrate a strongly typed network.",
            "Leave the legacy calibration out; INT8 comes with Q/DQ in the ONNX file.",
        )
    return typing


def _gpu(api: Api, settings: EngineConfig) -> Gpu | None:
    """Return the GPU of this machine, unless the build is for another."""
    if settings.compute_capability is None:
        return read_gpu()
    if api.flavour is not Flavour.RTX:
        raise CxredgeError(
            f"{api.title} builds only for the GPU that it runs on.",
            "Build on the device: cxredge deploy BUNDLE",
        )
    return None


def _read(path: Path, settings: EngineConfig) -> bytes:
    """Return the model's bytes, after a look whether it is quantized where it should be.

    Operators are named in the file as they are called, so that this needs no package onnx.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist.", "Check the path.") from None
    quantized = b"QuantizeLinear" in content
    expected = settings.precision is Precision.INT8 and settings.calibration is None
    if quantized != expected:
        wants = "the ONNX file with Q/DQ" if expected else "an ONNX file without Q/DQ"
        raise ArtifactError(
            f"{path} is {'' if quantized else 'not '}quantized, and "
            f"{settings.precision.value} takes {wants}.",
            "Give the other of the bundle's ONNX files.",
        )
    return content
