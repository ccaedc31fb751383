"""TensorRT says why it failed only in its log; this keeps what it said."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

from cxredge.backends.tensorrt.api import Api

_KEPT = ("INTERNAL_ERROR", "ERROR", "WARNING")
_MOST_LINES = 1000


@dataclass(eq=False)
class Log:
    """Warnings and errors, in the order they came.

    Attributes:
        lines: Severity and text of each; after ``_MOST_LINES`` no more are kept.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)

    def hear(self, severity: str, text: str) -> None:
        """Keep a line."""
        if len(self.lines) < _MOST_LINES:
            self.lines.append((severity, text))

    def errors(self) -> list[str]:
        """Return the errors' texts; internal ones last, as some of those mean nothing."""
        return [
            text
            for wanted in ("ERROR", "INTERNAL_ERROR")
            for severity, text in self.lines
            if severity == wanted
        ]

    def warnings(self) -> list[str]:
        """Return the warnings' texts, each once."""
        return list(dict.fromkeys(text for level, text in self.lines if level == "WARNING"))


# TensorRT sends what belongs to no object to the first logger that it was given, for as long as
# anything made with that lives, and warns of every other. So there is one for each module, which
# tells every log that is still of use.
_LISTENERS: dict[int, Any] = {}


def capture_log(api: Api) -> tuple[Any, Log]:
    """Return the logger to give to TensorRT, and a new log of what it hears from now on."""
    listener = _LISTENERS.get(id(api.trt))
    if listener is None:
        listener = _LISTENERS[id(api.trt)] = _make_listener(api)
    log = Log()
    listener.logs.add(log)
    return listener, log


def _make_listener(api: Api) -> Any:
    trt: Any = api.trt

    class Listener(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            # Keeps the module alive, as its identity is the key that finds this object.
            self.module = trt
            self.logs: weakref.WeakSet[Log] = weakref.WeakSet()

        def log(self, severity: Any, text: str) -> None:
            if severity.name in _KEPT:
                for log in tuple(self.logs):
                    log.hear(severity.name, text)

    return Listener()
