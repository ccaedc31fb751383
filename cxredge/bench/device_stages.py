"""Times of copies and compute on a device with separate memory."""

from __future__ import annotations

from collections.abc import Mapping

from cxredge.backends.base import AcceleratorSession, Session
from cxredge.data.images import GreyImage

_WARM_UP, _RUNS = 10, 200


def time_device_stages(session: Session, pixels: GreyImage) -> Mapping[str, list[float]]:
    """Time the stages of inference at batch 1, separately from the queries.

    Args:
        session: The session; of a cascade, the one that infers every image is timed.
        pixels: uint8 (N, S, S), used in turn.

    Returns:
        Milliseconds by stage: ``host_to_device``, ``compute``, ``device_to_host``, by the device's
        clock and without CUDA graphs, which hide the stages; empty for a processor.
    """
    primary = session.primary
    if not isinstance(primary, AcceleratorSession):
        return {}
    taken: dict[str, list[float]] = {}
    for run in range(_WARM_UP + _RUNS):
        _, stages_ms = primary.infer_in_stages(pixels[run % len(pixels)][None])
        if run >= _WARM_UP:
            for stage, milliseconds in stages_ms.items():
                taken.setdefault(stage, []).append(milliseconds)
    return taken
