"""A session of known latency: the first pixel of an image is its latency in milliseconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

from cxredge.backends.base import Outputs, Session, SessionSpec
from cxredge.data.images import GreyImage

SIZE = 64


def images_of(milliseconds: Sequence[int]) -> list[GreyImage]:
    return [np.full((SIZE, SIZE), ms, np.uint8) for ms in milliseconds]


class FakeSession(Session):
    """Sleeps for the largest latency in a batch; records batch sizes and calling threads."""

    def __init__(
        self,
        fails_at: int | None = None,
        error: BaseException | None = None,
        concurrent: bool = False,
    ) -> None:
        self.spec = SessionSpec(SIZE, 4, "fake", threads=2, concurrent=concurrent)
        self.batches: list[int] = []
        self.threads: set[int] = set()
        self._fails_at, self._error = fails_at, error

    def run(self, images: GreyImage) -> Outputs:
        self.batches.append(len(images))
        self.threads.add(threading.get_ident())
        if self._error is not None and len(self.batches) == self._fails_at:
            raise self._error
        time.sleep(float(images[:, 0, 0].max()) / 1000)
        return Outputs(np.zeros((len(images), 4), np.float32))

    def close(self) -> None:
        return None


def ignore_progress(count: int) -> None:
    """Ignore reported progress."""
