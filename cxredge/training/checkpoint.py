"""The folder of a run: its files and, while it is unfinished, its checkpoint and scratch files."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.card import CARD_NAME, StagePlan, up_to_date
from cxredge.artifacts.differences import describe_differences
from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.folder import kind_of
from cxredge.artifacts.records import read_json_file, to_json
from cxredge.artifacts.run_card import RunCard
from cxredge.artifacts.run_config import RunConfig
from cxredge.artifacts.temporary import sweep
from cxredge.artifacts.training_images import TRAINING_IMAGES_NAME
from cxredge.errors import ArtifactError
from cxredge.training.history import Epoch

WEIGHTS_NAME = "model.safetensors"
MANIFEST_NAME = "manifest.csv"
HISTORY_NAME = "history.csv"
CURVES_NAME = "curves.svg"
RUN_FILES = {WEIGHTS_NAME, MANIFEST_NAME, TRAINING_IMAGES_NAME, HISTORY_NAME, CURVES_NAME}
"""The files of a run that its card lists."""
CHECKPOINT_NAME = "checkpoint.pt"
SCRATCH_NAME = ".cxredge-scratch"
"""Folder inside an unfinished run with cached features and the trials of a search."""


@dataclass(frozen=True)
class Checkpoint:
    """State of an interrupted training.

    Attributes:
        model: State dict of the trained part of the network.
        optimizer: State dict of the optimiser.
        average: State dict of the weight average.
        steps: Number of steps in the weight average.
        best: Weights of the best epoch so far.
        history: Finished epochs.
    """

    model: Mapping[str, torch.Tensor]
    optimizer: dict[str, Any]
    average: Mapping[str, torch.Tensor]
    steps: int
    best: dict[str, torch.Tensor]
    history: Sequence[Epoch]

    @property
    def size_bytes(self) -> int:
        """Size of all tensors."""
        states = self.optimizer.get("state", {}).values()
        parts = (self.model, self.average, self.best, *states)
        tensors = [value for part in parts for value in part.values() if torch.is_tensor(value)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _Recorder(io.RawIOBase):
    """Stream that remembers the error of a write, which torch hides or reports as its own."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.error: OSError | None = None
        self._stream = stream

    def write(self, content: Any) -> int:
        """Write to the stream."""
        try:
            return self._stream.write(content)
        except OSError as error:
            self.error = error
            raise


def finished_run(out: Path, planned: StagePlan[RunConfig]) -> RunCard | None:
    """Return the card of a finished run of the same inputs in ``out``, or None if ``out`` is free.

    The temporary files of a killed process are removed first.

    Raises:
        ArtifactError: ``out`` holds something else.
    """
    for name in (*RUN_FILES, CHECKPOINT_NAME, CARD_NAME):
        sweep(out / name)
    unfinished = (out / CHECKPOINT_NAME).exists()
    if (out / CARD_NAME).exists():
        existing = up_to_date(out, planned, RunCard)
        if existing is None and unfinished:
            return None
        if existing is None:
            kind = kind_of(out) or "folder"
            what = _what_differs(read_json_file(out / CARD_NAME), planned)
            raise ArtifactError(
                f"{out} already holds a {kind} made from other images, settings or versions{what}.",
                "Choose another --out, or delete that folder.",
            )
        delete_unfinished(out)
        return existing.card
    if unfinished or not out.exists():
        return None
    if not out.is_dir() or {path.name for path in out.iterdir()} - {SCRATCH_NAME}:
        raise ArtifactError(f"{out} exists and is not a run.", "Choose another --out.")
    return None


def delete_unfinished(out: Path) -> None:
    """Delete what only an unfinished run needs; the checkpoint last, as it marks such a run."""
    shutil.rmtree(out / SCRATCH_NAME, ignore_errors=True)
    (out / CHECKPOINT_NAME).unlink(missing_ok=True)


def scratch_folder(out: Path, stage_key: str) -> Path:
    """Return the scratch folder of a run, and delete those of other stage keys."""
    folder = out / SCRATCH_NAME / stage_key[:16]
    if folder.parent.is_dir():
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
    return folder


def write_checkpoint(out: Path, plan: StagePlan[RunConfig], checkpoint: Checkpoint) -> None:
    """Write a checkpoint with the plan of its run.

    Args:
        out: The run's folder.
        plan: The run's inputs, settings and versions.
        checkpoint: State of the training.

    Raises:
        CxredgeError: The disk is full, or the folder cannot be written to.
    """
    # Plain values only, so that torch can load the file without unpickling code.
    values = {**vars(checkpoint), "history": [vars(epoch) for epoch in checkpoint.history]}
    room = writing(out, checkpoint.size_bytes, f"the checkpoint {CHECKPOINT_NAME}")
    with room, atomic_file(out / CHECKPOINT_NAME) as temporary, temporary.open("wb") as stream:
        text = json.dumps(to_json(plan))
        _save({**values, "stage_key": plan.stage_key, "plan": text}, stream)


def read_checkpoint(out: Path, plan: StagePlan[RunConfig]) -> Checkpoint | None:
    """Return the checkpoint in ``out``, or None if there is none.

    Raises:
        ArtifactError: The checkpoint is damaged, or belongs to a run with other inputs.
    """
    path = out / CHECKPOINT_NAME
    if not path.exists():
        return None
    try:
        values: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        matches = values.pop("stage_key", None) == plan.stage_key
        made = json.loads(values.pop("plan", "{}"))
        checkpoint = _checkpoint(values) if matches else None
    except Exception as error:
        # The unpickler raises many kinds of exceptions for a damaged file.
        cause = f"{type(error).__name__} {str(error).splitlines()[:1]}"
        raise ArtifactError(
            f"{path} is damaged: {cause}", f"Delete {out} and train again."
        ) from None
    if checkpoint is None:
        raise ArtifactError(
            f"{out} holds an unfinished run of other images, settings or versions"
            f"{_what_differs(made, plan)}.",
            "Choose another --out, or delete that folder.",
        )
    return checkpoint


def _save(values: dict[str, Any], stream: IO[bytes]) -> None:
    recorder: Any = _Recorder(stream)
    try:
        torch.save(values, recorder)
    except RuntimeError:
        if recorder.error is None:
            raise
    if recorder.error is not None:
        raise recorder.error


def _what_differs(made: object, plan: StagePlan[RunConfig]) -> str:
    """Return what differs between a run and the one that is wanted, after a colon."""
    if not isinstance(made, dict) or "config" not in made:
        return ""
    found = describe_differences(made, plan)
    return f": {found}" if found else ""


def _checkpoint(values: dict[str, Any]) -> Checkpoint:
    history = [Epoch(**epoch) for epoch in values.pop("history")]
    return Checkpoint(**values, history=history)
