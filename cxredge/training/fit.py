"""The training loop: a function of state, seed and epoch, so that it can be resumed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from cxredge.errors import CxredgeError
from cxredge.models.freeze import train_mode
from cxredge.models.networks import Classifier
from cxredge.training.batches import BatchSource, Inputs, Share, gather_batches
from cxredge.training.checkpoint import Checkpoint
from cxredge.training.config import TrainConfig
from cxredge.training.history import Epoch, best_epoch
from cxredge.training.mixing import draw_mixture
from cxredge.training.optimization import WeightAverage, build_optimizer, schedule
from cxredge.training.ranks import Ranks
from cxredge.training.shared_batch import SharedBatch
from cxredge.training.targets import Targets
from cxredge.training.teacher import Teacher

_DIVERGED = 10
"""Maximum mean loss of an epoch, as a multiple of the loss of guessing all classes equally."""


@dataclass
class FitState:
    """Progress of a training.

    Attributes:
        history: Finished epochs.
        best: Weights of the best epoch; those of frozen blocks may be missing.
    """

    history: list[Epoch] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch; 0 before the first."""
        return best_epoch(self.history)


class Trainer:
    """Trains one network on one or several devices.

    Args:
        model: The whole network, with its blocks frozen.
        config: Training settings.
        ranks: Processes of the training, with their device and precision.
        batch: The current batch, of which each process computes a slice.
        source: Trained part of the network, and its batches.
        targets: Targets of the training images.
        teacher: Networks whose answers are part of the targets; None without.
    """

    def __init__(
        self,
        model: Classifier,
        config: TrainConfig,
        ranks: Ranks,
        batch: SharedBatch,
        source: BatchSource,
        targets: Targets,
        teacher: Teacher | None = None,
    ) -> None:
        self.config = config
        self.ranks = ranks
        self.fabric = fabric = ranks.fabric
        self._batch = batch
        self.source = source
        self.whole = model
        self._targets = targets.to(fabric.device)
        self._teacher = teacher
        self._generator = torch.Generator()
        self._loader: Any = fabric.setup_dataloaders(
            _row_loader(len(source.train_labels), config.batch_size, self._generator),
            move_to_device=False,
            # Every process draws the whole batch and takes its slice.
            use_distributed_sampler=False,
        )
        self.model, self.optimizer = fabric.setup(source.network, build_optimizer(model, config))
        self._average = WeightAverage(source.network, config.average_decay)
        self.state = FitState()

    def fit(self, after_epoch: Callable[[Epoch], None], on_batch: Callable[[], None]) -> FitState:
        """Train until the number of epochs or the patience is reached.

        Args:
            after_epoch: Called with each finished epoch, after the best weights were updated.
            on_batch: Called after each step.

        Raises:
            CxredgeError: The training diverged.
        """
        while not self.finished:
            after_epoch(self.run_epoch(on_batch))
        return self.state

    def run_epoch(self, on_batch: Callable[[], None]) -> Epoch:
        """Train and validate one epoch, and keep its weights if it is the best so far.

        Raises:
            CxredgeError: The training diverged.
        """
        number = len(self.state.history) + 1
        self._seed(number)
        start = time.perf_counter()
        train_loss, rate = self._train_epoch(number, on_batch)
        val_loss, val_accuracy = self._validate()
        seconds = time.perf_counter() - start
        # The figures of the first process decide in all which epoch is best and when to stop.
        epoch = self.ranks.on_first(
            lambda: Epoch(number, rate, train_loss, val_loss, val_accuracy, seconds)
        )
        self._check_divergence(number, epoch.train_loss, epoch.val_loss)
        self.ranks.require_equal(list(self._average.model.state_dict().values()))
        self.state.history.append(epoch)
        if self.state.best_epoch == number:
            weights = self._average.model.state_dict()
            self.state.best = {k: v.detach().cpu().clone() for k, v in weights.items()}
        return epoch

    @property
    def steps(self) -> int:
        """Number of steps per epoch."""
        steps: int = len(self._loader)
        return steps

    @property
    def finished(self) -> bool:
        """Whether the number of epochs or the patience is reached."""
        done = len(self.state.history)
        waited = done - self.state.best_epoch
        return done >= self.config.epochs or (done > 0 and waited >= self.config.patience)

    def checkpoint(self) -> Checkpoint:
        """Return the state that :meth:`resume` restores."""
        return Checkpoint(
            model=self.source.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            average=self._average.model.state_dict(),
            steps=self._average.steps,
            best=self.state.best,
            history=list(self.state.history),
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Restore a state returned by :meth:`checkpoint`."""
        # The checkpoint of a split network lacks the frozen part, which never changes.
        self.whole.load_state_dict(checkpoint.model, strict=False)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self._average.model.load_state_dict(checkpoint.average)
        self._average.steps = checkpoint.steps
        self.state = FitState(list(checkpoint.history), checkpoint.best)

    def keep_best(self) -> None:
        """Load the weights of the best epoch into the whole network."""
        self.whole.load_state_dict(self.state.best, strict=False)

    def _seed(self, epoch: int) -> None:
        seed = self.config.seed * 100_003 + epoch
        torch.manual_seed(seed)
        self._generator.manual_seed(seed)

    def _train_epoch(self, number: int, on_batch: Callable[[], None]) -> tuple[float, float]:
        """Return the mean loss and the last learning rate of the head."""
        train_mode(self.model)
        total, count, rate = 0.0, 0, 0.0
        for step, rows in enumerate(self._loader):
            done = (number - 1 + step / len(self._loader)) / self.config.epochs
            rate = self._set_rate(done)
            inputs, targets = self._step(rows, number, step)
            logits = self.model(*inputs)
            loss = self._batch.loss(logits.float(), targets.probabilities, targets.weights)
            value = self._batch.mean_loss(loss)
            if not math.isfinite(value):
                raise self._diverged(number, f"a loss of {value} in a step")
            self.optimizer.zero_grad()
            self.fabric.backward(loss)
            self.optimizer.step()
            self._average.update(self.source.network)
            total += value * len(rows)
            count += len(rows)
            on_batch()
        return total / count, rate

    def _step(self, rows: torch.Tensor, number: int, step: int) -> tuple[Inputs, Targets]:
        """Return this process's inputs and their probabilities, and the weights of the batch."""
        batch = self._batch
        inputs = self.source.training(batch.take(rows), number)
        targets = self._targets.of(rows.to(self._targets.weights.device))
        if (mixture := draw_mixture(self.config, number, step, len(rows))) is not None:
            # A process that computes the whole batch has its partners already.
            partners = (
                tuple(one[mixture.partners] for one in inputs)
                if batch.is_whole
                else self.source.training(rows[mixture.partners][batch.own], number)
            )
            pairs = zip(inputs, partners, strict=True)
            inputs = tuple(mixture.images(own, other) for own, other in pairs)
            targets = mixture.targets(targets)
        probabilities = targets.probabilities[batch.own]
        if self._teacher is not None:
            probabilities = self._teacher.blend(probabilities, inputs[0])
        return inputs, Targets(probabilities, targets.weights)

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Return loss and accuracy of the averaged weights."""
        network = self._average.model.eval()
        labels = self.source.val_labels
        share = Share(self.ranks.rank, self.ranks.size)
        with self.fabric.autocast():
            batches = (network(*i).float().cpu() for i in self.source.validation(share))
            logits = gather_batches(self.ranks, batches)
        loss = F.cross_entropy(logits, labels)
        return loss.item(), int((logits.argmax(dim=1) == labels).sum()) / len(labels)

    def _check_divergence(self, number: int, train_loss: float, val_loss: float) -> None:
        if not math.isfinite(val_loss):
            raise self._diverged(number, f"a validation loss of {val_loss}")
        guessing = math.log(self._targets.probabilities.shape[1])
        if train_loss > _DIVERGED * guessing:
            found = f"a training loss of {train_loss:.4g}; guessing has {guessing:.3g}"
            raise self._diverged(number, found)

    def _diverged(self, number: int, found: str) -> CxredgeError:
        kept = f" The checkpoint of epoch {number - 1} is kept." if number > 1 else ""
        rates = f"--learning-rate {self.config.learning_rate:g}"
        return self.ranks.common(
            CxredgeError(
                f"The training diverged in epoch {number}: {found}.{kept}",
                f"Train with a lower rate than {rates}, into another --out.",
            )
        )

    def _set_rate(self, done: float) -> float:
        share = schedule(done, self.config.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        return self.config.learning_rate * share


def _row_loader(rows: int, batch_size: int, generator: torch.Generator) -> DataLoader[int]:
    """Return a loader of row numbers, int64 (batch,), shuffled every epoch."""
    numbers: Any = range(rows)
    return DataLoader(
        numbers,
        batch_size=min(batch_size, rows),
        shuffle=True,
        # A batch of one image has no batch statistics.
        drop_last=rows % batch_size == 1 and rows > 1,
        generator=generator,
    )
