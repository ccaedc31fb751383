"""The Python API: a bundle loaded for predictions."""

from __future__ import annotations

import threading
import zipfile
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from cxredge.backends import CPU_BACKENDS
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.data.in_memory import NotAnImage
from cxredge.data.inputs import walk_images
from cxredge.data.zip_members import ZipMember, is_archive_name, list_members
from cxredge.errors import CxredgeError, ImageError, ImageProblem
from cxredge.inference.answers import PredictionOptions, PredictionRow
from cxredge.inference.rows import RowGroup, predict_one, rows_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from cxredge.backends.base import Session
    from cxredge.data.in_memory import ImageInput


def load(path: str | Path) -> Model:
    """Check the files of a bundle and load its network.

    Args:
        path: The bundle's folder. An archive is unpacked by ``cxredge deploy`` first.

    Returns:
        The model; close it, or use it in a ``with`` statement.

    Raises:
        CxredgeError: It is not a bundle, a file is missing or was changed, or its runtime cannot be
            used on this machine; the message says what to do.
    """
    if not isinstance(path, str | Path):
        raise CxredgeError(
            f"Expected the path of a bundle, got {type(path).__name__}.",
            "Pass the folder that 'cxredge build' or 'cxredge deploy' wrote.",
        )
    return Model(open_bundle(Path(path)))


class Model:
    """A bundle whose network is loaded. Research use only; not for diagnosis.

    On a processor, several threads may call one model at the same time. On a GPU, the model belongs
    to the thread that loaded it, and :meth:`predict_many` must end before the next prediction.

    Args:
        bundle: The bundle, its files checked.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._owner = threading.get_ident()
        self._closing = ExitStack()
        self._opening = threading.Lock()
        self._closed = False
        self._for_one = self._closing.enter_context(bundle.open())
        # An engine on a GPU has its own batch sizes; a second one would take its memory twice.
        self._for_many = None if bundle.backend in CPU_BACKENDS else self._for_one

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of ``probabilities``."""
        return self._bundle.card.classifier.classes

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Operating threshold by class: the minimum probability that counts as positive."""
        return dict(self._bundle.thresholds)

    @property
    def precision(self) -> str:
        """The precision that serves: ``fp32``, ``bf16``, ``fp16`` or ``int8``."""
        return self._bundle.precision.value

    @property
    def backend(self) -> str:
        """The runtime: ``onnxruntime``, ``openvino``, ``tensorrt`` or ``tensorrt-rtx``."""
        return self._bundle.backend

    @property
    def network(self) -> str:
        """The network's name, such as ``mobilenet_v2``."""
        return self._bundle.card.classifier.network

    def predict(
        self,
        image: str | Path | bytes | Image.Image | np.ndarray,
        *,
        any_view: bool = False,
        answer_all: bool = False,
    ) -> PredictionRow:
        """Predict one image with the settings that are fastest for one image.

        Args:
            image: Path of a PNG, JPEG or DICOM file, or of such a member of a zip archive
                (``set.zip/1.png``); the bytes of such a file; a Pillow image; or an array of shape
                (height, width), uint8 or uint16 over the type's whole range, 0 is black, or of
                shape (height, width, 3 or 4), uint8.
            any_view: Predict a lateral or oblique view too, with a caution.
            answer_all: Predict an image that is unlike the training images too, with a caution.

        Returns:
            The prediction; its status is ``ok``, or ``unfamiliar`` without a label.

        Raises:
            ImageError: The image cannot be used; ``problem`` says why.
            CxredgeError: The model is closed, or belongs to another thread.
        """
        self._check_usable()
        options = PredictionOptions(any_view, answer_all)
        return predict_one(self._bundle, self._for_one, _one_input(image), options)

    def predict_many(
        self,
        images: Iterable[str | Path | bytes | Image.Image | np.ndarray],
        *,
        any_view: bool = False,
        answer_all: bool = False,
    ) -> Iterator[PredictionRow]:
        """Predict images on all cores; return a row for each, in order.

        Images are read as rows are consumed, a bounded number ahead. An image that cannot be used,
        or an item that is no image, has a row with its ``status`` and ``error``.

        Args:
            images: See :meth:`predict`. A folder or zip archive stands for the images in it,
                recursively, sorted by name.
            any_view: Predict lateral and oblique views too, with a caution.
            answer_all: Predict images that are unlike the training images too, with a caution.

        Returns:
            An iterator over the rows that ``cxredge predict`` writes.

        Raises:
            CxredgeError: ``images`` is not iterable, or the model is closed or belongs to another
                thread.
        """
        self._check_usable()
        session, options = self._session_for_many(), PredictionOptions(any_view, answer_all)
        return self._rows_in(rows_of(self._bundle, session, _inputs_of(images), options))

    def close(self) -> None:
        """Free the network's memory. A second call has no effect."""
        self._closed = True
        self._closing.close()

    def __enter__(self) -> Self:
        """Return the model."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the model."""
        self.close()

    def _rows_in(self, groups: Generator[RowGroup, None, None]) -> Iterator[PredictionRow]:
        with closing(groups):
            while True:
                # The model may have been closed since the last row.
                self._check_usable()
                group = next(groups, None)
                if group is None:
                    return
                yield from group.rows

    def _session_for_many(self) -> Session:
        with self._opening:
            if self._for_many is None:
                self._for_many = self._closing.enter_context(self._bundle.open_for_many())
            return self._for_many

    def _check_usable(self) -> None:
        if self._closed:
            raise CxredgeError(
                "The model is closed.", f"Load it again: cxredge.load({str(self._bundle.path)!r})"
            )
        if not self._for_one.spec.concurrent and threading.get_ident() != self._owner:
            raise CxredgeError(
                f"A model on {self.backend} belongs to the thread that loaded it.",
                "Call it from that thread, or load a model in each thread.",
            )


def _inputs_of(images: Iterable[object]) -> Iterator[ImageInput]:
    """Yield every image; those in a folder or archive instead of the folder or archive."""
    if isinstance(images, str | Path | bytes | Image.Image | np.ndarray):
        images = [images]
    if not isinstance(images, Iterable):
        raise CxredgeError(
            f"Expected images, got {type(images).__name__}.", "Pass a list of paths or images."
        )
    for image in images:
        found = _as_input(image)
        if isinstance(found, Path):
            yield from walk_images([found], Counter())
        else:
            yield found


def _as_input(image: object) -> ImageInput:
    if isinstance(image, str):
        return Path(image)
    if isinstance(image, Path | ZipMember | bytes | Image.Image | np.ndarray):
        return image
    return NotAnImage(type(image).__name__)


def _one_input(image: object) -> ImageInput:
    """Return an image as an input.

    Raises:
        ImageError: It is a folder or a zip archive, which stand for many images.
    """
    found = _as_input(image)
    if isinstance(found, Path) and (found.is_dir() or _is_archive(found)):
        kind = "folder" if found.is_dir() else "zip archive"
        raise ImageError(
            ImageProblem.UNSUPPORTED,
            f"{found} is a {kind}, not an image.",
            "Predict the images in it with predict_many, or name one of them: "
            f"{found / 'IMAGE.png'}",
        )
    return found


def _is_archive(path: Path) -> bool:
    if not is_archive_name(path.name) or not path.is_file():
        return False
    try:
        list_members(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False
    return True
