"""JPEGs with hundreds of scans, and zip entries that share their data: small files, much work."""

from __future__ import annotations

import io
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from cxredge.data.images import load_grey
from cxredge.data.inputs import walk_images
from cxredge.data.jpeg_scans import MAX_SCANS, count_scans
from cxredge.errors import ImageError, ImageProblem
from tests.data.image_files import NOISE, encode
from tests.dicom_files import dicom


def with_scans(jpeg: bytes, more: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated."""
    last = jpeg.rfind(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * more + jpeg[-2:]


def progressive(image: Image.Image, **options: object) -> bytes:
    return encode(image, "JPEG", progressive=True, **options)


def test_scans_are_counted() -> None:
    grey, colours = Image.fromarray(NOISE), Image.fromarray(NOISE).convert("RGB")
    assert count_scans(encode(grey, "JPEG")) == 1
    assert count_scans(progressive(grey)) == 6
    assert count_scans(progressive(colours)) == 10
    assert count_scans(with_scans(progressive(grey), 7)) == 13
    assert count_scans(encode(grey, "JPEG", restart_marker_blocks=1)) == 1


def test_markers_in_metadata_are_no_scans(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(Image.fromarray(NOISE), "JPEG", comment=b"\xff\xda" * 3 * MAX_SCANS))
    assert load_grey(path, 32).shape == (32, 32)


def test_hundreds_of_scans_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    large = progressive(Image.new("L", (6000, 6000), 9), quality=1)
    path.write_bytes(with_scans(large, 900))
    assert path.stat().st_size < 300_000
    began = time.perf_counter()
    with pytest.raises(ImageError, match="more than 100 scans") as caught:
        load_grey(path, 64)
    assert caught.value.problem is ImageProblem.UNSUPPORTED
    assert time.perf_counter() - began < 1


def test_hundreds_of_scans_in_dicom_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    frame = with_scans(progressive(Image.fromarray(NOISE)), 900)
    header = {"PixelData": encapsulate([frame])}
    path.write_bytes(dicom(NOISE, JPEGBaseline8Bit, **header))
    with pytest.raises(ImageError, match="more than 100 scans"):
        load_grey(path, 32)


def test_as_many_scans_as_encoders_write_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(with_scans(progressive(Image.fromarray(NOISE)), MAX_SCANS - 6))
    assert load_grey(path, 32).shape == (32, 32)


def overlapping(content: bytes, entries: int) -> bytes:
    """Return an archive whose entries all have the data of one."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", content)
    whole = stream.getvalue()
    directory = whole.index(b"PK\1\2")
    end = whole.index(b"PK\5\6")
    return (
        whole[:directory]
        + whole[directory:end] * entries
        + whole[end : end + 8]
        + struct.pack("<HHIIH", entries, entries, (end - directory) * entries, directory, 0)
    )


def test_entries_that_share_their_data_are_refused_without_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(overlapping(b"\x89PNG\r\n\x1a\n" + bytes(50_000_000), 300))
    assert path.stat().st_size < 100_000
    began = time.perf_counter()
    members = list(walk_images([path], {}))
    assert len(members) == 300
    for member in members:
        with pytest.raises(ImageError, match="shares its data") as caught:
            load_grey(member, 32)
        assert caught.value.problem is ImageProblem.TRUNCATED
    assert time.perf_counter() - began < 2


def test_entries_one_after_the_other_share_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(overlapping(encode(Image.fromarray(NOISE)), 1))
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(3):
            archive.writestr(f"{number}.png", encode(Image.fromarray(np.flip(NOISE, number % 2))))
    assert [load_grey(member, 32).shape for member in walk_images([path], {})] == [(32, 32)] * 4
