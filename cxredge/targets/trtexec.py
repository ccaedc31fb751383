"""Commands that build engines without cxredge, by TensorRT's own tool ``trtexec``.

It comes with TensorRT, in ``/usr/src/tensorrt/bin`` on a Jetson.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cxredge.errors import quoted
from cxredge.targets.engine_request import EngineRequest, workspace_for
from cxredge.targets.record import TENSORRT_FLOOR, JetPack, Target, version_of
from cxredge.vocabulary import Precision

RECIPE_NAME = "recipe.txt"
"""File with the commands that build the engines without cxredge."""

LEVELS = (8, 6)
"""The first TensorRT with builder optimization levels and version-compatible engines."""

_MEMORY_POOLS, _STRONGLY_TYPED = (8, 4), (11,)
_SWITCHES = {
    Precision.FP32: (),
    Precision.FP16: ("--fp16",),
    # Layers without Q/DQ may run in FP16.
    Precision.INT8: ("--int8", "--fp16"),
}


def trtexec_line(
    model: str, precision: Precision, input_size: int, request: EngineRequest, tensorrt: str
) -> str:
    """Return the command that builds an engine from a bundle's ONNX file.

    The engine has one optimization profile, from batch 1 to the largest, with the smallest
    requested batch size as its optimum.

    Args:
        model: Path of the ONNX file.
        precision: Precision that the file was made for.
        input_size: Height and width of the input in pixels.
        request: Options of the engine. Levels and version compatibility require 8.6.
        tensorrt: TensorRT version. From 11 on there are no switches for precisions.
    """
    version = version_of(tensorrt)
    switches = () if version >= _STRONGLY_TYPED else _SWITCHES[precision]
    engine = f"{model.removesuffix('.onnx')}.engine"
    reach = (("min", 1), ("opt", request.batches[0]), ("max", request.batches[-1]))
    shapes = [f"--{end}Shapes=image:{n}x1x{input_size}x{input_size}" for end, n in reach]
    limits = _limits(request, version)
    parts = ["trtexec", f"--onnx={model}", f"--saveEngine={engine}", *switches, *shapes, *limits]
    return " ".join(parts)


def newest_lines(
    target: Target, files: Mapping[Precision, str], input_size: int, request: EngineRequest
) -> dict[str, str]:
    """Return the command by precision for a board's newest software; empty for other devices.

    The arguments are those of :func:`recipe`.
    """
    if not target.jetpack:
        return {}
    request, newest = _with_workspace(target, request), target.jetpack[-1].tensorrt
    return {p.value: trtexec_line(f, p, input_size, request, newest) for p, f in files.items()}


def _with_workspace(target: Target, request: EngineRequest) -> EngineRequest:
    """Return the options, with the default workspace of the smallest such board."""
    memory_gb = target.hardware.memory_gb
    if request.workspace_mb is not None or not memory_gb:
        return request
    return replace(request, workspace_mb=workspace_for(1000 * min(memory_gb)))


def _limits(request: EngineRequest, version: tuple[int, ...]) -> list[str]:
    """Return the switches of the other options that the version supports; sizes are in MiB."""
    limits = []
    if request.workspace_mb is not None:
        size = request.workspace_mb * 1_000_000 // (1 << 20)
        pools = version >= _MEMORY_POOLS
        limits.append(f"--memPoolSize=workspace:{size}" if pools else f"--workspace={size}")
    if request.optimization_level is not None and version >= LEVELS:
        limits.append(f"--builderOptimizationLevel={request.optimization_level}")
    if request.version_compatible and version >= LEVELS:
        limits.append("--versionCompatible")
    return limits


def recipe(
    target: Target, files: Mapping[Precision, str], input_size: int, request: EngineRequest
) -> str:
    """Return the commands that build each engine, for every release line of a board's software.

    Args:
        target: The board.
        files: Names of the ONNX files by precision, of those that passed the gate.
        input_size: Height and width of the input in pixels.
        request: Options of the engines.
    """
    request = _with_workspace(target, request)
    first = next(precision for precision in target.precisions if precision in files)
    parts = [
        f"Engines of this bundle for {target.title}, without Python: in this folder, with the\n"
        f"trtexec of TensorRT (on a board in /usr/src/tensorrt/bin). {first.value} is "
        "the first choice.\n"
    ]
    for line in target.jetpack:
        parts.append(f"\nJetPack {line.versions} (TensorRT {line.tensorrt}):\n")
        if version_of(line.tensorrt) < TENSORRT_FLOOR and not target.needs_float_input:
            parts.append("  takes no uint8 input; update JetPack first\n")
            continue
        parts += [
            f"  {trtexec_line(name, precision, input_size, request, line.tensorrt)}\n"
            for precision, name in files.items()
        ]
    return "".join(parts)


def how_to_deploy(target: Target | None, bundle: Path) -> str:
    """Return how to finish a bundle on its device: a command if cxredge runs there, else words.

    Args:
        target: The device; None if this version does not know it.
        bundle: Folder or archive of the bundle.
    """
    if target is None or target.runs_cxredge:
        return f"cxredge deploy {quoted(bundle)}"
    where = "its folder"
    if not bundle.is_dir():
        where = f"an empty folder after tar -xf {quoted(bundle.name)}"
    return f"trtexec, as in {RECIPE_NAME}, run in {where}; cxredge does not run there"


def without_cxredge(target: Target, line: JetPack) -> str:
    """Return how to serve a board whose software cxredge does not support, in words.

    Args:
        target: The board.
        line: Its installed software.
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
