"""Images of a manifest one batch after the other, decoded ahead of whoever uses them."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from cxredge.data.images import GreyImage
from cxredge.data.manifest import Entry, load_entry

BATCH = 8


def stream_pixels(
    entries: Sequence[Entry], size: int, batch: int = BATCH, threads: int | None = None
) -> Generator[GreyImage, None, None]:
    """Yield the images of entries in their order; at most two batches are decoded ahead.

    Decoding goes on in threads while the caller works, and stops when the caller does.

    Args:
        entries: What to decode.
        size: Height and width in pixels.
        batch: Images at a time.
        threads: That decode; None for as many as suit the cores.

    Yields:
        uint8 (n, size, size); n is ``batch``, for the last one what remains.

    Raises:
        DataError: An image is missing, unreadable, or not the one the manifest was made from.
    """
    ahead: deque[Future[GreyImage]] = deque()
    waiting = iter(entries)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for start in range(0, len(entries), batch):
            wanted = min(batch, len(entries) - start)
            while len(ahead) < wanted + 2 * batch and (entry := next(waiting, None)):
                ahead.append(pool.submit(load_entry, entry, size))
            yield np.stack([ahead.popleft().result() for _ in range(wanted)])
    finally:
        pool.shutdown(cancel_futures=True)
