"""What the driver and the workers of a prediction send each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cxredge.data.sources import Source
from cxredge.inference.answers import PredictionOptions
from cxredge.vocabulary import Precision


class ServedAs(str, Enum):
    """How a worker uses the bundle."""

    AS_PACKED = "as packed"
    """Without a passport: ONNX Runtime and the precision of the card."""
    FINISHED = "finished on this kind of machine"
    FINISHED_ELSEWHERE = "finished on another kind of machine"
    """With the runtime and precision of the passport, so that rows are those of one machine."""


@dataclass(frozen=True)
class ClusterJob:
    """One prediction, the same for all workers.

    Attributes:
        version: Version of cxredge on the driver.
        bundle: Absolute path of the bundle's folder, which every node sees.
        files_sha256: SHA-256 of the bundle's card and passport on the driver.
        finish: Whether each kind of machine finishes a copy of the bundle for itself.
        options: Which images are answered.
        cores: Number of cores per worker.
        roots: Local paths that every node must see.
        folder: Folder in which relative paths begin; None if there are none.
    """

    version: str
    bundle: Path
    files_sha256: tuple[str, ...]
    finish: bool
    options: PredictionOptions
    cores: int
    roots: tuple[Path, ...] = ()
    folder: Path | None = None


@dataclass(frozen=True)
class Shard:
    """Consecutive images that one worker predicts at once.

    Attributes:
        first: Number of its first image among all inputs, from 0.
        sources: Its images.
    """

    first: int
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Served:
    """What runs on a worker.

    Attributes:
        how: How it uses the bundle.
        backend: The runtime.
        precision: The precision.
        cpu: Its processor.
        reason: Why the bundle was not finished there although that was asked for; else empty.
    """

    how: ServedAs
    backend: str
    precision: Precision
    cpu: str
    reason: str = ""


@dataclass(frozen=True)
class ShardRows:
    """Rows of a shard.

    Attributes:
        lines: One line per image; see :func:`cxredge.inference.predictions_file.line_of`.
        seconds: Wall seconds by stage.
        began: Time when the first image was read, in seconds since 1970, by the worker's clock.
        ended: Time when the last row was there.
        processor_seconds: Processor time of the worker in between, over all its threads.
        host: Name of the worker's machine.
        process: Its process number.
        served: What ran.
    """

    lines: bytes
    seconds: Mapping[str, float]
    began: float
    ended: float
    processor_seconds: float
    host: str
    process: int
    served: Served


@dataclass(frozen=True)
class Refusal:
    """Reason why a worker cannot predict: an error as values, which any process can read.

    Attributes:
        message: What failed, and where.
        hint: The next step.
    """

    message: str
    hint: str


@dataclass(frozen=True)
class Lost:
    """A worker died, or its machine, before the rows of a shard arrived.

    Attributes:
        reason: What happened, in a clause.
    """

    reason: str


Answer = ShardRows | Refusal | Lost
"""What came of a shard."""
