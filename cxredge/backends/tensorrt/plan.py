"""Reading an engine file's header, without TensorRT."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from cxredge.backends.tensorrt.api import Flavour
from cxredge.errors import ArtifactError

SUFFIXES = (".plan", ".engine")

# The first four bytes, as trtexec reads them and as TensorRT for RTX 1.7 was seen to write them.
_MAGIC = {b"ftrt": Flavour.TENSORRT, b"vtrt": Flavour.RTX}
_HEADER_BYTES = 28
_VERSION_OFFSET = 24


@dataclass(frozen=True)
class PlanHeader:
    """What an engine file says of itself.

    Attributes:
        flavour: The product that wrote it.
        version: Major, minor, patch and build, for example ``10.3.0.26``.
    """

    flavour: Flavour
    version: str


def read_header(path: Path) -> PlanHeader | None:
    """Read the header of an engine file, or return None where it has none that is known.

    Engines of TensorRT 8.5 were not at hand when this was written: they may begin differently.

    Raises:
        ArtifactError: The file is missing or too short to be an engine.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(_HEADER_BYTES)
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist.", "Check the path.") from None
    if len(start) < _HEADER_BYTES:
        raise ArtifactError(
            f"{path} has {len(start)} bytes: it is cut off or no TensorRT engine.",
            "Copy it again or build it again.",
        )
    flavour = _MAGIC.get(start[:4])
    if flavour is None or struct.unpack_from("<I", start, 4) != (0,):
        return None
    version = struct.unpack_from("4B", start, _VERSION_OFFSET)
    return PlanHeader(flavour, ".".join(map(str, version)))
