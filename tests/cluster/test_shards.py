"""Finished shards: committed by name, checked when they are used."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from cxredge.cluster.job import Shard
from cxredge.cluster.shards import ShardFolder, folder_of
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.inference.predictions_file import line_of, partial_of
from tests.row_files import CLASSES, JOB, ROWS, as_dictionaries, read_csv

SHARDS = [
    Shard(first, tuple(Path(row.path) for row in ROWS[first : first + 2])) for first in (0, 2, 4)
]


def lines_of(shard: Shard) -> bytes:
    return b"".join(line_of(row) for row in ROWS[shard.first : shard.first + len(shard.sources)])


def commit(path: Path, *shards: Shard, resume: bool = False) -> None:
    with ShardFolder(path, CLASSES, JOB, resume) as folder:
        for shard in shards:
            folder.commit(shard, lines_of(shard))


def finish(path: Path) -> Counter[str]:
    statuses: Counter[str] = Counter()
    with ShardFolder(path, CLASSES, JOB, resume=True) as folder:
        folder.finish(len(ROWS), 2, lambda row: statuses.update([row["status"]]))
    return statuses


def look_at(path: Path, shard: Shard) -> bool:
    with ShardFolder(path, CLASSES, JOB, resume=True) as folder:
        return folder.has(shard)


def test_shards_are_merged_in_the_order_of_their_names(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    commit(path, *reversed(SHARDS))
    assert sorted(one.name for one in folder_of(path).iterdir()) == [
        "part-000000000000.jsonl", "part-000000000002.jsonl", "part-000000000004.jsonl",
    ]  # fmt: skip
    assert finish(path) == {"ok": 3, "unreadable": 1, "unfamiliar": 1}
    assert read_csv(path) == as_dictionaries(ROWS)
    assert [one.name for one in tmp_path.iterdir()] == ["p.csv"]


def test_a_shard_is_known_by_the_names_of_its_images(tmp_path: Path) -> None:
    commit(tmp_path / "p.csv", *SHARDS[:2])
    with ShardFolder(tmp_path / "p.csv", CLASSES, JOB, resume=True) as folder:
        assert [folder.has(shard) for shard in SHARDS] == [True, True, False]
        for other in (Shard(0, SHARDS[0].sources[::-1]), Shard(0, SHARDS[0].sources[:1])):
            with pytest.raises(CxredgeError, match="inputs have changed since the interruption"):
                folder.has(other)


def test_without_resume_earlier_shards_are_removed(tmp_path: Path) -> None:
    commit(tmp_path / "p.csv", SHARDS[0])
    with ShardFolder(tmp_path / "p.csv", CLASSES, JOB, resume=False) as folder:
        assert not folder.has(SHARDS[0])
    assert list(tmp_path.iterdir()) == []


def test_shards_of_another_job_are_refused_and_kept(tmp_path: Path) -> None:
    commit(tmp_path / "p.csv", SHARDS[0])
    with pytest.raises(ArtifactError, match=r"what differs: the paths given"):
        ShardFolder(tmp_path / "p.csv", CLASSES, {**JOB, "inputs": "x"}, resume=True)
    assert len(list(folder_of(tmp_path / "p.csv").iterdir())) == 1


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    with (
        ShardFolder(tmp_path / "p.csv", CLASSES, JOB, resume=False),
        pytest.raises(CxredgeError, match="Another prediction is writing"),
    ):
        ShardFolder(tmp_path / "p.csv", CLASSES, JOB, resume=True)


def test_a_half_written_shard_does_not_count(tmp_path: Path) -> None:
    commit(tmp_path / "p.csv", *SHARDS[:2])
    (folder_of(tmp_path / "p.csv") / ".part").write_bytes(b"{")
    with pytest.raises(CxredgeError, match=r"has 2 shards; expected 3 for 5 images"):
        finish(tmp_path / "p.csv")
    commit(tmp_path / "p.csv", SHARDS[2], resume=True)
    finish(tmp_path / "p.csv")
    assert read_csv(tmp_path / "p.csv") == as_dictionaries(ROWS)


@pytest.mark.parametrize("damage", ["cut", "row", "missing row", "head"])
def test_damage_is_found(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    commit(path, *SHARDS)
    part = folder_of(path) / "part-000000000002.jsonl"
    head, *rows = part.read_bytes().splitlines(keepends=True)
    content = {
        "cut": part.read_bytes()[:-5],
        "row": head + b"[1]\n" + rows[1],
        "missing row": head + rows[0],
        "head": b"[[\n" + rows[0] + rows[1],
    }
    part.write_bytes(content[damage])
    with pytest.raises(ArtifactError, match="damaged"):
        look_at(path, SHARDS[1]) if damage == "head" else finish(path)
    assert not path.exists()
    assert partial_of(path).exists()


def test_rows_that_are_not_one_per_image_are_refused(tmp_path: Path) -> None:
    with (
        ShardFolder(tmp_path / "p.csv", CLASSES, JOB, resume=False) as folder,
        pytest.raises(ArtifactError, match="returned 1 rows for 2 images"),
    ):
        folder.commit(SHARDS[0], line_of(ROWS[0]))


def test_a_link_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    commit(tmp_path / "p.csv", SHARDS[0])
    folder = folder_of(tmp_path / "p.csv")
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="is a link"):
        ShardFolder(tmp_path / "p.csv", CLASSES, JOB, resume=True)


def test_names_that_are_not_utf_8_keep_their_bytes(tmp_path: Path) -> None:
    shard = Shard(0, (Path(os.fsdecode(b"\xe9.png")),))
    with ShardFolder(tmp_path / "p.csv", CLASSES, JOB, resume=False) as folder:
        folder.commit(shard, line_of(ROWS[0]))
        assert folder.has(shard)
    head = (folder_of(tmp_path / "p.csv") / "part-000000000000.jsonl").read_bytes().split(b"\n")[0]
    assert json.loads(head)["rows"] == 1
