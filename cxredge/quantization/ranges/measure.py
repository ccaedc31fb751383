"""Measuring activations on the calibration images, at constant memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from cxredge.data.images import GreyImage
from cxredge.errors import CxredgeError
from cxredge.progress import Advance
from cxredge.quantization.ranges.activations import concatenations, quantizable_activations
from cxredge.quantization.ranges.histogram import Histogram, NotFiniteError
from cxredge.quantization.ranges.statistics import Ranges, Statistics, empty_statistics
from cxredge.quantization.sessions import BATCH, measuring_session
from cxredge.vocabulary import INPUT_NAME

_Values = list[npt.NDArray[np.float32]]


def measure(
    model: onnx.ModelProto,
    batches: Iterable[GreyImage],
    advance: Advance,
    paths: Sequence[Path] = (),
    threads: int = 0,
    wanted: Sequence[str] | None = None,
) -> Statistics:
    """Measure activations in one pass over the images.

    Each image is run alone. This is as fast as small batches and uses less memory, and the values
    of an image cannot depend on its neighbours, as they could in the last bit where the runtime
    sums in another order for another batch size. The statistics therefore do not depend on batches,
    order or number of processes. While the values of one image are counted, the next one runs.

    Args:
        model: An FP32 model; its input is uint8 (N, 1, S, S).
        batches: uint8 (n, S, S) each; read one after the other and not kept.
        advance: Progress listener, counting images.
        paths: Files of the images in the same order, if known, for messages.
        threads: Number of threads that run the network; 0 for one less than the number of cores.
        wanted: Activations to measure; None for all that any dialect may quantize.

    Raises:
        CxredgeError: There are no images, there is nothing to measure, or an activation is NaN or
            infinite.
    """
    if wanted is None:
        wanted = quantizable_activations(model)
    if not wanted:
        raise CxredgeError(
            "The graph has no float activation that could be quantized.",
            "Its shapes and types must be inferable: export the model again with cxredge export",
        )
    joined = concatenations(model, wanted)
    names = [name for name in wanted if name not in joined]
    session = measuring_session(model, names, threads or max(1, (os.cpu_count() or 1) - 1))
    histograms = dict(empty_statistics(names).histograms)
    images = 0
    with contextlib.closing(_one_ahead(_activations(session, names, batches))) as runs:
        for values in runs:
            for name in names:
                # Popped, so that the memory can be reused as soon as the values are counted.
                histograms[name] = _counted(histograms[name], values.pop(), name, images, paths)
            images += 1
            advance(1)
    if not images:
        raise CxredgeError("There is no calibration image to measure.", "Give one or more.")
    for name, parts in joined.items():
        histograms[name] = reduce(Histogram.merge, (histograms[part] for part in parts))
    return Statistics(images, {name: histograms[name] for name in wanted})


def measure_ranges(model: onnx.ModelProto, pixels: GreyImage, advance: Advance) -> Ranges:
    """Return the min-max range of every activation that any dialect may quantize.

    Args:
        model: An FP32 model.
        pixels: uint8 (N, S, S) calibration images.
        advance: Progress listener, counting images.
    """
    batches = (pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH))
    return measure(model, batches, advance).min_max()


def _activations(
    session: ort.InferenceSession, names: list[str], batches: Iterable[GreyImage]
) -> Iterator[_Values]:
    """Yield the tensors of each image, the last tensor first."""
    for batch in batches:
        for image in batch:
            yield session.run(names, {INPUT_NAME: image[None, None]})[::-1]


def _one_ahead(items: Iterator[_Values]) -> Generator[_Values, None, None]:
    """Yield items while a thread computes the next one."""
    with ThreadPoolExecutor(1, thread_name_prefix="infer") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _counted(
    histogram: Histogram,
    values: npt.NDArray[np.float32],
    name: str,
    image: int,
    paths: Sequence[Path],
) -> Histogram:
    try:
        return histogram.add(values)
    except NotFiniteError:
        wrong = np.count_nonzero(~np.isfinite(values))
        shown = str(paths[image]) if image < len(paths) else f"image {image + 1}"
        raise CxredgeError(
            f"{wrong} of the {values.size} values of activation {name!r} are NaN or infinite for "
            f"{shown}; a range must be finite.",
            "Look at that image; if other images fail as well, train or export the model again.",
        ) from None
