"""A short search for a runtime's settings: all that it does is done, but too briefly to trust.

``python -m tests.quick_search`` is ``cxredge`` with it. As a plugin (``-p tests.quick_search``) it
does the same to a pytest that runs the benchmarks.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib.util import find_spec

from cxredge.build import speed
from cxredge.metrics import latency as timing

_TAKE_TURNS = partial(timing.take_turns, settle_s=0.002, stretch_s=0.01)
_SPEED = {
    "TRIAL_S": 0.01,
    "LATENCY_S": 0.02,
    "RATE_S": 0.01,
    "_FILE_RATE_S": 0.01,
    "_SETTLE_S": 0.002,
    "_TURNS": 1,
    "BATCHES": (1, 4),
    "take_turns": _TAKE_TURNS,
}
_STEP_LATENCY = {"_SECONDS": 0.01, "take_turns": _TAKE_TURNS}


def shorten() -> None:
    """Make the search short in this process, for good."""
    _replace(speed, _SPEED)
    # A device without this package quantizes nothing.
    if find_spec("onnx"):
        from cxredge.quantization import step_latency

        _replace(step_latency, _STEP_LATENCY)


def pytest_configure() -> None:
    from benchmarks import commands

    commands.COMMAND[:] = [sys.executable, "-m", __name__]


def _replace(module: object, values: dict[str, object]) -> None:
    for name, value in values.items():
        assert hasattr(module, name), f"{module} has no {name} that could be shorter"
        setattr(module, name, value)


if __name__ == "__main__":
    from cxredge.cli import main

    shorten()
    main()
