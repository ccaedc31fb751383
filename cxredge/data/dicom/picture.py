"""Grey pixels of a DICOM file, as a viewer shows them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxredge.data.dicom.exposure import check_exposure
from cxredge.data.dicom.grey_scale import GreyScale
from cxredge.data.dicom.grey_scale_reader import read_grey_scale
from cxredge.data.dicom.header import Header, bad_header, read_header, unpacking
from cxredge.data.dicom.layout import Layout, read_layout
from cxredge.data.dicom.samples import Samples, read_samples
from cxredge.data.memory_budget import memory_budget
from cxredge.data.strips import look_up
from cxredge.errors import Caution, ImageError, ImageProblem

Grey = npt.NDArray[np.uint8]


def decode_dicom(name: str, content: bytes, any_view: bool) -> tuple[Grey, tuple[Caution, ...]]:
    """Decode one X-ray: stored values, modality LUT, VOI LUT, inversion, in this order.

    Args:
        name: Name of the file in messages.
        content: Bytes of the file.
        any_view: Decode lateral and oblique views too, with a caution.

    Returns:
        uint8 (rows, columns), 0 is black; and reasons to doubt a prediction.

    Raises:
        ImageError: The file cannot be used; ``problem`` says why.
    """
    with unpacking(name, content):
        header = read_header(name, content)
        cautions = check_exposure(header, any_view)
        layout = read_layout(header)
        with memory_budget().pixels.reserve(name, layout.decoding_bytes):
            return _decode(header, layout), cautions


def _decode(header: Header, layout: Layout) -> Grey:
    if layout.components == 3:
        return _luma(*read_samples(header, layout))
    scale = read_grey_scale(header)
    samples, _ = read_samples(header, layout)
    return _apply(header, layout, scale, samples)


def _apply(header: Header, layout: Layout, scale: GreyScale, samples: Samples) -> Grey:
    unused = layout.shift or layout.stored < layout.allocated
    if unused and header.syntax.is_encapsulated:
        _check_range(header, layout, samples)
    index: Samples = samples
    if unused:
        index = (samples >> layout.shift) & samples.dtype.type((1 << layout.stored) - 1)
    if scale.voi is None and layout.stored > 8:
        _check_spread(header, layout, index)
    return look_up(scale.table(), index)


def _check_range(header: Header, layout: Layout, samples: Samples) -> None:
    """Refuse samples with more bits than the header states: masked, they would wrap around."""
    if not layout.signed and int(samples.max()) >> layout.stored:
        raise bad_header(header.name, f"samples have more than {layout.stored} bits")


def _check_spread(header: Header, layout: Layout, index: Samples) -> None:
    """Refuse values without a window that span less than a sixteenth of their range."""
    ordered = index ^ (1 << layout.stored - 1) if layout.signed else index
    spread = int(ordered.max()) - int(ordered.min())
    if spread < 1 << layout.stored - 4:
        raise ImageError(
            ImageProblem.NOT_SCALED,
            f"{header.name} has neither window nor VOI LUT, and its values span {spread} of "
            f"{1 << layout.stored}.",
            "Export it with a window, or convert it to PNG as a viewer shows it.",
        )


def _luma(samples: Samples, photometric: str) -> Grey:
    """Return the luma of colours (ITU-R BT.601): the first component of YBR_FULL."""
    if photometric.startswith("YBR"):
        return np.ascontiguousarray(samples[..., 0], dtype=np.uint8)
    return np.asarray(Image.fromarray(np.ascontiguousarray(samples, dtype=np.uint8)).convert("L"))
