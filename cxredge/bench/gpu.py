"""GPU measurements: transfer of images, and the time of each layer."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from cxredge.backends import CPU_BACKENDS
from cxredge.backends.base import LayerTime
from cxredge.backends.tensorrt.layers import profile_layers
from cxredge.backends.tensorrt.session import SessionOptions, Transfer
from cxredge.bundle.bundle import Bundle
from cxredge.data.images import GreyImage
from cxredge.errors import WrongUsage, quoted
from cxredge.metrics.latency import Latency, interleave, summarise
from cxredge.vocabulary import MemoryChoice

_WARM_UP, _ROUNDS = 20, 200


def session_options(memory: MemoryChoice | None, cuda_graphs: bool | None) -> SessionOptions | None:
    """Return the options of an engine's session; None for the backend's defaults."""
    if memory is None and cuda_graphs is None:
        return None
    transfer = Transfer.MAPPED if memory is MemoryChoice.MAPPED else Transfer.COPY
    return SessionOptions(transfer, cuda_graphs is not False)


def compare_memory(
    bundle: Bundle, pixels: GreyImage, cuda_graphs: bool | None
) -> dict[str, Latency]:
    """Time one image with pinned and with mapped memory, in turn.

    Args:
        bundle: A bundle that serves an engine.
        pixels: uint8 (N, S, S); the first image is used.
        cuda_graphs: Whether to use CUDA graphs; None for the backend's default.

    Returns:
        Latency at batch 1 by kind of memory.
    """
    kinds = (MemoryChoice.PINNED, MemoryChoice.MAPPED)
    with ExitStack() as opened:
        sessions = {
            kind.value: opened.enter_context(bundle.open(gpu=session_options(kind, cuda_graphs)))
            for kind in kinds
        }
        calls = {kind: partial(session.infer, pixels[:1]) for kind, session in sessions.items()}
        times_ms = interleave(calls, _WARM_UP, _ROUNDS)
    return {kind: summarise(times_ms[kind]).rounded() for kind in sessions}


def time_layers(bundle: Bundle, pixels: GreyImage) -> tuple[LayerTime, ...]:
    """Time the layers of a bundle's engine at batch 1; return the slowest first.

    Args:
        bundle: A bundle that serves an engine.
        pixels: uint8 (N, S, S); the first image is used.
    """
    return tuple(profile_layers(bundle.engine, pixels[:1]))


def check_has_engine(bundle: Bundle) -> None:
    """Check that the bundle serves from a TensorRT engine, whose layers can be timed.

    Raises:
        WrongUsage: The bundle serves from another runtime.
    """
    if bundle.backend in CPU_BACKENDS:
        raise WrongUsage(
            f"--layers is for TensorRT engines; {bundle.path} runs in {bundle.backend}.",
            "Leave it out, or finish the bundle on its device first: cxredge deploy "
            f"{quoted(bundle.path)}",
        )
