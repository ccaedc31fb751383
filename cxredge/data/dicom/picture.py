"""From the bytes of a DICOM file to grey pixels as a viewer shows them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxredge.data.dicom.grey_scale import GreyScale
from cxredge.data.dicom.header import Header, bad_header, read_header
from cxredge.data.dicom.kind import check_kind
from cxredge.data.dicom.samples import Layout, Samples, read_layout, read_samples
from cxredge.data.dicom.scale import read_grey_scale
from cxredge.errors import Caution, ImageError, ImageProblem

Grey = npt.NDArray[np.uint8]


def decode_dicom(name: str, content: bytes, any_view: bool) -> tuple[Grey, tuple[Caution, ...]]:
    """Decode one X-ray: stored values, modality LUT, VOI LUT, inversion, in this order.

    Args:
        name: For messages.
        content: The file.
        any_view: Decode lateral and oblique views too.

    Returns:
        uint8 (rows, columns), 0 is black; and what is doubtful about it.

    Raises:
        ImageError: It cannot be used; ``problem`` says why.
    """
    header = read_header(name, content)
    cautions = check_kind(header, any_view)
    layout = read_layout(header)
    if layout.components == 3:
        samples, photometric = read_samples(header, layout)
        return _luma(samples, photometric), cautions
    scale = read_grey_scale(header)
    samples, _ = read_samples(header, layout)
    return _shown(header, layout, scale, samples), cautions


def _shown(header: Header, layout: Layout, scale: GreyScale, samples: Samples) -> Grey:
    unused = layout.shift or layout.stored < layout.allocated
    if unused and header.syntax.is_encapsulated:
        _check_range(header, layout, samples)
    index: Samples = samples
    if unused:
        index = (samples >> layout.shift) & samples.dtype.type((1 << layout.stored) - 1)
    if scale.voi is None and layout.stored > 8:
        _check_spread(header, layout, index)
    return scale.table().take(index)


def _check_range(header: Header, layout: Layout, samples: Samples) -> None:
    """Refuse samples of more bits than are said to be stored; cut off, they would wrap around."""
    if not layout.signed and int(samples.max()) >> layout.stored:
        raise bad_header(header.name, f"there are samples of more than {layout.stored} bits")


def _check_spread(header: Header, layout: Layout, index: Samples) -> None:
    """Refuse values that fill less than a sixteenth of their range and come without a window."""
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
    """Return the brightness of colours; of YBR_FULL that is the first component (ITU-R BT.601)."""
    if photometric.startswith("YBR"):
        return np.ascontiguousarray(samples[..., 0], dtype=np.uint8)
    return np.asarray(Image.fromarray(np.ascontiguousarray(samples, dtype=np.uint8)).convert("L"))
