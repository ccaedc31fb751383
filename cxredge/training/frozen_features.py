"""Cached features of frozen blocks.

Frozen blocks return the same features for the same view of an image in every epoch. They run once
per view here; every epoch trains the other blocks on the cached features.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from cxredge.artifacts.run_card import FeatureFacts
from cxredge.models.networks import Classifier
from cxredge.models.split import CannotSplitError, Parts, split_network
from cxredge.progress import Progress
from cxredge.training.augment import view_of
from cxredge.training.batches import (
    EVALUATION_BATCH,
    WHOLE,
    BatchSource,
    Inputs,
    LiveImages,
    Share,
)
from cxredge.training.feature_file import DTYPES, CannotStoreError, FeatureLayout, write_features
from cxredge.training.ranks import Ranks
from cxredge.vocabulary import Augmentation, FeatureCache

_GB = 1e9
_SPARE_BYTES = 1_000_000_000
_VALIDATION = "validation"


def choose_source(
    model: Classifier,
    images: LiveImages,
    ranks: Ranks,
    folder: Path,
    limit_gb: float,
    progress: Progress,
) -> BatchSource:
    """Return cached features if blocks are frozen and their features fit, otherwise the images.

    A note states the reason if the features of frozen blocks cannot be cached.

    Args:
        model: The network, with its blocks frozen.
        images: Batch source of the whole network.
        ranks: Processes of the training, with their device and precision.
        folder: Folder for features; used for these images, settings and weights only.
        limit_gb: Maximum size of the features, in gigabytes (1e9 bytes).
        progress: Progress listener.
    """
    if images.config.features is FeatureCache.OFF:
        return images
    try:
        parts = split_network(model)
        if parts is None:
            return images
        cached = CachedFeatures(parts, images, ranks, folder)
        ranks.on_first(lambda: cached.check_room(limit_gb))
        cached.compute(progress)
    except (CannotSplitError, CannotStoreError) as error:
        if ranks.is_first:
            shutil.rmtree(folder, ignore_errors=True)
        hint = f" {error.hint}" if error.hint else ""
        progress.note(f"Frozen blocks are computed again at every step: {error.message}{hint}")
        return images
    return cached


class CachedFeatures:
    """Batch source that reads the frozen part's output for every view from files.

    Args:
        parts: The network in two parts.
        images: Inputs of the frozen part.
        fabric: Device and precision.
        ranks: Processes of the training, with their device and precision.
        folder: Folder of the files; complete files of an interrupted run are reused.

    Raises:
        CannotSplitError: The frozen part returns something other than one row per image.
        CannotStoreError: Every epoch draws new views, images are mixed, or there is a teacher.
    """

    def __init__(self, parts: Parts, images: LiveImages, ranks: Ranks, folder: Path) -> None:
        config = images.config
        varied = config.augmentation is not Augmentation.NONE
        if varied and not config.views:
            raise CannotStoreError(
                "every epoch draws new views.", "--views N uses N views of each image in turn."
            )
        if config.is_mixing or config.teachers:
            raise CannotStoreError(
                "mixing and teachers need the whole image at every step.",
                "Leave out --features, or --mixup, --cutmix and --teacher.",
            )
        self.network: torch.nn.Module = parts.trained
        self.train_labels, self.val_labels = images.train_labels, images.val_labels
        self.seconds = 0.0
        self._views = min(config.views, config.epochs) if varied else 1
        self._frozen = parts.frozen.to(ranks.fabric.device).eval()
        self._images, self._ranks, self._folder = images, ranks, folder
        self._layouts = self._probe()
        self._mapped: dict[Path, torch.Tensor] = {}

    @property
    def total_bytes(self) -> int:
        """Size on disk of the features of all training views and validation images."""
        rows = self._views * len(self.train_labels) + len(self.val_labels)
        return rows * sum(layout.row_bytes for layout in self._layouts)

    def check_room(self, limit_gb: float) -> None:
        """Check that the features fit the limit and the free disk space.

        Raises:
            CannotStoreError: They do not.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        existing = sum(path.stat().st_size for path in self._folder.glob("*.features"))
        free = shutil.disk_usage(self._folder).free + existing - _SPARE_BYTES
        size = f"the features of {self._views} views need {self.total_bytes / _GB:.1f} GB"
        hint = "Use fewer --views or a later --freeze."
        if self.total_bytes > limit_gb * _GB:
            raise CannotStoreError(f"{size}, more than --cache-limit-gb {limit_gb:g} allows.", hint)
        if self.total_bytes > free:
            raise CannotStoreError(f"{size}, and the disk has {free / _GB:.1f} GB free.", hint)

    def compute(self, progress: Progress) -> None:
        """Compute and write the missing features; each process those of its share of the views.

        Raises:
            CannotStoreError: The disk is full, features are too large for the number format, or a
                process does not see those of the others.
        """
        start = time.perf_counter()
        missing = self._ranks.on_first(self._missing)
        shares = [missing[rank :: self._ranks.size] for rank in range(self._ranks.size)]
        with progress.task("Computing frozen features", self._total(shares[0])) as advance:
            left = max(map(self._count_batches, shares))
            error = None

            def step(count: int) -> None:
                nonlocal left
                left -= 1
                advance(count)
                # Nobody waits longer for the others than for a batch.
                self._ranks.barrier()

            try:
                for name in shares[self._ranks.rank]:
                    write_features(self._paths(name), self._layouts, self._run(name), step)
            except CannotStoreError as caught:
                error = caught
            for _ in range(left):
                self._ranks.barrier()
        self._ranks.agree(error)
        self._require_all()
        self.seconds = time.perf_counter() - start

    def training(self, rows: torch.Tensor, epoch: int) -> Inputs:
        """Return float32 features (n, ...) of this epoch's views; see :class:`BatchSource`."""
        return self._read(_view_name(view_of(epoch, self._views)), rows)

    def validation(self, share: Share = WHOLE) -> Iterator[Inputs]:
        """Yield float32 features (n, ...); see :class:`BatchSource`."""
        for rows in _batches(len(self.val_labels))[share.first :: share.step]:
            yield self._read(_VALIDATION, rows)

    def facts(self) -> FeatureFacts:
        """Return the size, format and computing time of the cached features."""
        return FeatureFacts(
            cached=True,
            precision=self._images.config.features,
            views=self._views,
            shapes=tuple(layout.shape for layout in self._layouts),
            bytes=self.total_bytes,
            seconds=round(self.seconds, 3),
        )

    @torch.no_grad()
    def _probe(self) -> list[FeatureLayout]:
        """Return the layouts of the frozen part's output, found by running it on two images."""
        outputs = self._frozen(*self._images.training(torch.tensor([0, 0]), 1))
        if not all(torch.is_tensor(t) and t.ndim > 1 and len(t) == 2 for t in outputs):
            raise CannotSplitError("the frozen part does not return one row per image.")
        dtype = DTYPES[self._images.config.features]
        return [FeatureLayout(tuple(t.shape[1:]), dtype) for t in outputs]

    @torch.no_grad()
    def _run(self, name: str) -> Iterator[Inputs]:
        """Yield the frozen part's output for all images of a view, in order."""
        for inputs in self._inputs(name):
            with self._ranks.fabric.autocast():
                yield self._frozen(*inputs)

    def _inputs(self, name: str) -> Iterator[Inputs]:
        if name == _VALIDATION:
            yield from self._images.validation()
            return
        epoch = 1 + self._names().index(name)
        for rows in _batches(len(self.train_labels)):
            yield self._images.training(rows, epoch)

    def _read(self, name: str, rows: torch.Tensor) -> Inputs:
        device = self._ranks.fabric.device
        tensors = []
        for path, layout in zip(self._paths(name), self._layouts, strict=True):
            if path not in self._mapped:
                self._mapped[path] = layout.map(path, self._rows(name))
            # Indexing copies, so that in-place layers cannot change the mapped file.
            tensors.append(layout.unpack(self._mapped[path][rows].to(device)))
        return tuple(tensors)

    def _require_all(self) -> None:
        """Check that every process sees the features that the others wrote."""
        unseen = self._ranks.together(self._missing)
        for rank, names in enumerate(unseen):
            if names:
                raise self._ranks.common(
                    CannotStoreError(
                        f"process {rank} does not see {self._paths(names[0])[0].name}, which "
                        "another one wrote.",
                        "Put --out on a file system that all nodes share.",
                    )
                )

    def _missing(self) -> list[str]:
        return [name for name in self._names() if not self._complete(name)]

    def _total(self, names: list[str]) -> int:
        return sum(map(self._rows, names))

    def _count_batches(self, names: list[str]) -> int:
        return sum(len(_batches(self._rows(name))) for name in names)

    def _names(self) -> list[str]:
        return [*map(_view_name, range(self._views)), _VALIDATION]

    def _rows(self, name: str) -> int:
        return len(self.val_labels if name == _VALIDATION else self.train_labels)

    def _paths(self, name: str) -> list[Path]:
        count = len(self._layouts)
        return [self._folder / f"{name}-{number}.features" for number in range(count)]

    def _complete(self, name: str) -> bool:
        return all(
            path.is_file() and path.stat().st_size == self._rows(name) * layout.row_bytes
            for path, layout in zip(self._paths(name), self._layouts, strict=True)
        )


def _batches(rows: int) -> tuple[torch.Tensor, ...]:
    return torch.split(torch.arange(rows), EVALUATION_BATCH)


def _view_name(view: int) -> str:
    return f"view{view}"
