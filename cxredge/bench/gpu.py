"""What can be asked of a GPU alone: how images reach it, and where an engine's time goes."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

from cxredge.backends import CPU_BACKENDS
from cxredge.backends.tensorrt.layers import profile_layers
from cxredge.backends.tensorrt.session import SessionOptions, Transfer
from cxredge.bundle.bundle import Bundle
from cxredge.data.images import GreyImage
from cxredge.errors import WrongUsage, quoted
from cxredge.metrics.latency import interleave, summarise
from cxredge.vocabulary import MemoryChoice

_WARM_UP, _ROUNDS = 20, 200


def options_of(memory: MemoryChoice | None, cuda_graphs: bool | None) -> SessionOptions | None:
    """Return how an engine is run, or None where nothing was asked for."""
    if memory is None and cuda_graphs is None:
        return None
    transfer = Transfer.MAPPED if memory is MemoryChoice.MAPPED else Transfer.COPY
    return SessionOptions(transfer, cuda_graphs is not False)


def compare_memory(
    bundle: Bundle, pixels: GreyImage, cuda_graphs: bool | None
) -> dict[str, dict[str, Any]]:
    """Time an image by both ways to reach the GPU, in turn.

    Args:
        bundle: Serves an engine.
        pixels: uint8 (N, S, S); the first is used.
        cuda_graphs: Whether work is recorded; None for the backend's own way.

    Returns:
        Latency at batch 1 in milliseconds by way.
    """
    ways = (MemoryChoice.PINNED, MemoryChoice.MAPPED)
    with ExitStack() as opened:
        sessions = {
            way.value: opened.enter_context(bundle.open(gpu=options_of(way, cuda_graphs)))
            for way in ways
        }
        calls = {way: partial(session.infer, pixels[:1]) for way, session in sessions.items()}
        taken = interleave(calls, _WARM_UP, _ROUNDS)
    return {way: summarise(taken[way]).to_json() for way in sessions}


def time_layers(bundle: Bundle, pixels: GreyImage) -> list[dict[str, Any]]:
    """Return the layers of a bundle's engine at batch 1, the slowest first.

    Args:
        bundle: Serves an engine.
        pixels: uint8 (N, S, S); the first is used.
    """
    return [asdict(layer) for layer in profile_layers(bundle.engine, pixels[:1])]


def check_has_engine(bundle: Bundle) -> None:
    """Refuse to time layers where no engine serves.

    Raises:
        WrongUsage: The bundle is served by a runtime that does not tell them.
    """
    if bundle.backend in CPU_BACKENDS:
        raise WrongUsage(
            f"--layers is for TensorRT engines; {bundle.path} is served by {bundle.backend}.",
            "Leave it out, or finish the bundle on its device first: cxredge deploy "
            f"{quoted(bundle.path)}",
        )
