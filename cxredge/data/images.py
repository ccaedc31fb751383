"""Preprocessing shared by all stages: from an image file to a square uint8 grey image.

Training, calibration, evaluation and inference all call :func:`load_grey`. The steps after it
(scaling, mean, standard deviation) are part of the exported graph, so that training and device
cannot differ.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from cxredge.data.in_memory import (
    ImageInput,
    NotAnImage,
    check_content,
    closed_image,
    is_closed,
    name_of,
    picture_of,
)
from cxredge.data.jpeg_scans import check_scans
from cxredge.data.memory_budget import memory_budget
from cxredge.data.sources import (
    HEAD_BYTES,
    check_size,
    is_dicom,
    is_dicom_file,
    reading,
    too_many_pixels,
)
from cxredge.data.strips import PIXELS, grey_in_strips, look_up
from cxredge.data.zip_members import is_archive_name
from cxredge.errors import Caution, ImageError, ImageProblem

PREPROCESSING = "grey-square/2"
"""Version of :func:`load_grey`; it changes whenever a pixel value would."""

EXTENSIONS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
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

_16_BIT_VALUES = 65536
_MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2}
"""Memory per pixel in Pillow; 4 in all other modes."""
_STRIP_BYTES = 16
_COEFFICIENT_BYTES = 2

GreyImage = npt.NDArray[np.uint8]

StageListener = Callable[[str], None]
"""Called with the name of each stage of :func:`load_grey` when it ends; used by benchmarks."""

STAGES = ("read", "decode", "preprocess")
"""Stages of :func:`load_grey`: read the bytes, decode to grey pixels, resize to the square."""

# Images above MAX_PIXELS are refused with our own message; Pillow's warning would repeat it.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Invalid metadata does not affect pixels, and Pillow would print one line per file.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def _ignore_stage(stage: str) -> None:
    """Ignore a stage; the default listener."""


@dataclass(frozen=True)
class LoadedImage:
    """A decoded X-ray.

    Attributes:
        pixels: uint8 (size, size), 0 is black.
        cautions: Reasons in its DICOM header to doubt a prediction.
    """

    pixels: GreyImage
    cautions: tuple[Caution, ...] = ()


def load_grey(source: ImageInput, size: int, on_stage: StageListener = _ignore_stage) -> GreyImage:
    """Decode one chest X-ray into a square grey image.

    Applies the EXIF orientation, converts colour to luma (ITU-R BT.601), composites transparency
    over black, divides 16-bit values by 257, and resizes the whole image to the square with an
    antialiased bilinear filter, without keeping the aspect ratio, as the paper did for its 224x224
    inputs. DICOM pixels first go through the transformations that the header specifies
    (:mod:`cxredge.data.dicom`).

    Args:
        source: An 8- or 16-bit PNG, a JPEG or a DICOM file, such a member of a zip archive, or the
            bytes of such a file; a Pillow image; or an array, uint8 or uint16 of shape (height,
            width), or uint8 of shape (height, width, 3 or 4). The array of a PNG returns the same
            pixels as the file. A JPEG in a file or in bytes is decoded at reduced scale, so that
            pixels of a Pillow image or array of it may differ slightly.
        size: Height and width of the result in pixels.
        on_stage: Called with the name of each of ``STAGES`` when it ends.

    Returns:
        New uint8 array, shape (size, size), 0 is black.

    Raises:
        ImageError: The file cannot be used; ``problem`` says why.
    """
    return load_image(source, size, on_stage).pixels


def load_image(
    source: ImageInput,
    size: int,
    on_stage: StageListener = _ignore_stage,
    any_view: bool = False,
) -> LoadedImage:
    """Decode one chest X-ray as :func:`load_grey` does; return its cautions with the pixels.

    Args:
        source: See :func:`load_grey`.
        size: See :func:`load_grey`.
        on_stage: See :func:`load_grey`.
        any_view: Decode lateral and oblique views too, with a caution, instead of refusing them.

    Raises:
        ImageError: The file cannot be used; ``problem`` says why.
    """
    with ExitStack() as memory:
        try:
            grey, cautions = _read_and_decode(source, size, on_stage, any_view, memory)
        except MemoryError:
            raise ImageError(
                ImageProblem.TOO_LARGE,
                f"There is not enough memory to decode {name_of(source)}.",
                "Scale it down first, or use a machine with more memory.",
            ) from None
        on_stage("decode")
        if grey.size != (size, size):
            grey = grey.resize((size, size), Image.Resampling.BILINEAR)
        pixels = np.array(grey, dtype=np.uint8)
    on_stage("preprocess")
    return LoadedImage(pixels, cautions)


def _read_and_decode(
    source: ImageInput, size: int, on_stage: StageListener, any_view: bool, memory: ExitStack
) -> tuple[Image.Image, tuple[Caution, ...]]:
    """Return the grey image and its cautions.

    Args:
        source: See :func:`load_grey`.
        size: See :func:`load_grey`.
        on_stage: See :func:`load_grey`.
        any_view: See :func:`load_image`.
        memory: Receives reservations for the bytes and pixels of the image.
    """
    if isinstance(source, NotAnImage):
        raise source.error()
    name = name_of(source)
    if isinstance(source, np.ndarray | Image.Image):
        on_stage("read")
        return _decode(name, picture_of(source), memory), ()
    if isinstance(source, bytes):
        content = check_content(source)
    else:
        content = memory.enter_context(reading(source))
    on_stage("read")
    if is_dicom(content[:HEAD_BYTES]):
        values, cautions = _decode_dicom(name, content, any_view)
        return Image.fromarray(values), cautions
    check_scans(name, content)
    with _open(name, content) as image:
        check_size(name, *image.size)
        return _decode(name, image, memory, draft_size=size), ()


def list_images(folder: Path) -> list[Path]:
    """Return the images directly in ``folder``, sorted; see :func:`is_image_file`."""
    return sorted(path for path in folder.iterdir() if path.is_file() and is_image_file(path))


def is_image_file(path: Path) -> bool:
    """Return whether a file is an image, by its name or, for DICOM, by its content."""
    if path.name.startswith(".") or is_dicom_index(path.name):
        return False
    return is_image_name(path.name) or is_dicom_file(path)


def is_image_name(name: str) -> bool:
    """Return whether a file name has an image extension; hidden files are excluded."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def is_dicom_index(name: str) -> bool:
    """Return whether a file name is that of a DICOMDIR, the index of a disc without any image."""
    return name.upper() == "DICOMDIR"


def _decode_dicom(
    name: str, content: bytes, any_view: bool
) -> tuple[GreyImage, tuple[Caution, ...]]:
    try:
        from cxredge.data.dicom.picture import decode_dicom
    except ModuleNotFoundError:
        raise ImageError(
            ImageProblem.NOT_INSTALLED,
            f"{name} is DICOM; reading it requires the extra 'dicom'.",
            "pip install 'cxredge[dicom]'",
        ) from None
    return decode_dicom(name, content, any_view)


def _decode(name: str, image: Image.Image, memory: ExitStack, draft_size: int = 0) -> Image.Image:
    """Decode to grey; a JPEG at the smallest scale that is at least ``draft_size``, if not 0."""
    try:
        coefficients = _coefficient_bytes(image)
        if draft_size:
            image.draft("L", (draft_size, draft_size))
        needed_bytes = coefficients + _decoded_bytes(image)
        memory.enter_context(memory_budget().pixels.reserve(name, needed_bytes))
        image.load()
        return _upright(image, _to_grey(name, image))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        if is_closed(error):
            raise closed_image(name) from None
        raise ImageError(
            ImageProblem.TRUNCATED,
            f"{name} is truncated or damaged: {error}.",
            "Copy the file again from its source.",
        ) from None


def _coefficient_bytes(image: Image.Image) -> int:
    """Return the memory for the coefficients that a progressive JPEG keeps until its end."""
    if not image.info.get("progressive"):
        return 0
    return image.width * image.height * len(image.getbands()) * _COEFFICIENT_BYTES


def _decoded_bytes(image: Image.Image) -> int:
    """Return the memory for the pixels in Pillow's mode, their grey, and a strip in between."""
    pixels = image.width * image.height
    return pixels * (_MODE_BYTES.get(image.mode, 4) + 2) + min(pixels, PIXELS) * _STRIP_BYTES


def _open(name: str, content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise too_many_pixels(name, "far too many") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        expected = "a PNG, JPEG or DICOM image"
        if is_archive_name(name):
            expected = "a zip archive that can be opened"
        raise ImageError(
            ImageProblem.UNREADABLE,
            f"{name} is not {expected}.",
            "Convert it to PNG or leave it out.",
        ) from None


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


def _to_grey(name: str, image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(name, image)
    return grey_in_strips(image, _luma)


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
    if values.max(initial=0) < 4096:
        # 12-bit values in a 16-bit file would be nearly black. A depth guessed from each image
        # would differ within one series, so the file is refused.
        raise ImageError(
            ImageProblem.NOT_SCALED,
            f"{name} is a 16-bit image whose maximum is {values.max(initial=0)} of 65535.",
            "Scale its values to 16 bits (12-bit data: times 16) or save it as 8-bit.",
        )
    table = ((np.arange(_16_BIT_VALUES, dtype=np.uint32) + 128) // 257).astype(np.uint8)
    if isinstance(key := image.info.get("transparency"), int) and 0 <= key < _16_BIT_VALUES:
        table[key] = 0
    return Image.fromarray(look_up(table, values))
