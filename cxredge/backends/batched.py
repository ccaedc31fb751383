"""Inference of many images in memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cxredge.backends import open_session
from cxredge.backends.base import Logits, Outputs, Session, available_cores
from cxredge.data.images import GreyImage
from cxredge.errors import CxredgeError
from cxredge.vocabulary import Precision

BATCH = 16


class NotFiniteError(CxredgeError):
    """A network returned NaN or infinity, as FP16 does where a value overflows."""


def check_finite(logits: Logits, what: str) -> Logits:
    """Return logits that are finite.

    Args:
        logits: float32 (N, classes).
        what: The model, precision and runtime, for the message.

    Raises:
        NotFiniteError: The network returned NaN or infinity for at least one image.
    """
    bad = int((~np.isfinite(logits)).any(axis=1).sum())
    if bad:
        raise NotFiniteError(
            f"{what} returned NaN or infinity for {bad} of {len(logits)} images; no result of it "
            "can be trusted.",
            "Use a precision with a larger range (--precision fp32 or bf16), or train the network "
            "again.",
        )
    return logits


def check_outputs(outputs: Outputs, what: str) -> Outputs:
    """Return outputs that are finite; see :func:`check_finite`."""
    check_finite(outputs.logits, what)
    for more in (outputs.distances, outputs.maps):
        if more is not None:
            check_finite(more.reshape(len(more), -1), what)
    return outputs


def infer_all(session: Session, pixels: GreyImage) -> Logits:
    """Return float32 logits (N, classes) of uint8 images (N, S, S), in batches of 16.

    Raises:
        NotFiniteError: An output is NaN or infinite.
    """
    return run_all(session, pixels).logits


def run_all(session: Session, pixels: GreyImage) -> Outputs:
    """Return all outputs for uint8 images (N, S, S), in batches of 16.

    Raises:
        NotFiniteError: An output is NaN or infinite.
    """
    parts = [session.run(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
    return check_outputs(Outputs.joined(parts), f"The network in {session.spec.backend}")


def infer_file(
    path: Path,
    pixels: GreyImage,
    backend: str = "onnxruntime",
    precision: Precision = Precision.FP32,
) -> Logits:
    """Load an ONNX model and return float32 logits (N, classes) of uint8 images (N, S, S).

    Raises:
        NotFiniteError: A logit is NaN or infinite.
    """
    return run_file(path, pixels, backend, precision).logits


def run_file(
    path: Path,
    pixels: GreyImage,
    backend: str = "onnxruntime",
    precision: Precision = Precision.FP32,
) -> Outputs:
    """Load an ONNX model and return its outputs for uint8 images (N, S, S).

    Each core processes one image at a time: on 2 cores, MobileNet V1 runs a sixth faster that way
    than in batches that use both cores, in FP32 and in INT8.

    Raises:
        NotFiniteError: An output is NaN or infinite.
    """
    with (
        open_session(path, backend, threads=1, precision=precision) as session,
        ThreadPoolExecutor(available_cores()) as pool,
    ):
        parts = pool.map(lambda index: session.run(pixels[index : index + 1]), range(len(pixels)))
        outputs = Outputs.joined(list(parts))
    return check_outputs(outputs, f"{path.name} in {precision.value} on {backend}")
