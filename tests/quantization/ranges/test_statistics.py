"""Activation statistics: merging, saving, and refusing damaged files."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cxredge.errors import ArtifactError, CxredgeError
from cxredge.quantization.ranges.histogram import EMPTY
from cxredge.quantization.ranges.statistics import Statistics, empty_statistics, load_statistics
from cxredge.vocabulary import RangeMethod

RNG = np.random.default_rng(0)


def statistics(*names: str, seed: int = 0, images: int = 3) -> Statistics:
    rng = np.random.default_rng(seed)
    return Statistics(
        images, {n: EMPTY.add(rng.normal(size=500).astype(np.float32)) for n in names}
    )


def same(one: Statistics, other: Statistics) -> bool:
    return (
        one.images == other.images
        and list(one.histograms) == list(other.histograms)
        and one.min_max() == other.min_max()
        and all(
            np.array_equal(h.counts, other.histograms[name].counts)
            and h.exponent == other.histograms[name].exponent
            for name, h in one.histograms.items()
        )
    )


def test_merging_adds_counts() -> None:
    one, other = statistics("a", "b"), statistics("a", "b", seed=1, images=4)
    merged = one.merge(other)
    assert merged.images == 7
    assert merged.histograms["b"].total == 1000
    assert same(empty_statistics(["a", "b"]).merge(one), one)


def test_statistics_of_two_graphs_do_not_merge() -> None:
    with pytest.raises(CxredgeError, match="'b'"):
        statistics("a").merge(statistics("a", "b"))


def test_ranges_name_every_activation() -> None:
    found = statistics("a", "b")
    for method in RangeMethod:
        assert list(found.ranges(method, symmetric=True)) == ["a", "b"]
    wide = found.ranges(RangeMethod.PERCENTILE, symmetric=True)["a"]
    narrow = found.ranges(RangeMethod.PERCENTILE, symmetric=True, percentile=90)["a"]
    assert narrow[1] < wide[1]


@pytest.mark.parametrize("names", [(), ("a",), ("/block/Conv_output_0", "ä")])
def test_a_file_restores_what_was_saved(names: tuple[str, ...], tmp_path: Path) -> None:
    saved = statistics(*names)
    saved.save(tmp_path / "s.npz", "key")
    assert same(load_statistics(tmp_path / "s.npz", "key"), saved)


def test_a_missing_file_or_another_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        load_statistics(tmp_path / "s.npz")
    statistics("a").save(tmp_path / "s.npz", "key")
    with pytest.raises(ArtifactError, match="another graph or other images"):
        load_statistics(tmp_path / "s.npz", "other")


def test_damage_anywhere_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    saved = statistics("a")
    saved.save(path)
    whole = path.read_bytes()
    for position in range(0, len(whole), 11):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            # Bits that zip stores redundantly, such as dates, do not change the content.
            assert same(load_statistics(path), saved), position
        except ArtifactError:
            continue
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError):
            load_statistics(path)


def edited(path: Path, **changed: object) -> None:
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(path, **{**arrays, **{name: np.asarray(value) for name, value in changed.items()}})


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    statistics("a").save(path)
    edited(path, limits=[[-1.0, 1.0]])
    with pytest.raises(ArtifactError, match="own hash"):
        load_statistics(path)
    statistics("a").save(path)
    edited(path, schema="cxredge.statistics/0")
    with pytest.raises(ArtifactError, match="schema"):
        load_statistics(path)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    statistics("a").save(path)
    content = io.BytesIO()
    np.save(content, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("extra.npy", content.getvalue())
    with pytest.raises(ArtifactError):
        load_statistics(path)
