"""Serving settings and measured speed of a bundle on one machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cxredge.metrics.latency import Latency
from cxredge.vocabulary import Precision


@dataclass(frozen=True)
class RuntimeSettings:
    """Settings of a runtime.

    Attributes:
        threads: Number of threads per inference; 0 if the runtime does not use it.
        lanes: Number of concurrent inferences.
        batch: Number of images per inference.
    """

    threads: int
    lanes: int = 1
    batch: int = 1


@dataclass(frozen=True)
class Throughput:
    """The fastest settings for many images.

    Attributes:
        images_per_second: Median of several measurements, with the pixels in memory.
        settings: The settings that reached it.
    """

    images_per_second: float
    settings: RuntimeSettings

    def to_json(self) -> dict[str, Any]:
        """Return rate and settings as one, the rate rounded."""
        return {"images_per_second": round(self.images_per_second, 2), **asdict(self.settings)}


@dataclass(frozen=True)
class Speed:
    """What was measured of one variant.

    Attributes:
        latency: Of one image, the network alone.
        threads: Threads of one inference that this took; 0 where the runtime has no use for them.
        throughput: None where it was not searched, on a GPU.
    """

    latency: Latency
    threads: int = 0
    throughput: Throughput | None = None


@dataclass(frozen=True)
class Serving:
    """What a device was found to serve with.

    Attributes:
        backend: The runtime.
        precision: What serves.
        engine: Name of its file in the bundle.
        speed: Of what serves: its latency, and its best settings.
        latencies: Batch-1 latency of every precision on this machine, in its fastest runtime.
        candidates: Everything that was timed, as JSON values.
        reason: Why this one, in a sentence.
        runtime: Versions of what runs the engine, by name, where no Python package tells them.
        left_out: Why a precision has no engine on this machine, in a sentence, by its name.
    """

    backend: str
    precision: Precision
    engine: str
    speed: Speed | None
    latencies: Mapping[Precision, Latency]
    candidates: Sequence[Mapping[str, Any]]
    reason: str
    runtime: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
