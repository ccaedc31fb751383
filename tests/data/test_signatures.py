"""Files that are not read are named for what they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.artifacts.git_lfs import check_fetched
from cxredge.backends import open_session
from cxredge.data.images import is_image_file, load_grey
from cxredge.data.inputs import walk_images
from cxredge.errors import ArtifactError, ImageError, ImageProblem
from cxredge.graph.model_file import read_model
from tests.data.image_files import encode

PICTURE = Image.fromarray(np.arange(48 * 48, dtype=np.uint16).reshape(48, 48).astype(np.uint8))
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
FOREIGN = {
    "a BMP image": encode(PICTURE, "BMP"),
    "a TIFF image": encode(PICTURE, "TIFF"),
    "a GIF image": encode(PICTURE, "GIF"),
    "a JPEG 2000 image": encode(PICTURE, "JPEG2000"),
    "a WebP image": b"RIFF\x24\0\0\0WEBPVP8 " + b"\0" * 24,
    "a HEIF image": b"\0\0\0\x18ftypheic" + b"\0" * 24,
}
OTHERS = {
    "a Git LFS pointer, not the image itself": POINTER,
    "a PDF document": b"%PDF-1.7 ...",
    "compressed by gzip": b"\x1f\x8b\x08" + b"\0" * 20,
    "a NumPy array": b"\x93NUMPY\1\0" + b" " * 40,
    "an HTML page": b"<!DOCTYPE html><html></html>",
    "a PNG image whose header is damaged": b"\x89PNG\r\n\x1a\n" + b"\0" * 20,
}


@pytest.mark.parametrize("name", [*FOREIGN, *OTHERS])
def test_the_message_says_what_the_file_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes({**FOREIGN, **OTHERS}[name])
    with pytest.raises(ImageError, match=f"x.png is {name}") as caught:
        load_grey(path, 48)
    assert caught.value.problem is ImageProblem.UNREADABLE
    assert caught.value.hint


@pytest.mark.parametrize("name", FOREIGN)
def test_a_picture_in_a_format_that_is_not_read_has_a_row(tmp_path: Path, name: str) -> None:
    path = tmp_path / "IM0001"
    path.write_bytes(FOREIGN[name])
    assert list(walk_images([tmp_path], Counter())) == [path]
    with pytest.raises(ImageError, match="Convert it to PNG"):
        load_grey(path, 48)


@pytest.mark.parametrize("name", ["x.jfif", "x.jpe", "x", "x.txt"])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_jpeg_and_png_are_recognised_by_their_content(
    tmp_path: Path, name: str, image_format: str
) -> None:
    path = tmp_path / name
    path.write_bytes(encode(PICTURE, image_format))
    assert is_image_file(path)
    assert load_grey(path, 48).shape == (48, 48)


@pytest.mark.parametrize("content", [b"BMX files are no bitmaps at all", b"GIF", b"RIFF", b""])
def test_other_files_are_no_pictures(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert not is_image_file(tmp_path / "x")


@pytest.mark.parametrize("read", [read_model, open_session, check_fetched])
def test_a_git_lfs_pointer_in_place_of_a_model(tmp_path: Path, read: object) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(POINTER)
    with pytest.raises(ArtifactError, match="Git LFS pointer") as caught:
        read(path)
    assert caught.value.hint.endswith("git lfs pull")
