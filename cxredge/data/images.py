"""Preprocessing shared by all stages: from an image file to a square uint8 grey image.

Training, calibration, evaluation and inference all call :func:`load_grey`. The steps after it
(scaling, mean, standard deviation) are part of the exported graph, so that training and device
cannot differ.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxredge.data.in_memory import (
    ImageInput,
    NotAnImage,
    check_content,
    name_of,
    picture_of,
)
from cxredge.data.plausibility import check_plausible
from cxredge.data.raster import decode_file, decode_picture, is_16_bit_png
from cxredge.data.sources import HEAD_BYTES, is_dicom, is_picture_file, reading
from cxredge.errors import Caution, ImageError, ImageProblem

PREPROCESSING = "grey-square/2"
"""Version of :func:`load_grey`; it changes whenever a pixel of a rightly shown image would."""

EXTENSIONS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".dcm", ".dicom")

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
        cautions: Reasons to doubt a prediction, in its DICOM header or in the picture.
        unwindowed: Whether values of more than 8 bits were scaled by their depth alone.
        sides: Height and width before it was resized to the square. A JPEG may have been decoded at
            reduced scale: only their ratio is exact.
    """

    pixels: GreyImage
    cautions: tuple[Caution, ...] = ()
    unwindowed: bool = False
    sides: tuple[int, int] = (1, 1)


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
            decoded = _read_and_decode(source, size, on_stage, any_view, memory)
        except MemoryError:
            raise ImageError(
                ImageProblem.TOO_LARGE,
                f"There is not enough memory to decode {name_of(source)}.",
                "Scale it down first, or use a machine with more memory.",
            ) from None
        on_stage("decode")
        grey = decoded.grey
        sides = (grey.height, grey.width)
        if grey.size != (size, size):
            grey = grey.resize((size, size), Image.Resampling.BILINEAR)
        pixels = np.array(grey, dtype=np.uint8)
    on_stage("preprocess")
    return LoadedImage(pixels, decoded.cautions, decoded.unwindowed, sides)


def load_xray(
    source: ImageInput,
    size: int,
    on_stage: StageListener = _ignore_stage,
    any_view: bool = False,
) -> LoadedImage:
    """Load an image as :func:`load_image` does, and refuse a picture that cannot be an X-ray.

    Predictions, evaluations, benchmarks, training and the preparation of data sets call this
    function: a network answers for a black picture too.

    Args:
        source: See :func:`load_grey`.
        size: See :func:`load_grey`.
        on_stage: See :func:`load_grey`.
        any_view: See :func:`load_image`.

    Raises:
        ImageError: The file cannot be used, or its picture is one grey value, almost black, almost
            white or noise; ``problem`` says which.
    """

    def until_checked(stage: str) -> None:
        if stage != "preprocess":  # the check belongs to it, and to its time
            on_stage(stage)

    loaded = load_image(source, size, until_checked, any_view)
    found = check_plausible(name_of(source), loaded.pixels, loaded.unwindowed)
    on_stage("preprocess")
    return replace(loaded, cautions=(*loaded.cautions, *found))


@dataclass(frozen=True)
class _Decoded:
    """A grey picture in its own size; see :class:`LoadedImage` for the attributes."""

    grey: Image.Image
    cautions: tuple[Caution, ...] = ()
    unwindowed: bool = False


def _read_and_decode(
    source: ImageInput, size: int, on_stage: StageListener, any_view: bool, memory: ExitStack
) -> _Decoded:
    """Return the grey image, its cautions and its depth.

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
        picture = picture_of(source)
        grey = decode_picture(name, picture, memory)
        return _Decoded(grey, unwindowed=picture.mode.startswith("I"))
    if isinstance(source, bytes):
        content = check_content(source)
    else:
        content = memory.enter_context(reading(source))
    on_stage("read")
    if is_dicom(content[:HEAD_BYTES]):
        return _decode_dicom(name, content, any_view)
    grey = decode_file(name, content, size, memory)
    return _Decoded(grey, unwindowed=is_16_bit_png(content))


def list_images(folder: Path) -> list[Path]:
    """Return the images directly in ``folder``, sorted; see :func:`is_image_file`."""
    return sorted(path for path in folder.iterdir() if path.is_file() and is_image_file(path))


def is_image_file(path: Path) -> bool:
    """Return whether a file is an image, by its name or by its content.

    A picture in a format that is not read is one too, so that it is not passed over in silence.
    """
    if path.name.startswith(".") or is_dicom_index(path.name):
        return False
    return is_image_name(path.name) or is_picture_file(path)


def is_image_name(name: str) -> bool:
    """Return whether a file name has an image extension; hidden files are excluded."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def is_dicom_index(name: str) -> bool:
    """Return whether a file name is that of a DICOMDIR, the index of a disc without any image."""
    return name.upper() == "DICOMDIR"


def _decode_dicom(name: str, content: bytes, any_view: bool) -> _Decoded:
    try:
        from cxredge.data.dicom.picture import decode_dicom
    except ModuleNotFoundError:
        raise ImageError(
            ImageProblem.NOT_INSTALLED,
            f"{name} is DICOM; reading it requires the extra 'dicom'.",
            "pip install 'cxredge[dicom]'",
        ) from None
    picture = decode_dicom(name, content, any_view)
    return _Decoded(Image.fromarray(picture.grey), picture.cautions, picture.unwindowed)
