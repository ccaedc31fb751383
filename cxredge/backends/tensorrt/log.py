"""TensorRT says why it failed only in its log; this keeps what it said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cxredge.backends.tensorrt.api import Api

_KEPT = ("INTERNAL_ERROR", "ERROR", "WARNING")


@dataclass
class Log:
    """Warnings and errors, in the order they came.

    Attributes:
        lines: Severity and text of each.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)

    def errors(self) -> list[str]:
        """Return the errors' texts."""
        return [text for severity, text in self.lines if severity != "WARNING"]

    def warnings(self) -> list[str]:
        """Return the warnings' texts, each once."""
        return list(dict.fromkeys(text for level, text in self.lines if level == "WARNING"))


def capture_log(api: Api) -> tuple[Any, Log]:
    """Return a logger for TensorRT and what it will hear.

    The logger must live as long as any object that was made with it.
    """
    trt: Any = api.trt
    log = Log()

    class Listener(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity.name in _KEPT:
                log.lines.append((severity.name, text))

    return Listener(), log
