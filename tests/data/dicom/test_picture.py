"""Whole DICOM files through load_grey: pixels, refusals, damage."""

from __future__ import annotations

import io
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the dicom extra")

from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.uid import (  # noqa: E402
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from cxredge.data.dicom.header import read_header  # noqa: E402
from cxredge.data.dicom.layout import read_layout  # noqa: E402
from cxredge.data.dicom.samples import read_samples  # noqa: E402
from cxredge.data.images import load_grey, load_image  # noqa: E402
from cxredge.errors import Caution, ImageError, ImageProblem  # noqa: E402
from tests.dicom_files import (  # noqa: E402
    IDENTIFIERS,
    LOSSLESS,
    dicom,
    lookup_table,
    refused,
    view_code,
)
from tests.dicom_files import shown as shown_at  # noqa: E402

RNG = np.random.default_rng(5)
GREY8 = RNG.integers(0, 256, (40, 40), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (40, 40), dtype=np.uint16)
GREY12 = (GREY16 >> 4).astype(np.uint16)
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"


shown = partial(shown_at, size=40)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name)
def test_every_lossless_syntax_gives_the_same_pixels(tmp_path: Path, syntax: str) -> None:
    np.testing.assert_array_equal(shown(tmp_path, dicom(GREY8, syntax)), GREY8)
    np.testing.assert_array_equal(shown(tmp_path, dicom(GREY16, syntax)), np.rint(GREY16 / 257))
    twelve = np.rint(GREY12 * (255 / 4095))
    np.testing.assert_array_equal(shown(tmp_path, dicom(GREY12, syntax, BitsStored=12)), twelve)
    signed = (GREY12.astype(int) - 2048).astype(np.int16)
    np.testing.assert_array_equal(shown(tmp_path, dicom(signed, syntax, BitsStored=12)), twelve)


def test_lossy_jpeg_is_close(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(80), np.arange(80)).astype(np.uint8)
    pixels = shown(tmp_path, dicom(ramp, JPEGBaseline8Bit), size=80)
    assert np.abs(pixels.astype(int) - ramp).max() <= 4


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_lookup_tables_of_the_header(tmp_path: Path, syntax: str) -> None:
    entries = np.arange(4095, -1, -1)
    voi = dicom(GREY12, syntax, BitsStored=12, VOILUTSequence=lookup_table(0, entries, 12))
    upside_down = np.rint(255 * (1 - GREY12 / 4095.0))
    if syntax != ExplicitVRBigEndian:  # the helper writes table bytes in little endian
        np.testing.assert_allclose(shown(tmp_path, voi), upside_down, atol=0)
    numbers = lookup_table(0, entries, 12)
    numbers[0]["LUTData"].VR, numbers[0]["LUTData"].value = "US", entries.tolist()
    both = dicom(
        GREY12, syntax, BitsStored=12, ModalityLUTSequence=numbers,
        PhotometricInterpretation="MONOCHROME1",
    )  # fmt: skip
    twice = np.rint(255 * (1 - (4095 - GREY12.astype(int)) / 4095.0))
    np.testing.assert_array_equal(shown(tmp_path, both), twice)


@pytest.mark.parametrize("shape", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_window_then_inversion(tmp_path: Path, shape: str | None, photometric: str) -> None:
    content = dicom(
        GREY12, BitsStored=12, WindowCenter=[300, 1], WindowWidth=[800, 1], RescaleSlope=0.5,
        RescaleIntercept=-100, VOILUTFunction=shape, PhotometricInterpretation=photometric,
    )  # fmt: skip
    values = GREY12 * 0.5 - 100
    grey = {
        "LINEAR_EXACT": np.clip((values - 300) / 800 + 0.5, 0, 1),
        "SIGMOID": 1 / (1 + np.exp(-4 * (values - 300) / 800)),
    }.get(str(shape), np.clip((values - 299.5) / 799 + 0.5, 0, 1))
    grey = 1 - grey if photometric == "MONOCHROME1" else grey
    np.testing.assert_allclose(shown(tmp_path, content), np.rint(255 * grey), atol=1)


def test_unused_bits_are_ignored(tmp_path: Path) -> None:
    overlay = GREY12 | (GREY16 & 0x8000)
    plain = shown(tmp_path, dicom(GREY12, BitsStored=12))
    np.testing.assert_array_equal(shown(tmp_path, dicom(overlay, BitsStored=12)), plain)
    high = dicom(GREY12 << 4 | 7, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(shown(tmp_path, high), plain)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black(tmp_path: Path, photometric: str) -> None:
    values = GREY12.astype(np.int16)
    values[:5] = -1000
    content = dicom(
        values, PixelPaddingValue=-1000, WindowCenter=2048, WindowWidth=4096,
        PhotometricInterpretation=photometric,
    )  # fmt: skip
    assert (shown(tmp_path, content)[:5] == 0).all()


def test_colour_becomes_luma(tmp_path: Path) -> None:
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = 255
    assert (shown(tmp_path, dicom(red)) == 76).all()
    ybr = np.full((40, 40, 3), 128, np.uint8)
    ybr[..., 0] = 91
    for syntax in (ExplicitVRLittleEndian, RLELossless):
        content = dicom(ybr, syntax, PhotometricInterpretation="YBR_FULL")
        assert (shown(tmp_path, content) == 91).all()


REFUSED: dict[str, tuple[ImageProblem, dict[str, object]]] = {
    "ct": (ImageProblem.NOT_A_RADIOGRAPH, {"Modality": "CT"}),
    "mammogram": (ImageProblem.NOT_A_RADIOGRAPH, {"Modality": "MG"}),
    "no modality": (ImageProblem.BAD_HEADER, {"Modality": None}),
    "raw": (ImageProblem.FOR_PROCESSING, {"PresentationIntentType": "FOR PROCESSING"}),
    "frames": (ImageProblem.MULTI_FRAME, {"NumberOfFrames": 3}),
    "lateral": (ImageProblem.LATERAL, {"ViewPosition": "LL"}),
    "lateral by code": (ImageProblem.LATERAL, {"ViewCodeSequence": view_code("399067008")}),
    "lateral by orientation": (ImageProblem.LATERAL, {"PatientOrientation": ["A", "F"]}),
    "oblique": (ImageProblem.OBLIQUE, {"ViewPosition": "RLO"}),
    "no pixels": (ImageProblem.NO_PIXELS, {"PixelData": None}),
    "no rows": (ImageProblem.BAD_HEADER, {"Rows": None}),
    "huge": (ImageProblem.TOO_LARGE, {"Rows": 65535, "Columns": 65535}),
    "tiny": (ImageProblem.TOO_SMALL, {"Rows": 4}),
    "more rows": (ImageProblem.TRUNCATED, {"Rows": 41}),
    "no bits": (ImageProblem.BAD_HEADER, {"BitsStored": 0, "HighBit": 0}),
    "too many bits": (ImageProblem.BAD_HEADER, {"BitsStored": 17}),
    "no polarity": (ImageProblem.UNSUPPORTED, {"PhotometricInterpretation": None}),
    "palette": (ImageProblem.UNSUPPORTED, {"PhotometricInterpretation": "PALETTE COLOR"}),
    "grey of three": (ImageProblem.BAD_HEADER, {"SamplesPerPixel": 3}),
    "two polarities": (ImageProblem.BAD_HEADER, {"PresentationLUTShape": "INVERSE"}),
    "flat": (ImageProblem.BAD_HEADER, {"RescaleSlope": 0}),
    "half a window": (ImageProblem.BAD_HEADER, {"WindowCenter": 3}),
    "no width": (ImageProblem.BAD_HEADER, {"WindowCenter": 3, "WindowWidth": 0}),
    "odd window": (
        ImageProblem.BAD_HEADER,
        {"WindowCenter": 3, "WindowWidth": 9, "VOILUTFunction": "CUBIC"},
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_but_a_frontal_x_ray_for_presentation_is_refused(
    tmp_path: Path, name: str
) -> None:
    problem, header = REFUSED[name]
    assert refused(tmp_path, dicom(GREY16, **header)).problem is problem


def test_12_bit_values_in_16_bits_without_a_window_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, dicom(GREY12 >> 1)).problem is ImageProblem.NOT_SCALED


def test_matching_presentation_shape_inverts_once(tmp_path: Path) -> None:
    content = dicom(GREY8, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    np.testing.assert_array_equal(shown(tmp_path, content), 255 - GREY8)


@pytest.mark.parametrize(
    ("header", "cautions"),
    [
        ({}, ()),
        ({"ViewPosition": "PA"}, ()),
        ({"ViewPosition": "LORDOTIC"}, (Caution.UNKNOWN_VIEW,)),
        ({"BurnedInAnnotation": "YES"}, (Caution.BURNED_IN_TEXT,)),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "OT"},
            (Caution.SECONDARY_CAPTURE,),
        ),
        ({"ViewPosition": "LL"}, (Caution.LATERAL,)),
        ({"ViewPosition": "LLO"}, (Caution.OBLIQUE,)),
    ],
)
def test_cautions(tmp_path: Path, header: dict[str, object], cautions: object) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(GREY8, **header))
    assert load_image(path, 40, any_view=True).cautions == cautions


def test_a_codestream_of_another_size_is_not_decoded(tmp_path: Path) -> None:
    for syntax in (JPEG2000Lossless, JPEGLosslessSV1):
        dataset = pydicom.dcmread(io.BytesIO(dicom(GREY16, syntax)))
        dataset.Rows = 39
        stream = io.BytesIO()
        dataset.save_as(stream)
        assert "40x40" in refused(tmp_path, stream.getvalue()).message


def test_a_deflated_bomb_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxredge.data.dicom import header

    content = dicom(np.zeros((2000, 2000), np.uint16), LOSSLESS[3])
    assert len(content) < 20_000
    monkeypatch.setattr(header, "MAX_UNPACKED_BYTES", 1_000_000)
    assert refused(tmp_path, content).problem is ImageProblem.TOO_LARGE


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm",
        "CT_small.dcm", "J2K_pixelrep_mismatch.dcm", "693_J2KI.dcm", "JPGExtended.dcm",
        "JPEG2000.dcm", "image_dfl.dcm",
    ],
)  # fmt: skip
def test_samples_are_those_that_pydicom_reads(name: str) -> None:
    header = read_header(name, (SHIPPED / name).read_bytes())
    layout = read_layout(header)
    samples, _ = read_samples(header, layout)
    expected = pydicom.dcmread(SHIPPED / name).pixel_array
    bits = (1 << layout.stored) - 1
    np.testing.assert_array_equal(samples & bits, expected.astype(np.int64) & bits)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.dcm")), ids=lambda path: path.name)
def test_shipped_files_are_read_or_refused(path: Path) -> None:
    told = str(path)
    try:
        assert load_grey(path, 32).shape == (32, 32)
    except ImageError as error:
        told = error.message
    assert str(path) in told


def test_nothing_is_printed_or_logged() -> None:
    code = (
        "import logging, pathlib, sys\nlogging.basicConfig()\n"
        "from cxredge.data.images import load_grey\n"
        "from cxredge.errors import ImageError\n"
        "for name in sys.argv[1:]:\n"
        " try: load_grey(pathlib.Path(name), 32)\n"
        " except ImageError: pass\n"
    )
    files = sorted(SHIPPED.glob("*.dcm"))
    ran = subprocess.run(
        [sys.executable, "-c", code, *files], capture_output=True, text=True, check=True
    )
    assert ran.stdout + ran.stderr == ""


def test_a_codestream_of_billions_of_columns_is_refused() -> None:
    path = SHIPPED / "JPEG2000-embedded-sequence-delimiter.dcm"
    header = read_header(path.name, path.read_bytes())
    with pytest.raises(ImageError):
        read_samples(header, read_layout(header))


@pytest.mark.parametrize("syntax", [*LOSSLESS, JPEGBaseline8Bit], ids=lambda uid: uid.name)
def test_damage_is_an_image_error(tmp_path: Path, syntax: str) -> None:
    rng = np.random.default_rng(1)
    whole = dicom(GREY8, syntax, WindowCenter=128, WindowWidth=256)
    path = tmp_path / "damaged"
    for _ in range(100):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 5)):
            content[rng.integers(132, len(content))] = rng.integers(0, 256)
        path.write_bytes(content[: rng.integers(140, len(content)) if rng.random() < 0.2 else None])
        told = ""
        try:
            assert load_grey(path, 32).shape == (32, 32)
        except ImageError as error:
            told = str(error)
        assert not [value for value in IDENTIFIERS.values() if value in told]


def test_fragments_of_one_frame_are_joined(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(GREY16, JPEG2000Lossless)))
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([frame], fragments_per_frame=3)
    stream = io.BytesIO()
    dataset.save_as(stream)
    np.testing.assert_array_equal(shown(tmp_path, stream.getvalue()), np.rint(GREY16 / 257))


def test_without_the_extra_the_error_names_the_command_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("cxredge.data.dicom.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    error = refused(tmp_path, b"\0" * 128 + b"DICM" + b"\0" * 8)
    assert error.problem is ImageProblem.NOT_INSTALLED
    assert "pip install 'cxredge[dicom]'" in error.hint
