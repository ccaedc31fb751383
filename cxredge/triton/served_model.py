"""The model that takes files: from the bytes of X-rays to the tensors that Triton returns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxredge.backends.base import available_cores
from cxredge.bundle.bundle import note_if_strange, open_bundle, read_golden
from cxredge.bundle.layout import GOLDEN_NAME
from cxredge.bundle.replay import replay
from cxredge.errors import ArtifactError
from cxredge.inference.answers import PredictionRow
from cxredge.inference.predictions_file import row_values
from cxredge.inference.row_formats import columns_of
from cxredge.inference.rows import rows_of
from cxredge.progress import Silent
from cxredge.triton.model_config import NO_NUMBER
from cxredge.vocabulary import Precision

Tensors = Mapping[str, npt.NDArray[Any]]


class _Notes(Silent):
    """Progress listener that passes notes on."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def note(self, message: str) -> None:
        """Pass a note on."""
        self._note(message)


class ServedModel:
    """A bundle that answers for the bytes of files, with the rows of ``cxredge predict``.

    Args:
        folder: Folder of the bundle.
        note: Called with notes about the bundle and this machine; they name no image.

    Raises:
        CxredgeError: The bundle is damaged, its runtime is missing here, or a golden image has
            another result here than at the build.
    """

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        self._bundle = open_bundle(folder)
        note_if_strange(self._bundle, _Notes(note))
        self._check_golden(note)
        with ExitStack() as closing:
            self._session = closing.enter_context(self._bundle.open_for_many())
            # A session on a GPU belongs to the thread that calls it.
            self._workers = available_cores() if self._session.spec.concurrent else 1
            self._pool = closing.enter_context(ThreadPoolExecutor(self._workers))
            self._closing = closing.pop_all()

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of ``probabilities``."""
        return self._bundle.card.classifier.classes

    def rows(self, files: Sequence[bytes]) -> list[PredictionRow]:
        """Return a row for each file, in order; a file that cannot be used has one too."""
        if self._workers == 1:
            return self._some_rows(files)
        share = -(-len(files) // self._workers)
        parts = [files[start : start + share] for start in range(0, len(files), share or 1)]
        return [row for rows in self._pool.map(self._some_rows, parts) for row in rows]

    def answers(self, files: Sequence[bytes]) -> Tensors:
        """Return the tensors of files, the first side of each is the number of files."""
        return tensors_of(self.rows(files), self.classes)

    def close(self) -> None:
        """Free the network's memory."""
        self._closing.close()

    def _some_rows(self, files: Sequence[bytes]) -> list[PredictionRow]:
        groups = rows_of(self._bundle, self._session, iter(files), cores=1)
        return [row for group in groups for row in group.rows]

    def _check_golden(self, note: Callable[[str], None]) -> None:
        """Run the golden images in every precision that decides."""
        if not (self._bundle.path / GOLDEN_NAME).exists():
            note("The bundle has no golden images: its results here were not compared.")
            return
        golden = read_golden(self._bundle)
        also = () if self._bundle.cascade_margin is None else (Precision.FP32,)
        for precision in (self._bundle.precision, *also):
            found = replay(self._bundle, precision, golden)
            if not found.passed:
                raise ArtifactError(
                    f"{precision.value} computes different results on this machine: "
                    f"{found.differences()}.",
                    "Finish the bundle here with 'cxredge deploy', and export it again.",
                )


def tensors_of(rows: Sequence[PredictionRow], classes: Sequence[str]) -> Tensors:
    """Return rows as tensors of Triton's types; strings are bytes in UTF-8.

    Args:
        rows: The rows.
        classes: The classes.

    Returns:
        By name: ``label``, ``status``, ``set``, ``decided_by``, ``error`` and, as JSON, ``answer``
        (N, 1); ``familiarity`` (N, 1) and ``probabilities`` (N, classes), -1 if a row has none.
    """
    answers = [_answer(row, classes) for row in rows]
    found: dict[str, npt.NDArray[Any]] = {
        name: _strings([_text(answer[name]) for answer in answers])
        for name in ("label", "status", "set", "decided_by", "error")
    }
    found["answer"] = _strings([json.dumps(answer) for answer in answers])
    found["familiarity"] = _numbers([[row.familiarity] for row in rows], 1)
    values = [[row.probabilities.get(name) for name in classes] for row in rows]
    found["probabilities"] = _numbers(values, len(classes))
    return found


def _answer(row: PredictionRow, classes: Sequence[str]) -> dict[str, Any]:
    """Return a row as ``cxredge predict`` writes it, without the path: a request has none."""
    values = columns_of(classes, row_values(row))
    return {name: value for name, value in values.items() if name != "path"}


def _text(value: object) -> str:
    """Return a value as text; empty if there is none, the elements of a list with ``|``."""
    return "" if value is None else "|".join(value) if isinstance(value, tuple) else str(value)


def _strings(texts: Sequence[str]) -> npt.NDArray[Any]:
    found = np.empty((len(texts), 1), dtype=object)
    found[:, 0] = [text.encode() for text in texts]
    return found


def _numbers(values: Sequence[Sequence[float | None]], width: int) -> npt.NDArray[np.float64]:
    filled = [[NO_NUMBER if one is None else one for one in row] for row in values]
    return np.array(filled, np.float64).reshape(len(values), width)
