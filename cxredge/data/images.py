"""The one preprocessing: from an image file to a uint8 grey square.

Training, calibration, evaluation and the device all call :func:`load_grey`. What follows it
(scaling, mean, standard deviation) is inside the exported graph, so the two sides cannot differ.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from cxredge.data.limits import check_size, too_many_pixels
from cxredge.data.sources import HEAD_BYTES, ImageSource, is_dicom, is_dicom_file, read_source
from cxredge.data.zip_members import is_archive_name
from cxredge.errors import Caution, ImageError, ImageProblem

PREPROCESSING = "grey-square/2"
"""Version of :func:`load_grey`; it changes when a pixel would."""

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


@dataclass(frozen=True)
class LoadedImage:
    """A decoded X-ray.

    Attributes:
        pixels: uint8 (size, size), 0 is black.
        cautions: What its DICOM header says that makes a prediction doubtful.
    """

    pixels: GreyImage
    cautions: tuple[Caution, ...] = ()


def load_grey(source: ImageSource, size: int, mark: Mark = _unheard) -> GreyImage:
    """Decode one chest X-ray into a grey square.

    EXIF orientation is applied, colour becomes luma (ITU-R BT.601), transparency is laid over
    black, 16-bit values are divided by 257, and the whole image is squeezed into the square with
    an antialiased bilinear filter, as the paper's 224x224 inputs were. DICOM goes through the
    transformations that its header names (:mod:`cxredge.data.dicom`) before it is squeezed.

    Args:
        source: An 8- or 16-bit PNG, a JPEG or a DICOM file, or such a member of a zip archive.
        size: Height and width of the result in pixels.
        mark: Called with the name of each of ``STAGES`` when it is over.

    Returns:
        New uint8 array, shape (size, size), 0 is black.

    Raises:
        ImageError: The file cannot be used; ``problem`` says why.
    """
    return load_image(source, size, mark).pixels


def load_image(
    source: ImageSource, size: int, mark: Mark = _unheard, any_view: bool = False
) -> LoadedImage:
    """Do what :func:`load_grey` does, and say what is doubtful about the image.

    Args:
        source: As there.
        size: As there.
        mark: As there.
        any_view: Decode lateral and oblique views too, with a caution.

    Raises:
        ImageError: The file cannot be used; ``problem`` says why.
    """
    name, content = str(source), read_source(source)
    mark("read")
    cautions: tuple[Caution, ...] = ()
    if is_dicom(content[:HEAD_BYTES]):
        values, cautions = _decode_dicom(name, content, any_view)
        grey = Image.fromarray(values)
    else:
        grey = _decode(name, content, size)
    mark("decode")
    if grey.size != (size, size):
        grey = grey.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.array(grey, dtype=np.uint8)
    mark("preprocess")
    return LoadedImage(pixels, cautions)


def list_images(folder: Path) -> list[Path]:
    """Return the images directly in ``folder``, sorted; see :func:`is_image_file`."""
    return sorted(path for path in folder.iterdir() if path.is_file() and is_image_file(path))


def is_image_file(path: Path) -> bool:
    """Tell whether a file is an image we read by its name, or DICOM by its content."""
    if path.name.startswith(".") or is_dicom_index(path.name):
        return False
    return is_image_name(path.name) or is_dicom_file(path)


def is_image_name(name: str) -> bool:
    """Tell whether a file name is that of an image we read; hidden files are not."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def is_dicom_index(name: str) -> bool:
    """Tell whether a file name is that of the index of a DICOM disc, which holds no image."""
    return name.upper() == "DICOMDIR"


def _decode_dicom(
    name: str, content: bytes, any_view: bool
) -> tuple[GreyImage, tuple[Caution, ...]]:
    try:
        from cxredge.data.dicom.picture import decode_dicom
    except ModuleNotFoundError:
        raise ImageError(
            ImageProblem.NOT_INSTALLED,
            f"{name} is DICOM, which needs the extra 'dicom'.",
            "pip install 'cxredge[dicom]'",
        ) from None
    return decode_dicom(name, content, any_view)


def _decode(name: str, content: bytes, size: int) -> Image.Image:
    with _open(name, content) as image:
        check_size(name, *image.size)
        try:
            image.draft("L", (size, size))
            return _to_grey(name, _upright(image))
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            raise ImageError(
                ImageProblem.TRUNCATED,
                f"{name} is cut off or damaged: {error}.",
                "Copy the file again from its source.",
            ) from None


def _open(name: str, content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise too_many_pixels(name, "far too many") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        kind = "a PNG or JPEG image, nor DICOM"
        if is_archive_name(name):
            kind = "a zip archive that can be opened"
        raise ImageError(
            ImageProblem.UNREADABLE,
            f"{name} is not {kind}, whatever its name says.",
            "Convert it to PNG or leave it out.",
        ) from None


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


def _to_grey(name: str, image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(name, image)
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
        # 12-bit values in a 16-bit file would come out nearly black. Guessing the depth from one
        # image would make two images of one series differ, so it is refused.
        raise ImageError(
            ImageProblem.NOT_SCALED,
            f"{name} is a 16-bit image whose brightest value is {values.max(initial=0)} of 65535.",
            "Scale its values to 16 bits (12-bit data: times 16) or save it as 8-bit.",
        )
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if isinstance(key := image.info.get("transparency"), int):
        grey[values == key] = 0
    return Image.fromarray(grey)
