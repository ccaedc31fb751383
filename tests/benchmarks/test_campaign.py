"""The campaign: how children end, its page, and a small run of its mutated and hostile files."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.campaign.child import Outcome, run_limited
from benchmarks.campaign.fuzz import write_files
from benchmarks.campaign.hostile_inputs import _archive, _deep, _deflated, _dicom_of, _shared
from benchmarks.campaign.section import Section
from cxredge.bundle.bundle import open_bundle
from cxredge.data.images import load_grey
from cxredge.data.inputs import walk_images
from cxredge.errors import ImageError, ImageProblem
from cxredge.inference.answers import PredictionOptions
from cxredge.inference.predict import predict
from cxredge.progress import Silent
from tests.predictions import read_rows

PYTHON = (sys.executable, "-c")


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("print('fine')", Outcome.DONE),
        ("import sys; sys.exit('Error: no')", Outcome.REFUSED),
        ("raise ValueError", Outcome.CRASHED),
        ("import os; os.abort()", Outcome.CRASHED),
        ("import sys; sys.exit('Error: Internal error: x')", Outcome.CRASHED),
        ("bytes(10**9)", Outcome.CRASHED),
        ("import time; time.sleep(60)", Outcome.HUNG),
    ],
)
def test_children_end_as_they_do(code: str, outcome: Outcome) -> None:
    seconds = 1 if outcome is Outcome.HUNG else 60
    ended = run_limited(code, seconds=seconds, memory_mb=500, command=PYTHON)
    assert ended.outcome is outcome
    assert 0 < ended.peak_mb < 500
    assert ended.seconds < 60


def test_a_section_is_a_table() -> None:
    section = Section("Title", ("a", "b"), (("1|2", "3\n4"),), ("A note.",))
    assert section.as_markdown() == (
        "## Title\n\nA note.\n\n| a | b |\n| --- | --- |\n| 1\\|2 | 3 4 |\n"
    )
    with pytest.raises(ValueError, match="must have 2 cells"):
        Section("Title", ("a", "b"), (("1",),))


def test_mutated_files_have_one_row_each(built: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "p.csv"
    write_files(folder, 280, 3)
    again = tmp_path / "again"
    write_files(again, 280, 3)
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()
    options = PredictionOptions(answer_all=True)
    predict(open_bundle(built), [folder], out, False, Silent(), options=options)
    rows = Counter(row["path"] for row in read_rows(out))
    assert [rows[str(path)] for path in folder.iterdir() if path.suffix != ".zip"] == [1] * 260
    assert {"ok", "truncated", "unreadable"} <= {row["status"] for row in read_rows(out)}


def test_what_the_campaign_writes_is_what_it_says(tmp_path: Path) -> None:
    good = tmp_path / "good.dcm"
    good.write_bytes(_dicom_of())
    assert load_grey(good, 32).shape == (32, 32)
    deflated = tmp_path / "deflated.dcm"
    deflated.write_bytes(_deflated(1))
    assert (load_grey(deflated, 32) == load_grey(good, 32)).all()
    _deep(tmp_path / "deep")
    assert len(str(next((tmp_path / "deep").rglob("*.png")))) > 3000
    shared = tmp_path / "shared.zip"
    shared.write_bytes(_shared(_archive({"a.png": b"content"}), 5))
    members = list(walk_images([shared], Counter()))
    assert len(members) == 5
    with pytest.raises(ImageError) as caught:
        load_grey(members[0], 32)
    assert caught.value.problem is ImageProblem.TRUNCATED
