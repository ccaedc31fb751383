"""The training loop: a pure function of state, seed and epoch, so that it can be resumed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch.utils.data import DataLoader, TensorDataset

from cxredge import metrics
from cxredge.data.images import GreyImage
from cxredge.data.labelled import LabelledImages
from cxredge.errors import CxredgeError
from cxredge.models.freeze import train_mode
from cxredge.models.networks import Classifier
from cxredge.training.augment import augment
from cxredge.training.average import WeightAverage
from cxredge.training.config import TrainConfig
from cxredge.training.history import Epoch, best_epoch
from cxredge.vocabulary import Augmentation

_EVALUATION_BATCH = 64


@dataclass
class FitState:
    """How far a training has come; ``best`` are the weights of the epoch to keep so far."""

    history: list[Epoch] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def best_epoch(self) -> int:
        """The number of the epoch to keep; 0 before the first."""
        return best_epoch(self.history)


def scale_pixels(images: torch.Tensor) -> torch.Tensor:
    """Turn uint8 (N, H, W) into float32 (N, 1, H, W) in [0, 1]."""
    return images.unsqueeze(1).float() / 255


def normalise(images: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """Standardise grey (N, 1, H, W) in [0, 1] and repeat it to (N, 3, H, W), channels last."""
    colour = ((images - mean) / std).expand(-1, 3, -1, -1)
    # Convolutions of these networks run 1.2 to 2.5 times as fast on a CPU with channels last.
    return colour.contiguous(memory_format=torch.channels_last)


class Trainer:
    """Trains one network on one machine or several devices.

    Args:
        model: The network, frozen as wanted.
        config: The settings.
        fabric: Carries device, precision and data parallelism.
        train: Training images.
        val: Validation images.
    """

    def __init__(
        self,
        model: Classifier,
        config: TrainConfig,
        fabric: Fabric,
        train: LabelledImages,
        val: LabelledImages,
    ) -> None:
        self.config = config
        self.fabric = fabric
        self.val = val
        self._class_weights = _class_weights(train.labels, config, fabric)
        data = TensorDataset(torch.from_numpy(train.pixels), torch.from_numpy(train.labels))
        self._generator = torch.Generator()
        self._loader: Any = fabric.setup_dataloaders(
            DataLoader(
                data,
                batch_size=min(config.batch_size, len(data)),
                shuffle=True,
                # One image alone has no batch statistics.
                drop_last=len(data) % config.batch_size == 1 and len(data) > 1,
                generator=self._generator,
            )
        )
        model.to(memory_format=torch.channels_last)
        self.model, self.optimizer = fabric.setup(model, _optimizer(model, config))
        self._average = WeightAverage(self.model.module, config.average_decay)
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
            number = len(self.state.history) + 1
            self._seed(number)
            start = time.perf_counter()
            train_loss, rate = self._train_epoch(number, on_batch)
            val_loss, val_accuracy = self._validate()
            epoch = Epoch(
                number, rate, train_loss, val_loss, val_accuracy, time.perf_counter() - start
            )
            self.state.history.append(epoch)
            if self.state.best_epoch == number:
                weights = self._average.model.state_dict()
                self.state.best = {k: v.detach().cpu().clone() for k, v in weights.items()}
            after_epoch(epoch)
        return self.state

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
            "model": self.model.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self._average.model.state_dict(),
            "steps": self._average.steps,
            "best": self.state.best,
            "history": [vars(epoch) for epoch in self.state.history],
        }

    def resume(self, checkpoint: dict[str, Any]) -> None:
        """Take up what :meth:`checkpoint` returned."""
        self.model.module.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self._average.model.load_state_dict(checkpoint["average"])
        self._average.steps = checkpoint["steps"]
        history = [Epoch(**epoch) for epoch in checkpoint["history"]]
        self.state = FitState(history, checkpoint["best"])

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
        for step, (pixels, labels) in enumerate(self._loader):
            done = (number - 1 + step / len(self._loader)) / self.config.epochs
            rate = self._set_rate(done)
            images = scale_pixels(pixels)
            if self.config.augmentation is Augmentation.LIGHT:
                images = augment(images, torch.default_generator)
            logits = self.model(normalise(images, self.config.mean, self.config.std))
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
            self._average.update(self.model.module)
            total += loss.item() * len(labels)
            count += len(labels)
            on_batch()
        return total / count, rate

    def _validate(self) -> tuple[float, float]:
        logits = predict_logits(
            self._average.model, self.val.pixels, self.config, self.fabric.device
        )
        loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(self.val.labels))
        return loss.item(), float(np.mean(logits.argmax(axis=1) == self.val.labels))

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


@torch.no_grad()
def predict_logits(
    model: torch.nn.Module, pixels: GreyImage, config: TrainConfig, device: torch.device
) -> metrics.Floats:
    """Return float32 logits (N, classes) of uint8 images (N, S, S) in inference mode."""
    model.eval()
    logits = [
        model(normalise(batch, config.mean, config.std)).float().cpu()
        for batch in grey_batches(pixels, device)
    ]
    return torch.cat(logits).numpy()


def grey_batches(pixels: GreyImage, device: torch.device) -> Iterator[torch.Tensor]:
    """Yield float32 batches (n, 1, S, S) in [0, 1] of uint8 images (N, S, S), in order."""
    for start in range(0, len(pixels), _EVALUATION_BATCH):
        batch = torch.from_numpy(pixels[start : start + _EVALUATION_BATCH])
        yield scale_pixels(batch.to(device))


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
    return torch.optim.AdamW(groups)


def _class_weights(
    labels: metrics.Ints, config: TrainConfig, fabric: Fabric
) -> torch.Tensor | None:
    if not config.balance:
        return None
    counts = np.bincount(labels)
    weights = len(labels) / (len(counts) * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32, device=fabric.device)
