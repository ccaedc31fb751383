"""Statistics of a calibration set: streamed from its files, in parallel, and cached."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial, reduce
from pathlib import Path

import onnx

from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.hashing import sha256_of_json
from cxredge.data.images import PREPROCESSING
from cxredge.data.loading import stream_pixels
from cxredge.data.manifest import Entry
from cxredge.data.sources import sha256_of_source
from cxredge.errors import ArtifactError
from cxredge.progress import Advance
from cxredge.quantization.qdq.placement import activations_to_measure
from cxredge.quantization.ranges.activations import quantizable_activations
from cxredge.quantization.ranges.measure import measure
from cxredge.quantization.ranges.statistics import SCHEMA, Statistics, load_statistics
from cxredge.vocabulary import Dialect

# Images per task of a process; loading the network takes negligible time beside measuring them.
_PART = 128


def measure_entries(
    model: onnx.ModelProto,
    entries: Sequence[Entry],
    size: int,
    advance: Advance,
    processes: int = 1,
    dialect: Dialect | None = None,
) -> Statistics:
    """Measure a calibration set from its files, with memory independent of their number.

    Args:
        model: An FP32 model.
        entries: The images.
        size: Height and width in pixels of the model's input.
        advance: Progress listener, counting images.
        processes: Number of processes, each with its own network. It does not affect the result.
        dialect: Dialect whose quantized activations are measured; None for all dialects.

    Raises:
        CxredgeError: An image or an activation is unusable; see :func:`ranges.measure`.
    """
    wanted = _wanted(model, dialect)
    if processes == 1 or len(entries) <= 1:
        return _measure(model, size, 0, wanted, entries, advance)
    length = min(_PART, -(-len(entries) // processes))
    parts = [entries[start : start + length] for start in range(0, len(entries), length)]
    threads = max(1, (os.cpu_count() or 1) // processes)
    # Forking a process that runs threads, as this one does, may deadlock the child.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(parts)), context) as pool:
        work = partial(_measure_part, model.SerializeToString(), size, threads, wanted)
        return reduce(Statistics.merge, _counted(pool.map(work, parts), advance))


def measure_cached(
    model: onnx.ModelProto,
    entries: Sequence[Entry],
    size: int,
    advance: Advance,
    folder: Path | None,
    processes: int = 1,
    dialect: Dialect | None = None,
) -> Statistics:
    """Return cached statistics from ``folder``, or measure and cache them.

    A file is used only if it is intact and belongs to the same graph, the same images in any order
    and the same version of the runtime; otherwise it is replaced.

    Args:
        model: An FP32 model.
        entries: The images.
        size: Height and width in pixels of the model's input.
        advance: Progress listener, counting images.
        folder: Cache folder, with one file per graph and image set; None to disable caching.
        processes: Number of processes if the statistics must be measured.
        dialect: Dialect whose quantized activations are measured; None for all dialects.

    Raises:
        CxredgeError: An image or an activation is unusable; see :func:`ranges.measure`.
    """
    if folder is None:
        return measure_entries(model, entries, size, advance, processes, dialect)
    key = cache_key(model, entries, size, dialect)
    path = folder / f"statistics-{key[:16]}.npz"
    with contextlib.suppress(ArtifactError):
        found = load_statistics(path, key)
        advance(len(entries))
        return found
    statistics = measure_entries(model, entries, size, advance, processes, dialect)
    statistics.save(path, key)
    return statistics


def cache_key(
    model: onnx.ModelProto, entries: Sequence[Entry], size: int, dialect: Dialect | None = None
) -> str:
    """Return the SHA-256 of everything that decides the statistics."""
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    # Metadata does not change what the graph computes.
    del graph.metadata_props[:]
    return sha256_of_json(
        {
            "schema": SCHEMA,
            "graph": hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest(),
            "activations": _wanted(model, dialect),
            "images": sorted(entry.sha256 or sha256_of_source(entry.path) for entry in entries),
            "size": size,
            "preprocessing": PREPROCESSING,
            "tools": tool_versions("onnxruntime"),
        }
    )


def _wanted(model: onnx.ModelProto, dialect: Dialect | None) -> list[str]:
    if dialect is None:
        return quantizable_activations(model)
    return activations_to_measure(model, dialect)


def _measure(
    model: onnx.ModelProto,
    size: int,
    threads: int,
    wanted: Sequence[str],
    entries: Sequence[Entry],
    advance: Advance,
) -> Statistics:
    batches = stream_pixels(entries, size, threads=threads or None)
    paths = [entry.path for entry in entries]
    with contextlib.closing(batches):
        return measure(model, batches, advance, paths, threads, wanted)


def _measure_part(
    model: bytes, size: int, threads: int, wanted: Sequence[str], entries: Sequence[Entry]
) -> Statistics:
    graph = onnx.ModelProto.FromString(model)
    return _measure(graph, size, threads, wanted, entries, lambda _: None)


def _counted(parts: Iterator[Statistics], advance: Advance) -> Iterator[Statistics]:
    for part in parts:
        advance(part.images)
        yield part
