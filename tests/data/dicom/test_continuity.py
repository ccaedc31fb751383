"""DICOM files whose header states other numbers than the picture shows."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="needs the dicom extra")

from cxredge.data.images import load_grey
from cxredge.data.phantoms import render_phantom
from cxredge.errors import ImageError, ImageProblem
from tests.dicom_files import dicom

PICTURE = np.clip(render_phantom("normal", 0, 0, 96) * 1.3, 0, 255)
UNSIGNED = np.rint(PICTURE * (4095 / 255)).astype(np.uint16)
SIGNED = UNSIGNED.astype(np.int16) - 2048
ZERO = {"WindowCenter": 0, "WindowWidth": 4096}
MIDDLE = {"WindowCenter": 2048, "WindowWidth": 4096}
COLOUR = np.stack([PICTURE.astype(np.uint8)] * 3, -1)
PLANES = np.moveaxis(COLOUR, -1, 0).reshape(COLOUR.shape)

CONTRADICTIONS = {
    "unsigned as signed": dicom(UNSIGNED, BitsStored=12, PixelRepresentation=1, **MIDDLE),
    "signed as unsigned": dicom(SIGNED, BitsStored=12, PixelRepresentation=0, **ZERO),
    "13 bits as 12": dicom(UNSIGNED * 2, BitsStored=12, **MIDDLE),
    "14 bits as 12": dicom(UNSIGNED * 4, BitsStored=12, **MIDDLE),
    "16 bits as 12": dicom(UNSIGNED * 16, BitsStored=12),
    "8 bits, unsigned as signed": dicom(COLOUR[..., 0], PixelRepresentation=1),
    "pixels as planes": dicom(COLOUR, PlanarConfiguration=1),
    "planes as pixels": dicom(PLANES, PlanarConfiguration=0),
    "one column less": dicom(UNSIGNED, BitsStored=12, Columns=95),
    "8 bits allocated": dicom(UNSIGNED, BitsStored=8, BitsAllocated=8),
    "colours as grey": dicom(
        COLOUR, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", PlanarConfiguration=None
    ),
}
GREY8 = PICTURE.astype(np.uint8)
RIGHT = {
    "unsigned": dicom(UNSIGNED, BitsStored=12, **MIDDLE),
    "signed": dicom(SIGNED, BitsStored=12, **ZERO),
    "inverted": dicom(
        4095 - UNSIGNED, BitsStored=12, PhotometricInterpretation="MONOCHROME1", **MIDDLE
    ),
    "an overlay in an unused bit": dicom(
        UNSIGNED | ((np.arange(96) // 24 % 2) << 12).astype(np.uint16), BitsStored=12, **MIDDLE
    ),
    "pixels": dicom(COLOUR, PlanarConfiguration=0),
    "planes": dicom(PLANES, PlanarConfiguration=1),
    "zeros behind the picture": dicom(
        GREY8, PixelData=GREY8.tobytes() + bytes(960), BitsAllocated=8
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_picture_that_contradicts_its_header_is_refused(name: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_grey(CONTRADICTIONS[name], 96)
    assert caught.value.problem is ImageProblem.BAD_HEADER


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_header_is_believed(name: str) -> None:
    np.testing.assert_allclose(load_grey(RIGHT[name], 96), PICTURE, atol=1.1)


def test_padding_beside_the_picture_is_not_compared() -> None:
    values = UNSIGNED.copy()
    values[:, ::4] = 0xFFFF
    content = dicom(values, BitsStored=12, PixelPaddingValue=0xFFFF, **MIDDLE)
    assert (load_grey(content, 96)[:, ::4] == 0).all()
