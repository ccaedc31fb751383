"""Distillation: a network learns the answers of other networks beside the labels.

Teacher and student see the same augmented and mixed image, which teaches more than answers that
were computed once (Beyer et al., "Knowledge distillation: A good teacher is patient and
consistent", CVPR 2022; the idea is Hinton et al., "Distilling the Knowledge in a Neural Network",
2015).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from cxredge.artifacts.card import Artifact, ClassifierSpec, read_artifact
from cxredge.artifacts.run_card import RunCard
from cxredge.artifacts.training_images import read_training_images
from cxredge.data.loading import LabelledImages
from cxredge.data.manifest import Manifest
from cxredge.data.pseudonyms import PatientKey
from cxredge.data.seen_images import count_seen
from cxredge.errors import CxredgeError
from cxredge.models import build_model
from cxredge.training.batches import normalise
from cxredge.training.checkpoint import WEIGHTS_NAME
from cxredge.training.config import TrainConfig
from cxredge.vocabulary import Split

_REMEDY = "Train the teacher on this manifest."


def read_teacher(folder: str, classes: Sequence[str]) -> Artifact[RunCard]:
    """Read the run of a teacher.

    Raises:
        CxredgeError: The folder is not a finished run, or its classes are not the given ones.
    """
    run = read_artifact(Path(folder), RunCard)
    names = run.card.classifier.classes
    if names != tuple(classes):
        raise CxredgeError(
            f"The teacher {folder} has the classes {', '.join(names)}; the manifest has "
            f"{', '.join(classes)}.",
            _REMEDY,
        )
    return run


def require_unseen(
    folders: Sequence[str],
    manifest: Manifest,
    images: Mapping[Split, LabelledImages],
    key: PatientKey | None,
) -> None:
    """Check that no teacher was trained on images or patients that the student is measured on.

    Args:
        folders: Folders of the teachers' runs.
        manifest: The student's manifest.
        images: Its decoded images by split.
        key: Key of the patients' hashes; None if there is none.

    Raises:
        CxredgeError: A teacher was.
    """
    for folder in folders:
        listed = read_training_images(Path(folder), read_artifact(Path(folder), RunCard).card)
        if listed is None:
            raise CxredgeError(f"The teacher {folder} does not list its training images.", _REMEDY)
        for split in (Split.VAL, Split.TEST):
            seen = count_seen(listed, manifest, split, images[split].pixels, key)
            if seen.images or seen.patients:
                patients = "an unknown number" if seen.patients is None else seen.patients
                raise CxredgeError(
                    f"The teacher {folder} was trained on {seen.images} of the {split.value} "
                    f"images and on {patients} of their patients. "
                    "The student's accuracy is then too high.",
                    _REMEDY,
                )


@dataclass(frozen=True)
class _Member:
    network: nn.Module
    expects: ClassifierSpec

    def answer(self, grey: torch.Tensor) -> torch.Tensor:
        """Return float32 probabilities (n, classes) of grey images (n, 1, S, S) in [0, 1]."""
        spec, side = self.expects, self.expects.input_size
        if grey.shape[2] != side:
            grey = F.interpolate(grey, (side, side), mode="bilinear", antialias=True)
        logits: torch.Tensor = self.network(normalise(grey, spec.mean, spec.std))
        return logits.float().softmax(dim=1)


class Teacher:
    """Trained networks whose mean answer is part of the targets.

    Args:
        config: Training settings of the student, with the folders of the teachers' runs.
        device: Device of the student.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self._config = config
        self._members = [_load(Path(folder), device) for folder in config.teachers]

    @torch.no_grad()
    def blend(self, probabilities: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Return targets that are partly the teachers' mean answer.

        Args:
            probabilities: float32 (n, classes), targets of the labels.
            images: float32 (n, 3, S, S), the student's input of the same images.
        """
        share = self._config.teacher_share
        grey = images[:, :1].float() * self._config.std + self._config.mean
        answers = torch.stack([member.answer(grey) for member in self._members]).mean(dim=0)
        return probabilities * (1 - share) + answers * share


def _load(folder: Path, device: torch.device) -> _Member:
    spec = read_artifact(folder, RunCard).card.classifier
    network = build_model(spec.network, len(spec.classes), folder / WEIGHTS_NAME)
    network.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return _Member(network, spec)
