"""Serving settings and measured speed of a bundle on one machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cxredge.artifacts.records import Batch, Count, NonNegative, Share, Threads
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

    threads: Threads
    lanes: Threads = 1
    batch: Batch = 1


@dataclass(frozen=True)
class Throughput:
    """The fastest settings for many images.

    Attributes:
        images_per_second: Median of several measurements, with the pixels in memory.
        threads, lanes, batch: As in :class:`RuntimeSettings`.
    """

    images_per_second: NonNegative
    threads: Threads
    lanes: Threads = 1
    batch: Batch = 1

    @classmethod
    def of(cls, images_per_second: float, settings: RuntimeSettings) -> Throughput:
        """Return the throughput of settings."""
        return cls(images_per_second, settings.threads, settings.lanes, settings.batch)

    @property
    def settings(self) -> RuntimeSettings:
        """The settings."""
        return RuntimeSettings(self.threads, self.lanes, self.batch)

    def rounded(self) -> Throughput:
        """Return the throughput as it is written to files, to 0.01 images per second."""
        return replace(self, images_per_second=round(self.images_per_second, 2))


@dataclass(frozen=True)
class Speed:
    """Measured speed of one variant.

    Attributes:
        latency: Latency of one image, the network alone.
        threads: Number of threads per inference in that measurement; 0 if the runtime does not use
            it.
        throughput: Fastest settings for many images; None if not searched, on a GPU.
    """

    latency: Latency
    threads: int = 0
    throughput: Throughput | None = None


@dataclass(frozen=True)
class TimedCandidate:
    """One precision in one runtime as the passport lists it.

    Attributes:
        backend: The runtime.
        precision: The precision.
        size_bytes: Size of its ONNX file or engine.
        accuracy: Accuracy on held-out images where the bundle was built.
        agreement: Share of these images with FP32's decision.
        logit_error: Root mean square difference of their logits, as a share of FP32's.
        near_ties: Share of these images that FP32 decides for it.
        passed: Whether it may serve.
        latency_ms: Latency of one image on this machine, the network alone.
        threads: Number of threads per inference in that measurement.
        throughput: Fastest settings for many images on this machine.
    """

    backend: str
    precision: Precision
    size_bytes: Count
    accuracy: Share
    agreement: Share
    logit_error: NonNegative
    near_ties: Share
    passed: bool
    latency_ms: Latency | None
    threads: Threads | None
    throughput: Throughput | None


@dataclass(frozen=True)
class Serving:
    """The choice on a device.

    Attributes:
        backend: The runtime.
        precision: The precision that serves.
        engine: Name of its file in the bundle.
        speed: Its latency and best settings.
        latencies: Latency of one image by precision, each in its fastest runtime.
        candidates: All candidates that were timed.
        reason: Reason for the choice, in a sentence.
        runtime: Versions, by name, of runtimes that are not Python packages.
        left_out: Reason, in a sentence, by precision that has no engine on this machine.
    """

    backend: str
    precision: Precision
    engine: str
    speed: Speed | None
    latencies: Mapping[Precision, Latency]
    candidates: Sequence[TimedCandidate]
    reason: str
    runtime: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
