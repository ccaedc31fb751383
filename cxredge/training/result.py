"""What a finished training leaves behind: weights, facts, history and curves."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.card import Card, write_card, write_text
from cxredge.data.labelled import LabelledImages
from cxredge.data.manifest import Manifest, write_manifest
from cxredge.metrics import classification as metrics
from cxredge.models.networks import geometry
from cxredge.training.batches import predict_logits
from cxredge.training.checkpoint import CHECKPOINT_NAME, SCRATCH_NAME
from cxredge.training.fit import Trainer
from cxredge.training.history import draw_curves, history_csv
from cxredge.vocabulary import Split

WEIGHTS_NAME = "model.safetensors"
MANIFEST_NAME = "manifest.csv"


def run_facts(trainer: Trainer, images: Mapping[Split, LabelledImages]) -> dict[str, Any]:
    """Return what the run's card says of the training, its cost and its accuracy.

    Args:
        trainer: The finished training, with the weights to keep in the network.
        images: The images by split; the test images are judged here.
    """
    state, model = trainer.state, trainer.whole
    best = state.history[state.best_epoch - 1]
    test = images[Split.TEST]
    logits = predict_logits(model, test.pixels, trainer.config, trainer.fabric.device)
    counts = metrics.confusion(logits, test.labels)
    seconds = [epoch.seconds for epoch in state.history]
    features = trainer.source.facts()
    return {
        "trainable": sum(p.numel() for p in model.backbone.parameters() if p.requires_grad),
        "geometry": geometry(model),
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


def write_run(out: Path, manifest: Manifest, trainer: Trainer, card: Card) -> Card:
    """Write the run's files, then its card, and remove what only an unfinished run needs.

    Returns:
        The card with the hashes of the files.
    """
    weights = {k: v.detach().cpu().contiguous() for k, v in trainer.whole.state_dict().items()}
    note = {"cxredge": json.dumps({"network": card.classifier.network})}
    with atomic_file(out / WEIGHTS_NAME) as temporary:
        save_file(weights, temporary, metadata=note)
    write_manifest(out / MANIFEST_NAME, manifest.entries)
    write_text(out / "history.csv", history_csv(trainer.state.history))
    write_text(out / "curves.svg", draw_curves(trainer.state.history))
    # The checkpoint goes last, so that a crash in between leaves a run that can go on.
    finished = write_card(out, card, without=(CHECKPOINT_NAME, SCRATCH_NAME))
    shutil.rmtree(out / SCRATCH_NAME, ignore_errors=True)
    (out / CHECKPOINT_NAME).unlink(missing_ok=True)
    return finished
