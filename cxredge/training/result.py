"""What a finished training leaves behind: weights, facts, history and curves."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from cxredge import metrics
from cxredge.artifacts import Card, atomic_file, write_card, write_text
from cxredge.data.labelled import LabelledImages
from cxredge.data.manifest import Manifest, write_manifest
from cxredge.training.batches import predict_logits
from cxredge.training.checkpoint import CHECKPOINT_NAME, SCRATCH_NAME
from cxredge.training.config import TrainConfig
from cxredge.training.fit import FitState
from cxredge.training.history import draw_curves, history_csv
from cxredge.training.sources import Source
from cxredge.vocabulary import Split

WEIGHTS_NAME = "model.safetensors"
MANIFEST_NAME = "manifest.csv"


def run_facts(
    state: FitState,
    source: Source,
    model: torch.nn.Module,
    config: TrainConfig,
    images: Mapping[Split, LabelledImages],
) -> dict[str, Any]:
    """Return what the run's card says of the training, its cost and its accuracy.

    Args:
        state: The finished training.
        source: What it was fed.
        model: The whole network with the weights to keep.
        config: The settings.
        images: The images by split; the test images are judged here.
    """
    best = state.history[state.best_epoch - 1]
    test = images[Split.TEST]
    device = next(model.parameters()).device
    logits = predict_logits(model, test.pixels, config, device)
    counts = metrics.confusion(logits, test.labels)
    seconds = [epoch.seconds for epoch in state.history]
    features = source.facts()
    return {
        "best_epoch": state.best_epoch,
        "epochs": len(state.history),
        "seconds_per_epoch": round(statistics.median(seconds), 3),
        "seconds": round(sum(seconds) + features.get("seconds", 0.0), 3),
        "features": features,
        "validation": {"accuracy": best.val_accuracy, "loss": round(best.val_loss, 6)},
        "test": {
            "accuracy": metrics.accuracy(logits, test.labels),
            "ci95": list(metrics.wilson(int(np.trace(counts)), len(test.labels))),
            "macro_f1": metrics.macro_f1(logits, test.labels),
            "confusion": counts.tolist(),
        },
        "images": {split.value: len(part.labels) for split, part in images.items()},
    }


def write_run(
    out: Path, manifest: Manifest, model: torch.nn.Module, state: FitState, card: Card
) -> Card:
    """Write the run's files, then its card, and remove what only an unfinished run needs.

    Returns:
        The card with the hashes of the files.
    """
    weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    note = {"cxredge": json.dumps({"network": card.classifier.network})}
    with atomic_file(out / WEIGHTS_NAME) as temporary:
        save_file(weights, temporary, metadata=note)
    write_manifest(out / MANIFEST_NAME, manifest.entries)
    write_text(out / "history.csv", history_csv(state.history))
    write_text(out / "curves.svg", draw_curves(state.history))
    # The checkpoint goes last, so that a crash in between leaves a run that can go on.
    finished = write_card(out, card, without=(CHECKPOINT_NAME, SCRATCH_NAME))
    shutil.rmtree(out / SCRATCH_NAME, ignore_errors=True)
    (out / CHECKPOINT_NAME).unlink(missing_ok=True)
    return finished
