"""Grey pixels of a DICOM file, as a viewer shows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxredge.data.dicom.continuity import check_kind_of_numbers
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


@dataclass(frozen=True)
class DicomPicture:
    """A decoded X-ray.

    Attributes:
        grey: uint8 (rows, columns), 0 is black.
        cautions: Reasons to doubt a prediction.
        unwindowed: Whether values of more than 8 bits have neither window nor VOI LUT.
    """

    grey: Grey
    cautions: tuple[Caution, ...]
    unwindowed: bool


def decode_dicom(name: str, content: bytes, any_view: bool) -> DicomPicture:
    """Decode one X-ray: stored values, modality LUT, VOI LUT, inversion, in this order.

    Args:
        name: Name of the file in messages.
        content: Bytes of the file.
        any_view: Decode lateral and oblique views too, with a caution.

    Raises:
        ImageError: The file cannot be used; ``problem`` says why.
    """
    with unpacking(name, content):
        header = read_header(name, content)
        cautions = check_exposure(header, any_view)
        layout = read_layout(header)
        with memory_budget().pixels.reserve(name, layout.decoding_bytes):
            grey, unwindowed = _decode(header, layout)
            return DicomPicture(grey, cautions, unwindowed)


def _decode(header: Header, layout: Layout) -> tuple[Grey, bool]:
    """Return the grey, and whether values of more than 8 bits have no window."""
    if layout.components == 3:
        samples, photometric = read_samples(header, layout)
        _check_planes(header, layout, samples)
        return _luma(samples, photometric), False
    scale = read_grey_scale(header)
    samples, _ = read_samples(header, layout)
    return _apply(header, layout, scale, samples), scale.voi is None and layout.stored > 8


def _apply(header: Header, layout: Layout, scale: GreyScale, samples: Samples) -> Grey:
    unused = layout.shift or layout.stored < layout.allocated
    if unused and header.syntax.is_encapsulated:
        _check_range(header, layout, samples)
    check_kind_of_numbers(header, layout, samples, scale.padding)
    index: Samples = samples
    if unused:
        index = (samples >> layout.shift) & samples.dtype.type((1 << layout.stored) - 1)
    if scale.voi is None and layout.stored > 8:
        _check_spread(header, layout, index)
    grey = look_up(scale.table(), index)
    if scale.pads_unused_bits:
        grey[_is_padding(layout, scale, samples)] = 0
    return grey


def _is_padding(layout: Layout, scale: GreyScale, samples: Samples) -> npt.NDArray[np.bool_]:
    """Return which samples are padding that only the unused bits tell from stored values."""
    first, last = scale.padding or (1, 0)
    unmasked = samples.view(f"i{samples.itemsize}") if layout.signed else samples
    values = unmasked >> layout.shift
    found: npt.NDArray[np.bool_] = (values >= first) & (values <= last)
    return found


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


def _check_planes(header: Header, layout: Layout, samples: Samples) -> None:
    """Refuse native RGB whose components agree only if PlanarConfiguration is the other one."""
    if layout.photometric != "RGB" or header.syntax.is_encapsulated:
        return
    shape = samples.shape
    if layout.planar:
        other = np.moveaxis(samples, -1, 0).reshape(shape)
    else:
        other = np.moveaxis(samples.reshape(shape[2], *shape[:2]), 0, -1)
    if 2 * _colourfulness(other) < _colourfulness(samples):
        raise bad_header(
            header.name,
            f"PlanarConfiguration is {int(layout.planar)}, but the components agree only if it is "
            f"{int(not layout.planar)}",
        )


def _colourfulness(samples: Samples) -> int:
    some = samples[:: max(1, len(samples) // 128)].astype(np.int64)
    return int(np.abs(np.diff(some, axis=-1)).sum())


def _luma(samples: Samples, photometric: str) -> Grey:
    """Return the luma of colours (ITU-R BT.601): the first component of YBR_FULL."""
    if photometric.startswith("YBR"):
        return np.ascontiguousarray(samples[..., 0], dtype=np.uint8)
    return np.asarray(Image.fromarray(np.ascontiguousarray(samples, dtype=np.uint8)).convert("L"))
