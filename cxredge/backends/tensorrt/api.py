"""The installed TensorRT, and the names that its bindings define."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cxredge.errors import DependencyError

_OLDEST = (8, 5)
"""The first version with named tensors."""


class Flavour(str, Enum):
    """The two products of TensorRT, by the name of their Python module."""

    TENSORRT = "tensorrt"
    RTX = "tensorrt_rtx"

    @property
    def product(self) -> str:
        """Name of the product."""
        return "TensorRT for RTX" if self is Flavour.RTX else "TensorRT"


@dataclass(frozen=True)
class Api:
    """Python bindings of one version.

    Attributes:
        trt: The module.
        flavour: The product.
        version: Version as the module reports it, for example ``10.3.0``.
    """

    trt: Any
    flavour: Flavour
    version: str

    def has(self, name: str) -> bool:
        """Return whether this version defines a name such as ``BuilderFlag.INT8``."""
        value: Any = self.trt
        for part in name.split("."):
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True

    @property
    def title(self) -> str:
        """Product and version, for messages."""
        return f"{self.flavour.product} {self.version}"


def load_api(flavour: Flavour | None = None) -> Api:
    """Import the bindings without creating any TensorRT object.

    Args:
        flavour: The product; None for TensorRT or, if that is missing, TensorRT for RTX.

    Raises:
        DependencyError: It is not installed, its libraries are missing, or it is too old.
    """
    candidates = (flavour,) if flavour else tuple(Flavour)
    reasons = []
    for candidate in candidates:
        try:
            module = importlib.import_module(candidate.value)
        except (ImportError, OSError) as error:
            reasons.append(f"{candidate.product} cannot be imported here: {error}")
            continue
        version = str(module.__version__)
        if candidate is Flavour.TENSORRT and numbers(version)[:2] < _OLDEST:
            raise DependencyError(
                f"TensorRT {version} is installed; cxredge needs 8.5 or newer (JetPack 5.1).",
                "Update JetPack, or build with trtexec --fp16 as the bundle's recipe shows.",
            )
        return Api(module, candidate, version)
    raise DependencyError(f"{'; '.join(reasons)}.", _how_to_install(flavour))


def installed_versions() -> dict[Flavour, str]:
    """Return the versions of the products that can be imported here."""
    found = {}
    for flavour in Flavour:
        try:
            found[flavour] = load_api(flavour).version
        except DependencyError:
            continue
    return found


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: (10, 3, 0) for ``10.3.0.post1``."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def _how_to_install(flavour: Flavour | None) -> str:
    if flavour is Flavour.RTX:
        return "pip install 'cxredge[rtx]'"
    return (
        "On a Jetson it comes with JetPack; make it visible in a virtual environment: "
        "python3 -m venv --system-site-packages .venv. See what is missing: cxredge doctor"
    )
