"""The training loop: a pure function of state, seed and epoch, so that it can be resumed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch.utils.data import DataLoader

from cxredge.errors import CxredgeError
from cxredge.models.freeze import train_mode
from cxredge.models.networks import Classifier
from cxredge.training.average import WeightAverage
from cxredge.training.config import TrainConfig
from cxredge.training.history import Epoch, best_epoch
from cxredge.training.sources import Source


@dataclass
class FitState:
    """How far a training has come.

    Attributes:
        history: The epochs so far.
        best: Weights of the epoch to keep so far; those of frozen blocks may be left out.
    """

    history: list[Epoch] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def best_epoch(self) -> int:
        """The number of the epoch to keep; 0 before the first."""
        return best_epoch(self.history)


class Trainer:
    """Trains one network on one machine or several devices.

    Args:
        model: The whole network, frozen as wanted.
        config: The settings.
        fabric: Carries device, precision and data parallelism.
        source: What to train, which may be a part of the network, and on what.
    """

    def __init__(
        self, model: Classifier, config: TrainConfig, fabric: Fabric, source: Source
    ) -> None:
        self.config = config
        self.fabric = fabric
        self.source = source
        self.whole = model
        self._labels = source.train_labels.to(fabric.device)
        self._class_weights = _class_weights(source.train_labels, config, fabric)
        self._generator = torch.Generator()
        self._loader: Any = fabric.setup_dataloaders(
            _row_loader(len(source.train_labels), config.batch_size, self._generator),
            move_to_device=False,
        )
        self.model, self.optimizer = fabric.setup(source.network, _optimizer(model, config))
        self._average = WeightAverage(source.network, config.average_decay)
        self.state = FitState()

    def fit(self, after_epoch: Callable[[Epoch], None], on_batch: Callable[[], None]) -> FitState:
        """Train until the epochs or the patience are used up.

        Args:
            after_epoch: Called with each finished epoch, best weights already updated.
            on_batch: Called after each step.

        Raises:
            CxredgeError: The loss is no longer a number.
        """
        while not self.finished:
            after_epoch(self.run_epoch(on_batch))
        return self.state

    def run_epoch(self, on_batch: Callable[[], None]) -> Epoch:
        """Train and validate one more epoch, and keep its weights if they are the best so far.

        Raises:
            CxredgeError: The loss is no longer a number.
        """
        number = len(self.state.history) + 1
        self._seed(number)
        start = time.perf_counter()
        train_loss, rate = self._train_epoch(number, on_batch)
        val_loss, val_accuracy = self._validate()
        seconds = time.perf_counter() - start
        epoch = Epoch(number, rate, train_loss, val_loss, val_accuracy, seconds)
        self.state.history.append(epoch)
        if self.state.best_epoch == number:
            weights = self._average.model.state_dict()
            self.state.best = {k: v.detach().cpu().clone() for k, v in weights.items()}
        return epoch

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        steps: int = len(self._loader)
        return steps

    @property
    def finished(self) -> bool:
        """Whether the epochs or the patience are used up."""
        done = len(self.state.history)
        waited = done - self.state.best_epoch
        return done >= self.config.epochs or (done > 0 and waited >= self.config.patience)

    def checkpoint(self) -> dict[str, Any]:
        """Return tensors and plain values that :meth:`resume` goes on from."""
        return {
            "model": self.source.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self._average.model.state_dict(),
            "steps": self._average.steps,
            "best": self.state.best,
            "history": [vars(epoch) for epoch in self.state.history],
        }

    def resume(self, checkpoint: dict[str, Any]) -> None:
        """Take up what :meth:`checkpoint` returned."""
        # Of a network in two parts, the frozen one is as it was built.
        self.whole.load_state_dict(checkpoint["model"], strict=False)
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self._average.model.load_state_dict(checkpoint["average"])
        self._average.steps = checkpoint["steps"]
        history = [Epoch(**epoch) for epoch in checkpoint["history"]]
        self.state = FitState(history, checkpoint["best"])

    def keep_best(self) -> None:
        """Put the weights of the best epoch into the whole network."""
        self.whole.load_state_dict(self.state.best, strict=False)

    def _seed(self, epoch: int) -> None:
        seed = self.config.seed * 100_003 + epoch
        torch.manual_seed(seed)
        self._generator.manual_seed(seed)
        set_epoch = getattr(self._loader.sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)

    def _train_epoch(self, number: int, on_batch: Callable[[], None]) -> tuple[float, float]:
        train_mode(self.model)
        total, count, rate = 0.0, 0, 0.0
        for step, rows in enumerate(self._loader):
            done = (number - 1 + step / len(self._loader)) / self.config.epochs
            rate = self._set_rate(done)
            labels = self._labels[rows.to(self._labels.device)]
            logits = self.model(*self.source.training(rows, number))
            loss = F.cross_entropy(
                logits.float(),
                labels,
                weight=self._class_weights,
                label_smoothing=self.config.label_smoothing,
            )
            if not torch.isfinite(loss):
                raise CxredgeError(
                    f"The training loss became {loss.item()} in epoch {number}.",
                    "Lower --learning-rate.",
                )
            self.optimizer.zero_grad()
            self.fabric.backward(loss)
            self.optimizer.step()
            self._average.update(self.source.network)
            total += loss.item() * len(labels)
            count += len(labels)
            on_batch()
        return total / count, rate

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        network = self._average.model.eval()
        labels = self.source.val_labels
        with self.fabric.autocast():
            logits = torch.cat([network(*i).float().cpu() for i in self.source.validation()])
        loss = F.cross_entropy(logits, labels)
        return loss.item(), int((logits.argmax(dim=1) == labels).sum()) / len(labels)

    def _set_rate(self, done: float) -> float:
        share = schedule(done, self.config.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        return self.config.learning_rate * share


def schedule(done: float, epochs: int) -> float:
    """Return the share of the peak learning rate: one epoch of warm-up, then half a cosine.

    Args:
        done: Share of all epochs that is done, in [0, 1).
        epochs: Number of epochs.
    """
    warm_up = min(1.0 / epochs, 0.2)
    if done < warm_up:
        return 0.1 + 0.9 * done / warm_up
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def _row_loader(rows: int, batch_size: int, generator: torch.Generator) -> DataLoader[int]:
    """Return a loader of row numbers, int64 (batch,), in a new order every epoch."""
    numbers: Any = range(rows)
    return DataLoader(
        numbers,
        batch_size=min(batch_size, rows),
        shuffle=True,
        # One image alone has no batch statistics.
        drop_last=rows % batch_size == 1 and rows > 1,
        generator=generator,
    )


def _optimizer(model: Classifier, config: TrainConfig) -> torch.optim.Optimizer:
    groups = []
    for module, share in ((model.backbone, config.backbone_rate), (model.head, 1.0)):
        trained = [p for p in module.parameters() if p.requires_grad]
        peak = config.learning_rate * share
        # Scales and shifts are not decayed: batch norm and biases have one dimension.
        for decay, wanted in ((config.weight_decay, True), (0.0, False)):
            chosen = [p for p in trained if (p.ndim > 1) is wanted]
            if chosen:
                groups.append({"params": chosen, "lr": peak, "peak": peak, "weight_decay": decay})
    # One kernel instead of eight a tensor: a tenth of an epoch on cached features.
    return torch.optim.AdamW(groups, fused=True)


def _class_weights(
    labels: torch.Tensor, config: TrainConfig, fabric: Fabric
) -> torch.Tensor | None:
    if not config.balance:
        return None
    counts = torch.bincount(labels)
    weights = len(labels) / (len(counts) * counts.clamp_min(1))
    return weights.float().to(fabric.device)
