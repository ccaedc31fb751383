"""A short search for runtime settings: all steps run, but too briefly for reliable figures.

``python -m tests.quick_search`` runs ``cxredge`` with it. As a plugin (``-p tests.quick_search``),
it shortens the search in benchmarks that pytest runs.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib.util import find_spec

from cxredge.build import speed
from cxredge.metrics import latency as timing

_TAKE_TURNS = partial(timing.take_turns, settle_s=0, stretch_s=0.002)
_SPEED = {
    "TRIAL_S": 0.002,
    "LATENCY_S": 0.002,
    "RATE_S": 0.002,
    "_FILE_RATE_S": 0.002,
    "_FILE_SIDE": 128,
    "_SETTLE_S": 0,
    "_TURNS": 1,
    "BATCHES": (1, 4),
    "take_turns": _TAKE_TURNS,
}
_STEP_LATENCY = {"_SECONDS": 0.002, "take_turns": _TAKE_TURNS}


def shorten() -> None:
    """Shorten the search in this process permanently."""
    _replace(speed, _SPEED)
    # Quantization is not available on a device without onnx.
    if find_spec("onnx"):
        from cxredge.quantization import step_latency

        _replace(step_latency, _STEP_LATENCY)


def pytest_configure() -> None:
    from benchmarks import commands

    commands.COMMAND[:] = [sys.executable, "-m", __name__]


def _replace(module: object, values: dict[str, object]) -> None:
    for name, value in values.items():
        assert hasattr(module, name), f"{module} has no {name}"
        setattr(module, name, value)


if __name__ == "__main__":
    from cxredge.cli import main

    shorten()
    main()
