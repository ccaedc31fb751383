"""Telling how far a build has come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from cxredge.backends.tensorrt.api import Api
from cxredge.progress import Advance, Progress


@contextmanager
def build_progress(
    api: Api, config: Any, progress: Progress, last_seconds: float | None
) -> Iterator[None]:
    """Follow a build while the block runs.

    From TensorRT 10 on the builder tells its steps. Before, there is one task without an end,
    which says how long the build took last time where that is known.

    Args:
        api: The bindings.
        config: The builder's configuration, which the monitor is attached to.
        progress: Hears of the steps.
        last_seconds: What the last build of this engine took, or None.
    """
    took = f"; last time it took {last_seconds:.0f} s" if last_seconds else ""
    if api.has("IBuilderConfig.progress_monitor"):
        with ExitStack() as tasks:
            # The configuration keeps no reference, so the monitor lives in this frame.
            monitor = _make_monitor(api, tasks, progress, took)
            config.progress_monitor = monitor
            yield
        return
    wait = took or "; it times every kernel, so this takes minutes rather than seconds on a board"
    with progress.task(f"{api.title} builds{wait}", None):
        yield


def _make_monitor(api: Api, tasks: ExitStack, progress: Progress, took: str) -> Any:
    trt: Any = api.trt

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Shows the outermost phase alone: those inside come and go too quickly to read."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._lock = threading.Lock()
            self._steps: dict[str, tuple[Advance, int, int]] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            if parent is None:
                with self._lock:
                    advance = tasks.enter_context(progress.task(f"{phase}{took}", steps))
                    self._steps[phase] = (advance, 0, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            with self._lock:
                self._advance_to(phase, step + 1)
            return True

        def phase_finish(self, phase: str) -> None:
            with self._lock:
                if phase in self._steps:
                    self._advance_to(phase, self._steps[phase][2])
                    del self._steps[phase]

        def _advance_to(self, phase: str, step: int) -> None:
            if phase in self._steps:
                advance, done, steps = self._steps[phase]
                if step > done:
                    advance(step - done)
                    self._steps[phase] = (advance, step, steps)

    return Monitor()
