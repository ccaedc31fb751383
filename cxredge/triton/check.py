"""Comparison of the exported network with the bundle's, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from cxredge.backends import open_session
from cxredge.backends.base import Outputs
from cxredge.bundle.bundle import Bundle, read_golden
from cxredge.bundle.layout import GOLDEN_NAME
from cxredge.data.images import GreyImage
from cxredge.data.phantoms import render_phantom
from cxredge.errors import ArtifactError
from cxredge.triton.network import Network
from cxredge.vocabulary import (
    DISTANCE_NAME,
    INPUT_NAME,
    MAPS_NAME,
    OUTPUT_NAME,
    TritonBackend,
    TritonDevice,
)

_PHANTOMS = 4


def check_network(bundle: Bundle, network: Network, folder: Path) -> int | None:
    """Run a written network as Triton's backend does; require the bundle's outputs, bit for bit.

    The bundle's own sessions have options that Triton's ONNX Runtime backend does not pass on: one
    against saturation, and one against the quantization of layers that stay in float.

    Args:
        bundle: The bundle.
        network: The network.
        folder: Folder of the version that it was written to.

    Returns:
        Number of images: the golden images, or phantoms without them. None for what cannot run on
        this machine as Triton runs it: engines, OpenVINO with Triton's settings, and GPUs.

    Raises:
        ArtifactError: An output differs.
    """
    on_cpu = network.device is TritonDevice.CPU
    if network.backend is not TritonBackend.ONNXRUNTIME or not on_cpu:
        return None
    pixels = _pixels(bundle)
    with open_session(network.file, network.backend.value, network.threads) as session:
        expected = Outputs.joined([session.run(image[None]) for image in pixels])
    found = _run_with_default_options(folder / network.file_name, network.threads, pixels)
    wanted: dict[str, Any] = {
        OUTPUT_NAME: expected.logits,
        DISTANCE_NAME: expected.distances,
        MAPS_NAME: expected.maps,
    }
    for name, values in found.items():
        difference = float(np.abs(values - wanted[name]).max())
        if difference > 0 or not np.isfinite(difference):
            raise ArtifactError(
                f"The {network.precision.value} network computes another '{name}' in ONNX Runtime "
                f"as Triton configures it: it differs by up to {difference:.3g} on {len(pixels)} "
                "images.",
                "Choose another precision: --precision fp32",
            )
    return len(pixels)


def _pixels(bundle: Bundle) -> GreyImage:
    """Return the golden images, or phantoms if they do not travel with the bundle."""
    if (bundle.path / GOLDEN_NAME).exists():
        return read_golden(bundle).pixels
    size = bundle.card.classifier.input_size
    return np.stack([render_phantom("normal", n, 0, size) for n in range(_PHANTOMS)])


def _run_with_default_options(path: Path, threads: int, pixels: GreyImage) -> dict[str, Any]:
    """Return the outputs by name, with the options that Triton's backend sets."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {INPUT_NAME: pixels[:, None]}), strict=True))
