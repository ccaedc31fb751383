"""The one preprocessing: from an image file to a uint8 grey square.

Training, calibration, evaluation and the device all call :func:`load_grey`. What follows it
(scaling, mean, standard deviation) is inside the exported graph, so the two sides cannot differ.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from cxredge.errors import ImageError, ImageProblem

PREPROCESSING = "grey-square/2"
"""Version of :func:`load_grey`; it changes when a pixel would."""

EXTENSIONS = (".png", ".jpg", ".jpeg")
MAX_PIXELS = 64_000_000
MAX_BYTES = 10 * MAX_PIXELS  # the most pixels in 16-bit RGBA, and room for metadata
MIN_SIDE = 32
_FORMATS = ("PNG", "JPEG")
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

GreyImage = npt.NDArray[np.uint8]

Mark = Callable[[str], None]
"""Hears the name of a stage of :func:`load_grey` when it is over; for benchmarks."""

STAGES = ("read", "decode", "preprocess")
"""The stages of :func:`load_grey`: the file's bytes, its grey pixels, the square."""

# Above MAX_PIXELS the file is refused with a sentence of our own, so Pillow need not warn too.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Odd metadata does not matter here; one line on stderr for every such file would.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def _unheard(stage: str) -> None:
    """Take no notice of a stage."""


def load_grey(path: Path, size: int, mark: Mark = _unheard) -> GreyImage:
    """Decode one chest X-ray into a grey square.

    EXIF orientation is applied, colour becomes luma (ITU-R BT.601), transparency is laid over
    black, 16-bit values are divided by 257, and the whole image is squeezed into the square with
    an antialiased bilinear filter, as the paper's 224x224 inputs were.

    Args:
        path: An 8- or 16-bit PNG, or a JPEG.
        size: Height and width of the result in pixels.
        mark: Called with the name of each of ``STAGES`` when it is over.

    Returns:
        New uint8 array, shape (size, size), 0 is black.

    Raises:
        ImageError: The file cannot be used; ``problem`` says why.
    """
    with _open(path, mark) as image:
        _check_size(path, image)
        try:
            image.draft("L", (size, size))
            grey = _to_grey(path, _upright(image))
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            raise ImageError(
                ImageProblem.TRUNCATED,
                f"{path} is cut off or damaged: {error}.",
                "Copy the file again from its source.",
            ) from None
    mark("decode")
    if grey.size != (size, size):
        grey = grey.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.array(grey, dtype=np.uint8)
    mark("preprocess")
    return pixels


def list_images(folder: Path) -> list[Path]:
    """Return the image files directly in ``folder`` by extension, sorted; hidden files left out."""
    return sorted(path for path in folder.iterdir() if is_image_name(path.name) and path.is_file())


def is_image_name(name: str) -> bool:
    """Tell whether a file name is that of an image we read; hidden files are not."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def _open(path: Path, mark: Mark) -> Image.Image:
    try:
        size = path.stat().st_size
        if size == 0:
            raise ImageError(ImageProblem.EMPTY, f"{path} is empty (0 bytes).", "Copy it again.")
        if size > MAX_BYTES:
            raise ImageError(
                ImageProblem.TOO_LARGE,
                f"{path} has {size // 1_000_000} MB; at most {MAX_BYTES // 1_000_000} are read.",
                "Save it as a compressed PNG.",
            )
        content = io.BytesIO(path.read_bytes())
        mark("read")
        return Image.open(content, formats=_FORMATS)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(
            ImageProblem.MISSING, f"{path} does not exist.", "Check the path."
        ) from None
    except Image.DecompressionBombError:
        raise _too_large(path, "far too many") from None
    except (UnidentifiedImageError, SyntaxError, ValueError):
        raise ImageError(
            ImageProblem.UNREADABLE,
            f"{path} is not a PNG or JPEG image, whatever its name says.",
            "Convert it to PNG or leave it out.",
        ) from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ImageError(
            ImageProblem.UNREADABLE, f"{path} cannot be read: {reason}.", "Check the file."
        ) from None


def _check_size(path: Path, image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(path, f"{width}x{height}")
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            ImageProblem.TOO_SMALL,
            f"{path} is {width}x{height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed.",
            "Use the original image.",
        )


def _too_large(path: Path, found: str) -> ImageError:
    return ImageError(
        ImageProblem.TOO_LARGE,
        f"{path} has {found} pixels; at most {MAX_PIXELS // 1_000_000} million are decoded.",
        "Scale it down first.",
    )


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says; metadata that cannot be read turns nothing.

    Pillow's own ``exif_transpose`` also writes the remaining tags anew and fails on odd ones.
    """
    image.load()
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:
        # Metadata is parsed lazily and fails in many ways; the pixels are not affected.
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _to_grey(path: Path, image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(path, image)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        with_alpha: Any = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, with_alpha).convert("L")
    if image.mode == "P":
        image = image.convert("RGB")
    return image.convert("L")


def _from_16_bit(path: Path, image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.max(initial=0) < 4096:
        # 12-bit values in a 16-bit file would come out nearly black. Guessing the depth from one
        # image would make two images of one series differ, so it is refused.
        raise ImageError(
            ImageProblem.NOT_SCALED,
            f"{path} is a 16-bit image whose brightest value is {values.max(initial=0)} of 65535.",
            "Scale its values to 16 bits (12-bit data: times 16) or save it as 8-bit.",
        )
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if isinstance(key := image.info.get("transparency"), int):
        grey[values == key] = 0
    return Image.fromarray(grey)
