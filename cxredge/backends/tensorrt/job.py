"""One engine build, checked before TensorRT is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxredge.backends.cuda.driver import Gpu, read_gpu
from cxredge.backends.tensorrt.api import Api, Flavour, load_api
from cxredge.backends.tensorrt.settings import EngineConfig, Typing
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.graph.file_check import check_model_file
from cxredge.targets import registry
from cxredge.targets.detect import Board, read_board
from cxredge.vocabulary import Precision


@dataclass(frozen=True)
class Job:
    """Inputs of an engine build.

    Attributes:
        api: The bindings.
        settings: Settings of the engine.
        typing: Choice of number formats.
        gpu: GPU to build for; None if the build is for one that is not present.
        board: Board that builds.
        onnx: Content of the ONNX file.
        plan_path: Engine file to write.
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
        """Beginning of an error message about the build."""
        return f"{self.api.title} cannot build {self.plan_path.name}"


def plan_job(onnx_path: Path, plan_path: Path, settings: EngineConfig) -> Job:
    """Check that settings, version, GPU and model fit each other.

    Raises:
        DependencyError: TensorRT, a driver or a GPU is missing.
        ArtifactError: The model is missing, or not the one for this precision.
        CxredgeError: This version does not support the settings.
    """
    api = load_api(settings.flavour)
    typing = _typing(api, settings)
    gpu, board = _gpu(api, settings), read_board(registry.ROOT)
    return Job(api, settings, typing, gpu, board, _read(onnx_path, settings), plan_path)


def typing_of(api: Api) -> Typing:
    """Return a version's default typing: builder flags if it has them."""
    return Typing.FLAGS if api.has("BuilderFlag.INT8") else Typing.STRONG


def _typing(api: Api, settings: EngineConfig) -> Typing:
    """Return the typing of a build; raise CxredgeError if the version does not support it."""
    has_strong = api.has("NetworkDefinitionCreationFlag.STRONGLY_TYPED")
    typing = settings.typing or typing_of(api)
    if typing is Typing.FLAGS and typing_of(api) is Typing.STRONG:
        raise CxredgeError(
            f"{api.title} takes number formats only from the ONNX file.", "Use Typing.STRONG."
        )
    if typing is Typing.STRONG and not has_strong:
        raise CxredgeError(
            f"{api.title} takes number formats from builder flags; strong typing came with 10.",
            "Use Typing.FLAGS.",
        )
    if settings.calibration and typing is Typing.STRONG:
        raise CxredgeError(
            f"{api.title} cannot calibrate a strongly typed network.",
            "Omit the legacy calibration; INT8 comes with Q/DQ in the ONNX file.",
        )
    return typing


def _gpu(api: Api, settings: EngineConfig) -> Gpu | None:
    """Return the GPU of this machine, or None if the build is for another one."""
    if settings.compute_capability is None:
        return read_gpu()
    if api.flavour is not Flavour.RTX:
        raise CxredgeError(
            f"{api.title} builds only for the GPU that it runs on.",
            "Build on the device: cxredge deploy BUNDLE",
        )
    return None


def _read(path: Path, settings: EngineConfig) -> bytes:
    """Read the ONNX file and check that it is quantized exactly if it should be.

    The file spells out operator names, so this works without the onnx package.
    """
    check_model_file(path)
    content = path.read_bytes()
    quantized = b"QuantizeLinear" in content
    expected = settings.precision is Precision.INT8 and settings.calibration is None
    if quantized != expected:
        required = "the ONNX file with Q/DQ" if expected else "an ONNX file without Q/DQ"
        raise ArtifactError(
            f"{path} is {'' if quantized else 'not '}quantized, and "
            f"{settings.precision.value} requires {required}.",
            "Use the other ONNX file of the bundle.",
        )
    return content
