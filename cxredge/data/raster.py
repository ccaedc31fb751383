"""Grey pixels of PNG and JPEG files and of Pillow images."""

from __future__ import annotations

import io
import zlib
from contextlib import ExitStack
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from cxredge.data.codestream import read_codestream
from cxredge.data.in_memory import closed_image, is_closed
from cxredge.data.jpeg_data import is_complete
from cxredge.data.jpeg_scans import check_scans
from cxredge.data.memory_budget import memory_budget
from cxredge.data.png_data import has_all_rows
from cxredge.data.signatures import not_an_image
from cxredge.data.sources import JPEG_MAGIC, PNG_MAGIC, check_size, too_many_pixels
from cxredge.data.strips import PIXELS, grey_in_strips, look_up
from cxredge.errors import ImageError, ImageProblem

_FORMATS = ("PNG", "JPEG")
_ERRORS = (zlib.error, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_PNG_DEPTH = 24  # position of the bit depth in the header chunk
_MIN_16_BIT_MAXIMUM = 4096
_16_BIT_VALUES = 65536
_MODE_BYTES = {"1": 1, "L": 1, "P": 1}
"""Memory per pixel in Pillow; 4 in all other modes, with NumPy's copy of 16-bit values."""
_STRIP_BYTES = 16
_COEFFICIENT_BYTES = 2
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_file(name: str, content: bytes, draft_size: int, memory: ExitStack) -> Image.Image:
    """Decode a PNG or JPEG file to grey; a JPEG at the smallest scale of at least ``draft_size``.

    Args:
        name: Name of the file in messages.
        content: Bytes of the file.
        draft_size: Size of the square that the image is for.
        memory: Receives a reservation for the pixels.

    Raises:
        ImageError: The file cannot be used; ``problem`` says why.
    """
    check_scans(name, content)
    with _open(name, content) as image:
        check_size(name, *image.size)
        try:
            needed_bytes = _coefficient_bytes(image)
            full_pixels = image.width * image.height
            image.draft("L", (draft_size, draft_size))
            needed_bytes += _decoded_bytes(image)
            is_jpeg = content.startswith(JPEG_MAGIC)  # Pillow names one of several pictures MPO
            if is_jpeg:
                needed_bytes += len(content) + _comparison_bytes(image, full_pixels)
            memory.enter_context(memory_budget().pixels.reserve(name, needed_bytes))
            image.load()
            complete = (
                is_complete(content, image, draft_size) if is_jpeg else has_all_rows(content, image)
            )
            if not complete:
                raise _damaged(name, "its data end before the picture does")
            return _upright(image, to_grey(name, image, is_16_bit_png(content)))
        except _ERRORS as error:
            raise _unsupported_jpeg(name, content) or _damaged(name, str(error)) from None


def decode_picture(name: str, image: Image.Image, memory: ExitStack) -> Image.Image:
    """Convert a Pillow image to grey.

    Args:
        name: Name of the image in messages.
        image: The image.
        memory: Receives a reservation for the pixels.

    Raises:
        ImageError: The image cannot be used; ``problem`` says why.
    """
    try:
        memory.enter_context(memory_budget().pixels.reserve(name, _decoded_bytes(image)))
        image.load()
        return _upright(image, to_grey(name, image))
    except _ERRORS as error:
        if is_closed(error):
            raise closed_image(name) from None
        raise _damaged(name, str(error)) from None


def is_16_bit_png(content: bytes) -> bool:
    """Return whether a file is a PNG with 16 bits per sample."""
    return content.startswith(PNG_MAGIC) and content[_PNG_DEPTH : _PNG_DEPTH + 1] == b"\x10"


def to_grey(name: str, image: Image.Image, is_16_bit: bool = False) -> Image.Image:
    """Convert an image to grey.

    Args:
        name: Name of the image in messages.
        image: The image.
        is_16_bit: Whether it was read from a file with 16 bits per sample. Of those with colours or
            transparency, Pillow keeps only the high bytes.

    Raises:
        ImageError: Its values do not span 16 bits, although it has 16 bits per sample.
    """
    if image.mode.startswith("I"):
        return _from_16_bit(name, image)
    if is_16_bit:
        _check_high_bytes(name, image)
    return grey_in_strips(image, _luma)


def _open(name: str, content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise too_many_pixels(name, "far too many") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise _unsupported_jpeg(name, content) or not_an_image(name, content) from None


def _damaged(name: str, reason: str) -> ImageError:
    return ImageError(
        ImageProblem.TRUNCATED,
        f"{name} is truncated or damaged: {reason}.",
        "Copy the file again from its source.",
    )


def _unsupported_jpeg(name: str, content: bytes) -> ImageError | None:
    """Return the error for a JPEG of a kind that Pillow cannot decode; None for other files."""
    if not content.startswith(JPEG_MAGIC):
        return None
    try:
        head = read_codestream(content)
    except ValueError:
        return None
    if head.is_dct and head.bits == 8:
        return None
    kind = f"a JPEG of {head.bits} bits per sample" if head.is_dct else "a lossless JPEG"
    return ImageError(
        ImageProblem.UNSUPPORTED,
        f"{name} is {kind}; JPEG files of 8 bits, sequential or progressive, are supported.",
        "Convert it to PNG, deeper than 8 bits with values scaled to 16 bits.",
    )


def _coefficient_bytes(image: Image.Image) -> int:
    """Return the memory for the coefficients that a progressive JPEG keeps until its end."""
    if not image.info.get("progressive"):
        return 0
    return image.width * image.height * len(image.getbands()) * _COEFFICIENT_BYTES


def _comparison_bytes(image: Image.Image, full_pixels: int) -> int:
    """Return the memory for the pictures that the check of a JPEG's data decodes and compares."""
    if image.info.get("progressive"):
        return 3 * full_pixels
    return 2 * image.width * image.height * _MODE_BYTES.get(image.mode, 4)


def _decoded_bytes(image: Image.Image) -> int:
    """Return the memory for the pixels in Pillow's mode, their grey, and a strip in between."""
    pixels = image.width * image.height
    return pixels * (_MODE_BYTES.get(image.mode, 4) + 2) + min(pixels, PIXELS) * _STRIP_BYTES


def _upright(image: Image.Image, grey: Image.Image) -> Image.Image:
    """Apply an image's EXIF orientation to its grey; do nothing if it cannot be read.

    Pillow's ``exif_transpose`` also rewrites the other tags and fails on invalid ones.
    """
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:
        # Pillow parses metadata lazily and raises almost anything; the pixels are not affected.
        return grey
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return grey if turn is None else grey.transpose(turn)


def _luma(image: Image.Image) -> Image.Image:
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        with_alpha: Any = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, with_alpha).convert("L")
    if image.mode == "P":
        image = image.convert("RGB")
    return image.convert("L")


def _from_16_bit(name: str, image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.max(initial=0) < _MIN_16_BIT_MAXIMUM:
        # 12-bit values in a 16-bit file would be nearly black. A depth guessed from each image
        # would differ within one series, so the file is refused.
        raise _not_scaled(name, str(values.max(initial=0)))
    table = ((np.arange(_16_BIT_VALUES, dtype=np.uint32) + 128) // 257).astype(np.uint8)
    if isinstance(key := image.info.get("transparency"), int) and 0 <= key < _16_BIT_VALUES:
        table[key] = 0
    return Image.fromarray(look_up(table, values))


def _check_high_bytes(name: str, image: Image.Image) -> None:
    bands = [image.getchannel(band) for band in image.getbands() if band != "A"]
    highest = max(int(band.getextrema()[1]) for band in bands)  # type: ignore[arg-type]
    if highest * 256 < _MIN_16_BIT_MAXIMUM:
        raise _not_scaled(name, f"below {(highest + 1) * 256}")


def _not_scaled(name: str, maximum: str) -> ImageError:
    return ImageError(
        ImageProblem.NOT_SCALED,
        f"{name} is a 16-bit image whose maximum is {maximum} of 65535.",
        "Scale its values to 16 bits (12-bit data: times 16) or save it as 8-bit.",
    )
