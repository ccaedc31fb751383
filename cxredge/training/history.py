"""What happened epoch by epoch, as a table and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields

from cxredge import plots


@dataclass(frozen=True)
class Epoch:
    """One row of the history; losses are mean cross-entropy, accuracy is in [0, 1]."""

    epoch: int
    learning_rate: float
    train_loss: float
    val_loss: float
    val_accuracy: float
    seconds: float


def best_epoch(history: Sequence[Epoch]) -> int:
    """Return the number of the epoch to keep; 0 without any.

    The highest validation accuracy, as the paper kept; of equal ones the lowest validation loss.
    """
    if not history:
        return 0
    return max(history, key=lambda e: (e.val_accuracy, -e.val_loss)).epoch


def history_csv(history: Sequence[Epoch]) -> str:
    """Return the history as CSV text, one row an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: round(v, 6) if isinstance(v, float) else v for k, v in vars(epoch).items()}
        for epoch in history
    )
    return text.getvalue()


def draw_curves(history: Sequence[Epoch]) -> str:
    """Return training and validation loss and validation accuracy by epoch, as SVG."""
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
