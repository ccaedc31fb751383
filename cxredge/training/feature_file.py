"""Feature maps on disk: one memory-mapped file per tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from cxredge.artifacts.atomic import atomic_file
from cxredge.errors import CxredgeError
from cxredge.vocabulary import FeatureCache

DTYPES = {
    FeatureCache.FP16: torch.float16,
    FeatureCache.BF16: torch.bfloat16,
    FeatureCache.FP32: torch.float32,
}


class CannotStoreError(CxredgeError):
    """Features cannot be cached on disk; the network can still be trained end to end."""


@dataclass(frozen=True)
class FeatureLayout:
    """Layout of a feature file: one row per image, channels last, no header.

    Attributes:
        shape: Shape of one image's tensor in the network, such as (C, H, W) or (F,).
        dtype: Number format on disk.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def row_bytes(self) -> int:
        """Number of bytes per image."""
        return math.prod(self.shape) * self.dtype.itemsize

    def pack(self, batch: torch.Tensor) -> bytes:
        """Convert a batch (n, ...) to bytes.

        Raises:
            CannotStoreError: A value is too large for the number format.
        """
        stored = batch.detach().to(self.dtype)
        if not torch.isfinite(stored).all():
            raise CannotStoreError(f"Features exceed the range of {self.dtype}.")
        rows = stored.movedim(1, -1).contiguous().cpu()
        return rows.view(torch.uint8).numpy().tobytes()

    def map(self, path: Path, rows: int) -> torch.Tensor:
        """Map a file into memory and return it as a tensor (rows, ..., C)."""
        size = rows * math.prod(self.shape)
        flat = torch.from_file(str(path), shared=False, size=size, dtype=self.dtype)
        return flat.view(rows, *self.shape[1:], self.shape[0])

    def unpack(self, rows: torch.Tensor) -> torch.Tensor:
        """Return mapped rows as float32 (n, ...), in channels-last memory."""
        return rows.movedim(-1, 1).float()


def write_features(
    paths: Sequence[Path],
    layouts: Sequence[FeatureLayout],
    batches: Iterable[Sequence[torch.Tensor]],
    advance: Callable[[int], None],
) -> None:
    """Write one file per tensor, rows in order; each file is written completely or not at all.

    Args:
        paths: The files.
        layouts: Layout of each file.
        batches: Batches of tensors (n, ...), one tensor per file.
        advance: Called with the number of images written.

    Raises:
        CannotStoreError: The disk is full, or a value is too large for the number format.
    """
    try:
        with ExitStack() as stack:
            temporary = [stack.enter_context(atomic_file(path)) for path in paths]
            streams = [stack.enter_context(path.open("wb")) for path in temporary]
            for tensors in batches:
                for stream, layout, tensor in zip(streams, layouts, tensors, strict=True):
                    stream.write(layout.pack(tensor))
                advance(len(tensors[0]))
    except OSError as error:
        raise CannotStoreError(f"Features cannot be written: {error.strerror or error}.") from None
