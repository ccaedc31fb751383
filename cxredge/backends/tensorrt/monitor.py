"""Progress of an engine build."""

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
    """Report the progress of a build inside the ``with`` block.

    From TensorRT 10 on, the builder reports its phases. With older versions, a single task of
    unknown length shows the duration of the last build, if known.

    Args:
        api: The bindings.
        config: Builder configuration to attach the monitor to.
        progress: Progress listener.
        last_seconds: Duration of the last build of this engine, or None.
    """
    took = f"; last time it took {last_seconds:.0f} s" if last_seconds else ""
    monitor_class = _monitor_class(api)
    with ExitStack() as tasks:
        if api.has("IBuilderConfig.progress_monitor"):
            # The configuration keeps no reference, so the monitor lives in this frame.
            monitor = monitor_class(tasks, progress, took)
            config.progress_monitor = monitor
        else:
            wait = took or "; it times every kernel, which takes minutes on a board"
            tasks.enter_context(progress.task(f"Building with {api.title}{wait}", None))
        yield


def _monitor_class(api: Api) -> Any:
    """Return the class of a progress monitor, or None if the version has none."""
    trt: Any = api.trt
    if not api.has("IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Shows only outermost phases: nested ones are too short to read."""

        def __init__(self, tasks: ExitStack, progress: Progress, took: str) -> None:
            trt.IProgressMonitor.__init__(self)
            self._tasks, self._progress, self._took = tasks, progress, took
            self._lock = threading.Lock()
            self._steps: dict[str, tuple[Advance, int, int]] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            if parent is None:
                with self._lock:
                    task = self._progress.task(f"{phase}{self._took}", steps)
                    self._steps[phase] = (self._tasks.enter_context(task), 0, steps)

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

    return Monitor
