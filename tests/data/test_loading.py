"""Images of a manifest: checked, decoded all at once, or in batches decoded ahead."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.artifacts.hashing import sha256_of_file
from cxredge.data import loading
from cxredge.data.loading import check_samples, load_labelled, load_pixels, stream_pixels
from cxredge.data.manifest import Entry, Manifest, Sample, write_manifest
from cxredge.errors import DataError
from cxredge.progress import Silent
from tests.data.image_files import entry, picture, written

SIZE = 48


@pytest.mark.parametrize("batch", [1, 4, 10, 50])
def test_batches_are_the_images_in_order(manifest: Manifest, batch: int) -> None:
    entries = manifest.entries[:10]
    batches = list(stream_pixels(entries, SIZE, batch))
    assert [len(b) for b in batches] == [min(batch, 10 - i) for i in range(0, 10, batch)]
    assert np.array_equal(np.concatenate(batches), load_pixels(entries, SIZE))


def test_no_entries_are_no_batches() -> None:
    assert list(stream_pixels([], SIZE)) == []


def test_decoding_runs_ahead_of_the_caller_by_two_batches(manifest: Manifest, monkeypatch) -> None:
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
    assert len(decoded) == 12, "the current batch and two more"
    batches.close()
    assert len(decoded) == 12
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_a_changed_image_ends_the_stream(manifest: Manifest) -> None:
    first = manifest.entries[0]
    altered = replace(first, sha256="0" * 64)
    with pytest.raises(DataError, match="changed since"):
        list(stream_pixels([first, altered], SIZE))


def test_unusable_samples_are_dropped_by_reason_and_the_order_is_kept(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{n}.png", n) for n in (30, 10, 20)]
    text = written(tmp_path / "text.png", "no image")
    empty = written(tmp_path / "empty.png", "")
    Image.new("L", (8, 8)).save(tmp_path / "small.png")
    copy = tmp_path / "copy.png"
    shutil.copy(paths[0], copy)
    listed = [
        paths[0], text, paths[1], copy, tmp_path / "gone.png", empty, tmp_path / "small.png",
        tmp_path / "gone-too.png", paths[2], copy,
    ]  # fmt: skip
    seen: list[int] = []
    samples = [Sample(path, "normal", f"p{n}", "s", "PA") for n, path in enumerate(listed)]
    kept, dropped = check_samples(samples, lambda: seen.append(1))
    assert [e.path for e in kept] == paths
    assert [e.patient for e in kept] == ["p0", "p2", "p8"]
    assert [e.sha256 for e in kept] == [sha256_of_file(path) for path in paths]
    assert {e.view for e in kept} == {"PA"}
    assert dropped == Counter(
        {"unreadable": 1, "duplicate": 2, "missing": 2, "empty": 1, "too_small": 1}
    )
    assert len(seen) == len(listed)


def test_a_folder_that_was_moved_is_named(tmp_path: Path) -> None:
    image = picture(tmp_path / "old" / "images" / "a.png", 1)
    manifest = write_manifest(tmp_path / "lists" / "manifest.csv", [entry(image)])
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(DataError, match="does not exist") as caught:
        load_pixels(manifest.entries, 32)
    assert f"The folder {tmp_path / 'old'} is not there" in caught.value.hint
    (tmp_path / "new").rename(tmp_path / "old")
    image.unlink()
    with pytest.raises(DataError) as caught:
        load_pixels(manifest.entries, 32)
    assert caught.value.hint == "Make the manifest again."


def test_order_is_kept_when_many_are_checked_at_once(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{n}.png", n) for n in range(60)]
    kept, dropped = check_samples([Sample(path, "normal", "p", "s") for path in paths])
    assert [e.path for e in kept] == paths
    assert not dropped
    pixels = load_pixels(kept, 32)
    assert pixels.shape == (60, 32, 32)
    assert pixels.dtype == np.uint8
    assert pixels[:, 5, 5].tolist() == list(range(60))


def test_image_that_changed_since_is_noticed(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 1)
    manifest = write_manifest(tmp_path / "m.csv", [entry(path, sha256=sha256_of_file(path))])
    assert load_pixels(manifest.entries, 32)[0, 0, 0] == 1
    picture(path, 2)
    with pytest.raises(DataError, match=r"a\.png changed since the manifest was made"):
        load_pixels(manifest.entries, 32)


def test_image_that_went_missing_or_broke_is_a_data_error(tmp_path: Path) -> None:
    broken = written(tmp_path / "broken.png", "x")
    for path, words in (
        (tmp_path / "gone.png", "does not exist"),
        (broken, "not a PNG, JPEG or DICOM"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            load_pixels([entry(path)], 32)
        assert caught.value.hint


def test_labelled_images_follow_the_order_of_classes(tmp_path: Path) -> None:
    entries = [
        entry(picture(tmp_path / "a.png", 9), "viral", patient="p1"),
        entry(picture(tmp_path / "b.png", 8), "normal", patient="p2"),
    ]
    images = load_labelled(entries, ["viral", "bacterial", "normal"], 40, Silent())
    assert images.labels.tolist() == [0, 2]
    assert images.labels.dtype == np.int64
    assert images.patients == ["p1", "p2"]
    assert images.pixels[:, 0, 0].tolist() == [9, 8]
