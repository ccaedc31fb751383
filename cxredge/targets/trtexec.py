"""Making an engine without cxredge: TensorRT's own command, for devices that cxredge cannot run on.

``trtexec`` comes with TensorRT and lies in ``/usr/src/tensorrt/bin`` on a Jetson.
"""

from __future__ import annotations

from cxredge.targets.record import JetPack, Target, version_of
from cxredge.vocabulary import Precision

_TYPED_BY_THE_FILE = (11,)
_SWITCHES = {
    Precision.FP32: (),
    Precision.FP16: ("--fp16",),
    # Layers that are not quantized may run in FP16.
    Precision.INT8: ("--int8", "--fp16"),
}


def trtexec_line(
    model: str, precision: Precision, input_size: int, tensorrt: str | None = None
) -> str:
    """Return the command that makes an engine for batch 1 from a bundle's ONNX file.

    Args:
        model: Path of the ONNX file.
        precision: What the file was made for.
        input_size: Height and width of the input in pixels.
        tensorrt: Its version, where known. From 11 on there are no switches for precisions.
    """
    typed = tensorrt is not None and version_of(tensorrt) >= _TYPED_BY_THE_FILE
    switches = () if typed else _SWITCHES[precision]
    engine = f"{model.removesuffix('.onnx')}.engine"
    shape = f"--shapes=image:1x1x{input_size}x{input_size}"
    return " ".join(["trtexec", f"--onnx={model}", f"--saveEngine={engine}", *switches, shape])


def by_hand(target: Target, line: JetPack) -> str:
    """Return how to serve a board whose software cxredge cannot drive, in words.

    Args:
        target: The board.
        line: The software that it has.
    """
    newest, precision = target.jetpack[-1], target.default_precision
    on_processor = "Or serve on its processor: --target cpu-arm."
    if not newest.obstacle:
        return f"Install JetPack {newest.versions}. {on_processor}"
    update = "" if line == newest else f"Install JetPack {newest.versions}. "
    name = f"model-{precision.value}{'-float-input' if target.needs_float_input else ''}.onnx"
    switches = " ".join(_SWITCHES[precision])
    return (
        f"{update}On a workstation: cxredge build RUN --target {target.name} --out BUNDLE. Then "
        f"on the device: trtexec --onnx=BUNDLE/{name} --saveEngine=model.engine {switches}. "
        f"{on_processor}"
    )
