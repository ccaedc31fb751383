"""NumPy archives of a bundle: plain numbers are read, all else is refused with the reason."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cxredge.bundle import arrays
from cxredge.bundle.arrays import read_arrays
from cxredge.errors import ArtifactError


def npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


def packed(path: Path, *members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


PLAIN = npy(np.arange(6, dtype=np.int64))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_numpy_reads(tmp_path: Path, save: Callable[..., None]) -> None:
    written = {
        "pixels": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "scalar": np.float32(2.5),
        "empty": np.empty((0, 4), np.int32),
    }
    save(tmp_path / "a.npz", **written)
    found = read_arrays(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as expected:
        assert found.keys() == set(expected.files)
        for name in expected.files:
            np.testing.assert_array_equal(found[name], expected[name])
            assert found[name].dtype == expected[name].dtype
            assert found[name].flags.writeable


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("a.npy", npy(np.zeros(2), (2, 0)))], "'a' is not a NumPy array of version 1"),
        ([("a.npy", b"text")], "'a' is not a NumPy array of version 1"),
        ([("a.npy", npy(np.array(["word"])))], "'a' does not hold numbers but <U4"),
        ([("a.npy", PLAIN[:-8])], "'a' declares another size than the 40 bytes it has"),
        ([("a.npy", PLAIN), ("a.npy", PLAIN)], "holds more than 64 arrays, or one twice"),
        ([(f"{n}.npy", PLAIN) for n in range(65)], "holds more than 64 arrays, or one twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name", "ignore:Stored array in format 2.0")
def test_all_but_plain_numbers_are_refused(
    tmp_path: Path, members: list[tuple[str, bytes]], reason: str
) -> None:
    path = packed(tmp_path / "a.npz", *members)
    with pytest.raises(ArtifactError, match="Build the bundle again") as refused:
        read_arrays(path)
    assert reason in str(refused.value)


def test_another_compression_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.npz", ("a.npy", PLAIN), method=zipfile.ZIP_BZIP2)
    with pytest.raises(ArtifactError, match="'a' is compressed in a way that NumPy does not use"):
        read_arrays(path)


def test_sizes_are_compared_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = packed(tmp_path / "zeros.npz", ("a.npy", npy(np.zeros(200_000))))
    noise = packed(tmp_path / "noise.npz", ("a.npy", npy(np.random.default_rng(0).random(200_000))))
    monkeypatch.setattr(arrays, "MAX_BYTES", 1_000_000)
    with pytest.raises(ArtifactError, match="its arrays have 2 MB, more than 1 MB"):
        read_arrays(zeros)
    with pytest.raises(ArtifactError, match=r"it has \d MB, more than 1 MB"):
        read_arrays(noise)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an archive of NumPy arrays, or is damaged"),
        (b"PK\5\6", "not an archive of NumPy arrays, or is damaged"),
        (b"x" * 100, "not an archive of NumPy arrays, or is damaged"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match=reason):
        read_arrays(tmp_path / "a.npz")


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(ArtifactError, match=r"a\.npz cannot be read: .*pipe"):
        read_arrays(tmp_path / "a.npz")


def test_damaged_contents_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.npz", ("a.npy", npy(np.random.default_rng(0).random(500))))
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        read_arrays(path)
