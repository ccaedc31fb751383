"""Images in memory: an encoded file's bytes, a Pillow image or a NumPy array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxredge.data.sources import MAX_BYTES, Source, check_size
from cxredge.errors import ImageError, ImageProblem


@dataclass(frozen=True)
class NotAnImage:
    """An item that is not an image of any kind; loading it reports so.

    Attributes:
        kind: Name of its type.
    """

    kind: str

    def error(self) -> ImageError:
        """Return the error for the item."""
        return ImageError(
            ImageProblem.UNSUPPORTED,
            f"{self.kind} is not an image; expected a path, bytes, a Pillow image or a NumPy "
            "array.",
            "Convert it, for example with numpy.asarray.",
        )


ImageInput = Source | bytes | Image.Image | npt.NDArray[Any] | NotAnImage
"""Everything that an image is loaded from."""

_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "I;16L", "I;16B")
_SHAPES = "(height, width) uint8 or uint16, or (height, width, 3 or 4) uint8"
_MAX_16_BIT = 65535


def name_of(source: ImageInput) -> str:
    """Return the path of an image, or a description of an image in memory."""
    if isinstance(source, bytes):
        return f"image of {len(source)} bytes"
    if isinstance(source, Image.Image):
        width, height = source.size
        return f"Pillow image {width}x{height} in mode {source.mode}"
    if isinstance(source, np.ndarray):
        return f"array {source.shape} {source.dtype}"
    if isinstance(source, NotAnImage):
        return f"object of type {source.kind}"
    return str(source)


def closed_image(name: str) -> ImageError:
    """Return the error for a Pillow image that was closed, or whose file was."""
    return ImageError(
        ImageProblem.UNREADABLE,
        f"{name} is closed.",
        "Predict it before it is closed, within its 'with' block.",
    )


def is_closed(error: Exception) -> bool:
    """Return whether Pillow failed because an image or its file is closed."""
    return isinstance(error, ValueError) and "closed" in str(error)


def check_content(content: bytes) -> bytes:
    """Return a file's bytes.

    Raises:
        ImageError: There are none, or too many.
    """
    if not content:
        raise ImageError(
            ImageProblem.EMPTY, "The image is empty (0 bytes).", "Pass the bytes of a whole file."
        )
    if len(content) > MAX_BYTES:
        raise ImageError(
            ImageProblem.TOO_LARGE,
            f"The image has {len(content) // 1_000_000} MB; at most {MAX_BYTES // 1_000_000} MB "
            "are decoded.",
            "Save it as a compressed PNG.",
        )
    return content


def picture_of(image: Image.Image | npt.NDArray[Any]) -> Image.Image:
    """Return a Pillow image whose mode and size the preprocessing supports.

    Args:
        image: A Pillow image of at most 16 bits per channel; or an array, uint8 or uint16 of shape
            (height, width), or uint8 of shape (height, width, 3) or (height, width, 4): RGB, RGBA.

    Raises:
        ImageError: Another mode, shape or type, too large or too small, or values out of range.
    """
    if isinstance(image, Image.Image):
        _check_mode(image)
        return image
    name = name_of(image)
    if not _is_supported(image):
        raise ImageError(
            ImageProblem.UNSUPPORTED,
            f"{name} is not supported; expected {_SHAPES}.",
            _remedy(image),
        )
    check_size(name, image.shape[1], image.shape[0])
    # Pillow has no mode for values in foreign byte order.
    return Image.fromarray(np.ascontiguousarray(image, image.dtype.newbyteorder("=")))


def _is_supported(values: npt.NDArray[Any]) -> bool:
    if values.ndim == 2:
        return values.dtype.kind == "u" and values.dtype.itemsize <= 2
    return values.ndim == 3 and values.shape[2] in (3, 4) and values.dtype == np.uint8


def _remedy(values: npt.NDArray[Any]) -> str:
    if values.dtype.kind == "f":
        return "Scale the values to 0 ... 255, round them and convert with .astype(numpy.uint8)."
    if values.dtype.kind in "bi":
        return "Scale the values to 0 ... 255 and convert with .astype(numpy.uint8)."
    return "Pass one image at a time, channels last."


def _check_mode(image: Image.Image) -> None:
    name = name_of(image)
    if image.mode not in _MODES:
        raise ImageError(
            ImageProblem.UNSUPPORTED,
            f"{name} is not supported; expected mode {', '.join(_MODES)}.",
            "Convert it: image.convert('L')",
        )
    if getattr(image, "tile", None) and getattr(image, "fp", None) is None:
        raise closed_image(name)  # its pixels were never read
    check_size(name, *image.size)
    if image.mode == "I":
        try:
            values = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            if is_closed(error):
                raise closed_image(name) from None
            raise ImageError(
                ImageProblem.TRUNCATED, f"{name} is truncated or damaged.", "Copy its file again."
            ) from None
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > _MAX_16_BIT:
            raise ImageError(
                ImageProblem.NOT_SCALED,
                f"{name} has values from {low} to {high}; expected 0 to {_MAX_16_BIT}.",
                "Scale its values to 16 bits.",
            )
