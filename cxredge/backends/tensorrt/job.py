"""One build, decided before TensorRT is asked for anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from cxredge.backends.cuda.driver import Gpu, read_gpu
from cxredge.backends.tensorrt.api import Api, Flavour, load_api
from cxredge.backends.tensorrt.settings import EngineConfig, Typing
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.half_precision import to_fp16
from cxredge.onnx_graph import read_model
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
        ArtifactError: The model is damaged, or not the one for this precision.
        CxredgeError: This version cannot do what the settings ask for.
    """
    read_model(onnx_path)
    api = load_api(settings.flavour)
    typing = _typing(api, settings)
    gpu, board = _gpu(api, settings), read_board(registry.ROOT)
    onnx_bytes = _typed_bytes(onnx_path, settings, typing)
    return Job(api, settings, typing, gpu, board, onnx_bytes, plan_path)


def _typing(api: Api, settings: EngineConfig) -> Typing:
    """Return who decides number formats, which not every version leaves open."""
    has_flags = api.has("BuilderFlag.INT8")
    has_strong = api.has("NetworkDefinitionCreationFlag.STRONGLY_TYPED")
    typing = settings.typing or (Typing.FLAGS if has_flags else Typing.STRONG)
    if typing is Typing.FLAGS and not has_flags:
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
            "Build on the device: cxredge build BUNDLE",
        )
    return None


def _typed_bytes(path: Path, settings: EngineConfig, typing: Typing) -> bytes:
    """Return the model, in FP16 where that can be said in no other way."""
    model = onnx.load(path)
    quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    expected = settings.precision is Precision.INT8 and settings.calibration is None
    if quantized != expected:
        wants = "the ONNX file with Q/DQ" if expected else "the FP32 ONNX file"
        raise ArtifactError(
            f"{path} is {'' if quantized else 'not '}quantized, and "
            f"{settings.precision.value} takes {wants}.",
            "Give the other of the bundle's ONNX files.",
        )
    if settings.precision is Precision.FP16 and typing is Typing.STRONG:
        model = to_fp16(model)
    return bytes(model.SerializeToString())
