"""What a file is that is not an image of a supported format, by its first bytes.

BMP, TIFF, WebP and GIF are recognised and refused. TIFF has 16-bit and inverted variants that
Pillow shows wrongly, and several pages; Pillow allocates the canvas of a WebP before its size can
be checked, and unpacks compressed BMP byte by byte in Python. Converting to PNG loses nothing.
"""

from __future__ import annotations

from cxredge.artifacts.git_lfs import FETCH_HINT, is_lfs_pointer
from cxredge.data.zip_members import is_archive_name
from cxredge.errors import ImageError, ImageProblem

_CONVERT = "Convert it to PNG or leave it out."
_LOSSLESS = "Convert it to PNG, for example with: magick INPUT OUTPUT.png"
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)

_PICTURES = (
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"II+\0", "a TIFF image"),
    (b"MM\0+", "a TIFF image"),
    (b"GIF8", "a GIF image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 codestream"),
)
_OTHERS = (
    (b"\x89PNG", "a PNG image whose header is damaged", "Copy the file again from its source."),
    (b"\xff\xd8\xff", "a JPEG image whose header is damaged", "Copy the file again."),
    (b"%PDF", "a PDF document", "Export its pictures as PNG."),
    (b"PK\3\4", "a zip archive", "Give it a name that ends in .zip."),
    (b"\x1f\x8b", "compressed by gzip", "Unpack it first: gunzip FILE"),
    (b"\x93NUMPY", "a NumPy array", "Save it as PNG, or pass the array to the Python API."),
    (b"<!doctype", "an HTML page, not an image", "Download the image again."),
    (b"<html", "an HTML page, not an image", "Download the image again."),
)


def is_foreign_picture(head: bytes) -> bool:
    """Return whether a file is a picture in a format that is not read, by its first 132 bytes."""
    return bool(_foreign_picture(head))


def not_an_image(name: str, content: bytes) -> ImageError:
    """Return the error for a file that is not an image of a supported format."""
    if is_archive_name(name):
        return _error(f"{name} is not a zip archive that can be opened.", _CONVERT)
    if is_lfs_pointer(content):
        return _error(f"{name} is a Git LFS pointer, not the image itself.", FETCH_HINT)
    if picture := _foreign_picture(content):
        return _error(f"{name} is {picture}; PNG, JPEG and DICOM are read.", _LOSSLESS)
    for start, what, hint in _OTHERS:
        if content[: len(start)].lower() == start.lower():
            return _error(f"{name} is {what}; PNG, JPEG and DICOM are read.", hint)
    return _error(f"{name} is not a PNG, JPEG or DICOM image.", _CONVERT)


def _foreign_picture(head: bytes) -> str:
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "a BMP image"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP image"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"avif"):
        return "a HEIF image"
    return next((what for start, what in _PICTURES if head.startswith(start)), "")


def _error(message: str, hint: str) -> ImageError:
    return ImageError(ImageProblem.UNREADABLE, message, hint)
