"""TensorRT's log, the only place where it reports why it failed."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

from cxredge.backends.tensorrt.api import Api

_KEPT = ("INTERNAL_ERROR", "ERROR", "WARNING")
_MAX_LINES = 1000


@dataclass(eq=False)
class Log:
    """Warnings and errors, in order of arrival.

    Attributes:
        lines: Severity and text; at most ``_MAX_LINES`` are kept.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)

    def add(self, severity: str, text: str) -> None:
        """Add a line."""
        if len(self.lines) < _MAX_LINES:
            self.lines.append((severity, text))

    def errors(self) -> list[str]:
        """Return the errors; internal ones last, because some of them are uninformative."""
        return [
            text
            for wanted in ("ERROR", "INTERNAL_ERROR")
            for severity, text in self.lines
            if severity == wanted
        ]

    def warnings(self) -> list[str]:
        """Return the warnings without repetitions."""
        return list(dict.fromkeys(text for level, text in self.lines if level == "WARNING"))


# TensorRT sends messages that belong to no object to the first logger that it was given, as long as
# any object created with that logger lives, and warns about every other logger. So there is one
# logger per module, which writes to every log still in use.
_LOGGERS: dict[int, Any] = {}


def capture_log(api: Api) -> tuple[Any, Log]:
    """Return the logger for TensorRT, and a new log that receives its messages from now on."""
    logger = _LOGGERS.get(id(api.trt))
    if logger is None:
        logger = _LOGGERS[id(api.trt)] = _make_logger(api)
    log = Log()
    logger.logs.add(log)
    return logger, log


def _make_logger(api: Api) -> Any:
    trt: Any = api.trt

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            # Keeps the module alive, because its identity is the key of this object.
            self.module = trt
            self.logs: weakref.WeakSet[Log] = weakref.WeakSet()

        def log(self, severity: Any, text: str) -> None:
            if severity.name in _KEPT:
                for log in tuple(self.logs):
                    log.add(severity.name, text)

    return Logger()
