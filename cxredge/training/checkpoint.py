"""The folder of an unfinished run: its checkpoint and its scratch files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.card import CARD_NAME, StagePlan, up_to_date
from cxredge.artifacts.folder import kind_of
from cxredge.artifacts.run_card import RunCard
from cxredge.artifacts.run_config import RunConfig
from cxredge.errors import ArtifactError
from cxredge.training.history import Epoch

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


def finished_run(out: Path, planned: StagePlan[RunConfig]) -> RunCard | None:
    """Return the card of a finished run of the same inputs in ``out``, or None if ``out`` is free.

    Raises:
        ArtifactError: ``out`` holds something else.
    """
    if not out.exists() or (out / CHECKPOINT_NAME).exists():
        return None
    if (out / CARD_NAME).exists():
        existing = up_to_date(out, planned, RunCard)
        if existing is None:
            kind = kind_of(out) or "folder"
            raise ArtifactError(
                f"{out} already holds a {kind} made from other images, settings or versions.",
                "Choose another --out, or delete that folder.",
            )
        return existing.card
    if not out.is_dir() or {path.name for path in out.iterdir()} - {SCRATCH_NAME}:
        raise ArtifactError(f"{out} exists and is not a run.", "Choose another --out.")
    return None


def scratch_folder(out: Path, stage_key: str) -> Path:
    """Return the scratch folder of a run, and delete those of other stage keys."""
    folder = out / SCRATCH_NAME / stage_key[:16]
    if folder.parent.is_dir():
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
    return folder


def write_checkpoint(out: Path, stage_key: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint with the stage key of its run.

    Args:
        out: The run's folder.
        stage_key: Hash of the run's inputs, settings and versions.
        checkpoint: State of the training.
    """
    # Plain values only, so that torch can load the file without unpickling code.
    values = {**vars(checkpoint), "history": [vars(epoch) for epoch in checkpoint.history]}
    with atomic_file(out / CHECKPOINT_NAME) as temporary:
        torch.save({**values, "stage_key": stage_key}, temporary)


def read_checkpoint(out: Path, stage_key: str) -> Checkpoint | None:
    """Return the checkpoint in ``out``, or None if there is none.

    Raises:
        ArtifactError: The checkpoint is damaged, or belongs to a run with other inputs.
    """
    path = out / CHECKPOINT_NAME
    if not path.exists():
        return None
    try:
        values: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        matches = values.pop("stage_key", None) == stage_key
        checkpoint = _checkpoint(values) if matches else None
    except Exception as error:
        # The unpickler raises many kinds of exceptions for a damaged file.
        cause = f"{type(error).__name__} {str(error).splitlines()[:1]}"
        raise ArtifactError(
            f"{path} is damaged: {cause}", f"Delete {out} and train again."
        ) from None
    if checkpoint is None:
        raise ArtifactError(
            f"{out} holds an unfinished run of other images, settings or versions.",
            "Choose another --out, or delete that folder.",
        )
    return checkpoint


def _checkpoint(values: dict[str, Any]) -> Checkpoint:
    history = [Epoch(**epoch) for epoch in values.pop("history")]
    return Checkpoint(**values, history=history)
