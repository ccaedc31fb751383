"""Engine files, described without TensorRT: by their header and the facts beside them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from cxredge.artifacts.regular_file import NotRegularError, open_regular
from cxredge.backends.tensorrt.api import Flavour
from cxredge.backends.tensorrt.facts import EngineFacts, facts_path, read_facts
from cxredge.errors import ArtifactError

SUFFIXES = (".plan", ".engine")

# The first four bytes: as trtexec reads them, and as observed in engines of TensorRT for RTX 1.7.
_MAGIC = {b"ftrt": Flavour.TENSORRT, b"vtrt": Flavour.RTX}
_HEADER_BYTES = 28
_VERSION_OFFSET = 24


@dataclass(frozen=True)
class PlanHeader:
    """Header of a serialized engine.

    Attributes:
        flavour: Product that wrote it.
        version: Major, minor, patch and build, for example ``10.3.0.26``.
    """

    flavour: Flavour
    version: str


@dataclass(frozen=True)
class EngineFile:
    """An engine file, as far as it can be described without loading it.

    Attributes:
        path: The file.
        header: Its header.
        facts: The facts beside it, or None if they are missing.
    """

    path: Path
    header: PlanHeader
    facts: EngineFacts | None


def read_header(path: Path) -> PlanHeader | None:
    """Read the header of an engine file; return None if its format is unknown.

    Engines of TensorRT 8.5 were not available when this was written: their header may differ.

    Raises:
        ArtifactError: The file is missing or too short to be an engine.
    """
    try:
        with open_regular(path) as stream:
            start = stream.read(_HEADER_BYTES)
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist.", "Check the path.") from None
    except NotRegularError as error:
        raise ArtifactError(f"{error}.", "Copy the engine itself there.") from None
    if len(start) < _HEADER_BYTES:
        raise ArtifactError(
            f"{path} has {len(start)} bytes: it is truncated or not a TensorRT engine.",
            "Copy it again or build it again.",
        )
    flavour = _MAGIC.get(start[:4])
    if flavour is None or struct.unpack_from("<I", start, 4) != (0,):
        return None
    version = struct.unpack_from("4B", start, _VERSION_OFFSET)
    return PlanHeader(flavour, ".".join(map(str, version)))


def read_engine_file(path: Path) -> EngineFile:
    """Read the header of an engine and the facts beside it.

    Raises:
        ArtifactError: It is not an engine, or the facts belong to another file.
    """
    header, facts = read_header(path), read_facts(path)
    if header is None and facts is not None:
        header = PlanHeader(facts.flavour, facts.version)
    if header is None:
        raise ArtifactError(
            f"{path} has no TensorRT header, and {facts_path(path).name} is missing.",
            "Build it with: cxredge deploy BUNDLE",
        )
    return EngineFile(path, header, facts)
