"""What an interrupted training leaves behind and takes up again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.card import CARD_NAME, Card, read_card, up_to_date
from cxredge.errors import ArtifactError

CHECKPOINT_NAME = "checkpoint.pt"
SCRATCH_NAME = ".cxredge-scratch"
"""Folder inside an unfinished run: cached features, trials of a search."""


def finished_run(out: Path, planned: Card) -> Card | None:
    """Return the card of a finished run of the same inputs in ``out``, or None if it is free.

    Raises:
        ArtifactError: ``out`` holds something else.
    """
    if not out.exists() or (out / CHECKPOINT_NAME).exists():
        return None
    if (out / CARD_NAME).exists():
        existing = up_to_date(out, planned)
        if existing is None:
            kind = read_card(out).kind.value
            raise ArtifactError(
                f"{out} already holds a {kind} made from other images, settings or versions.",
                "Choose another --out, or delete that folder.",
            )
        return existing
    if not out.is_dir() or {path.name for path in out.iterdir()} - {SCRATCH_NAME}:
        raise ArtifactError(f"{out} is neither free nor a run.", "Choose another --out.")
    return None


def scratch_folder(out: Path, stage_key: str) -> Path:
    """Return the run's folder for what it needs until it is finished; that of others is removed."""
    folder = out / SCRATCH_NAME / stage_key[:16]
    if folder.parent.is_dir():
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
    return folder


def write_checkpoint(out: Path, stage_key: str, state: dict[str, Any]) -> None:
    """Write tensors and plain values, bound to the inputs of the run by its stage key."""
    with atomic_file(out / CHECKPOINT_NAME) as temporary:
        torch.save({**state, "stage_key": stage_key}, temporary)


def read_checkpoint(out: Path, stage_key: str) -> dict[str, Any] | None:
    """Return what an interrupted run left in ``out``, or None.

    Raises:
        ArtifactError: It is damaged or of other inputs.
    """
    path = out / CHECKPOINT_NAME
    if not path.exists():
        return None
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A damaged file makes the unpickler fail in many ways.
        cause = f"{type(error).__name__} {str(error).splitlines()[:1]}"
        raise ArtifactError(
            f"{path} is damaged: {cause}", f"Delete {out} and train again."
        ) from None
    if checkpoint.get("stage_key") != stage_key:
        raise ArtifactError(
            f"{out} holds an unfinished run of other images, settings or versions.",
            "Choose another --out, or delete that folder.",
        )
    return checkpoint
