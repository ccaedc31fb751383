"""A fake machine for the checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxredge.diagnosis.surroundings import Surroundings
from tests.diagnosis.machines import CORE
from tests.targets.boards import tree


def no_library(name: str) -> Any:
    raise OSError(name)


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Surroundings]:
    """Return a machine of files and properties; bare by default."""

    def make(files: dict[str, str] | None = None, **properties: Any) -> Surroundings:
        bare: dict[str, Any] = {
            "root": tree(tmp_path / "root", files or {}),
            "environment": {},
            "python": (3, 10, 12),
            "virtual_environment": True,
            "cores": 6,
            "packages": CORE,
            "importable": lambda _: False,
            "why_import_fails": lambda _: "",
            "load_library": no_library,
            "free_mb": lambda _: 5000.0,
            "temporary": Path("/tmp"),
        }
        (tmp_path / "root").mkdir(exist_ok=True)
        return Surroundings(**{**bare, **properties})

    return make
