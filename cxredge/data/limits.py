"""How large an image may be, known before it is decoded."""

from __future__ import annotations

from cxredge.errors import ImageError, ImageProblem

MAX_PIXELS = 64_000_000
MAX_BYTES = 10 * MAX_PIXELS  # the most pixels in 16-bit RGBA, and room for metadata
MIN_SIDE = 32


def check_size(name: str, width: int, height: int) -> None:
    """Raise ImageError unless an image of this size in pixels is one to decode."""
    if width * height > MAX_PIXELS:
        raise too_many_pixels(name, f"{width}x{height}")
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            ImageProblem.TOO_SMALL,
            f"{name} is {width}x{height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed.",
            "Use the original image.",
        )


def check_bytes(name: str, size_bytes: int) -> None:
    """Raise ImageError if a file is too large to be read whole."""
    if size_bytes > MAX_BYTES:
        raise ImageError(
            ImageProblem.TOO_LARGE,
            f"{name} has {size_bytes // 1_000_000} MB; at most {MAX_BYTES // 1_000_000} are read.",
            "Save it as a compressed PNG.",
        )


def too_many_pixels(name: str, found: str) -> ImageError:
    """Return the error for an image with more than MAX_PIXELS."""
    return ImageError(
        ImageProblem.TOO_LARGE,
        f"{name} has {found} pixels; at most {MAX_PIXELS // 1_000_000} million are decoded.",
        "Scale it down first.",
    )
