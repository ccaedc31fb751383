"""The result of a finished training: facts, weights, history and curves."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from safetensors.torch import save

from cxredge import plots
from cxredge.artifacts.atomic import atomic_file, write_text
from cxredge.artifacts.card import write_card
from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.records import UNSET
from cxredge.artifacts.run_card import (
    FreezeCandidate,
    HeldOutMetrics,
    RunCard,
    RunFacts,
    ValidationMetrics,
)
from cxredge.artifacts.training_images import TrainingImages, write_training_images
from cxredge.data.loading import LabelledImages
from cxredge.data.manifest import Manifest, write_manifest
from cxredge.metrics import classification as metrics
from cxredge.models.networks import geometry
from cxredge.training.batches import predict_logits
from cxredge.training.checkpoint import (
    CURVES_NAME,
    HISTORY_NAME,
    MANIFEST_NAME,
    RUN_FILES,
    WEIGHTS_NAME,
    delete_unfinished,
)
from cxredge.training.fit import Trainer
from cxredge.training.history import Epoch
from cxredge.vocabulary import Split


def run_facts(
    trainer: Trainer,
    images: Mapping[Split, LabelledImages],
    freeze: str,
    search: Sequence[FreezeCandidate] | None,
) -> RunFacts:
    """Evaluate the network on the test images and summarise its training.

    Args:
        trainer: The finished training, with the best weights in the network.
        images: Images by split.
        freeze: Freeze point of the training.
        search: Freeze points tried before; None without a search.
    """
    state, model = trainer.state, trainer.whole
    best = state.history[state.best_epoch - 1]
    seconds = [epoch.seconds for epoch in state.history]
    features = trainer.source.facts()
    return RunFacts(
        freeze=freeze,
        search=UNSET if search is None else tuple(search),
        trainable=sum(p.numel() for p in model.backbone.parameters() if p.requires_grad),
        geometry=geometry(model),
        best_epoch=state.best_epoch,
        epochs=len(state.history),
        seconds_per_epoch=round(statistics.median(seconds), 3),
        seconds=round(sum(seconds) + (features.seconds or 0.0), 3),
        features=features,
        validation=ValidationMetrics(best.val_accuracy, round(best.val_loss, 6)),
        test=_evaluate(trainer, images[Split.TEST]),
        images={split: len(part.labels) for split, part in images.items()},
    )


def history_csv(history: Sequence[Epoch]) -> str:
    """Return the history as CSV text, one row per epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: round(v, 6) if isinstance(v, float) else v for k, v in vars(epoch).items()}
        for epoch in history
    )
    return text.getvalue()


def draw_curves(history: Sequence[Epoch]) -> str:
    """Return training loss, validation loss and validation accuracy by epoch, as SVG."""
    x = [epoch.epoch for epoch in history]
    lines = [
        plots.Line("training loss", x, [epoch.train_loss for epoch in history]),
        plots.Line("validation loss", x, [epoch.val_loss for epoch in history]),
        plots.Line("validation accuracy", x, [epoch.val_accuracy for epoch in history]),
    ]
    top = max(1.0, *(value for line in lines for value in line.y))
    return plots.line_chart(
        "Training", plots.Axis("epoch", 1, max(2, x[-1])), plots.Axis("", 0, top), lines
    )


def write_run(
    out: Path, manifest: Manifest, trainer: Trainer, card: RunCard, seen: TrainingImages
) -> RunCard:
    """Write the run's files and its card, and delete the files of the unfinished run.

    Returns:
        The card with the hashes of the files.
    """
    weights = {k: v.detach().cpu().contiguous() for k, v in trainer.whole.state_dict().items()}
    note = {"cxredge": json.dumps({"network": card.classifier.network})}
    content = save(weights, note)
    with writing(out, len(content), WEIGHTS_NAME), atomic_file(out / WEIGHTS_NAME) as temporary:
        temporary.write_bytes(content)
    write_manifest(out / MANIFEST_NAME, manifest.entries)
    write_training_images(out, seen)
    write_text(out / HISTORY_NAME, history_csv(trainer.state.history))
    write_text(out / CURVES_NAME, draw_curves(trainer.state.history))
    # The checkpoint is deleted last, so that a run can be resumed after a crash in between.
    others = {path.name for path in out.iterdir()} - RUN_FILES
    finished = write_card(out, card, without=others)
    delete_unfinished(out)
    return finished


def _evaluate(trainer: Trainer, test: LabelledImages) -> HeldOutMetrics:
    logits = predict_logits(trainer.whole, test.pixels, trainer.config, trainer.ranks)
    counts = metrics.confusion(logits, test.labels)
    return HeldOutMetrics(
        accuracy=metrics.accuracy(logits, test.labels),
        ci95=metrics.wilson(int(np.trace(counts)), len(test.labels)),
        macro_f1=metrics.macro_f1(logits, test.labels),
        confusion=tuple(tuple(row) for row in counts.tolist()),
    )
