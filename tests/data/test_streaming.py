"""Batches from files: in order, ahead of time, but not far ahead."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from cxredge.data import loading
from cxredge.data.loading import load_pixels, stream_pixels
from cxredge.data.manifest import Entry, Manifest
from cxredge.errors import DataError

SIZE = 48


@pytest.mark.parametrize("batch", [1, 4, 10, 50])
def test_batches_are_the_images_in_order(manifest: Manifest, batch: int) -> None:
    entries = manifest.entries[:10]
    batches = list(stream_pixels(entries, SIZE, batch))
    assert [len(b) for b in batches] == [min(batch, 10 - i) for i in range(0, 10, batch)]
    assert np.array_equal(np.concatenate(batches), load_pixels(entries, SIZE))


def test_no_entries_are_no_batches() -> None:
    assert list(stream_pixels([], SIZE)) == []


def test_decoding_goes_on_while_the_caller_works_but_not_without_end(
    manifest: Manifest, monkeypatch
) -> None:
    decoded = []

    def load(entry: Entry, size: int) -> np.ndarray:
        assert threading.current_thread() is not threading.main_thread()
        decoded.append(entry)
        return np.zeros((size, size), np.uint8)

    monkeypatch.setattr(loading, "load_entry", load)
    batches = stream_pixels(manifest.entries[:40], SIZE, batch=4)
    next(batches)
    deadline = time.monotonic() + 5
    while len(decoded) < 12 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(decoded) == 12, "the batch at hand and two more"
    batches.close()
    assert len(decoded) == 12
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_an_image_that_changed_is_refused(manifest: Manifest) -> None:
    entry = manifest.entries[0]
    altered = Entry(**{**entry.__dict__, "sha256": "0" * 64})
    with pytest.raises(DataError, match="changed since"):
        list(stream_pixels([entry, altered], SIZE))
