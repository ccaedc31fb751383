"""The campaign of crashes notices a writer that leaves half a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.campaign import crashes

CASE = crashes.Case(
    "calibrate {base}/manifest.csv --count 8 --out {root}/c.csv",
    "c.csv",
    ("calibrate {base}/manifest.csv --count 12 --out {root}/c.csv",),
)


def test_every_trial_holds(phantoms: Path, tmp_path: Path) -> None:
    tried = crashes.try_case(CASE, phantoms, tmp_path / "trials", 99)
    assert tried.changes == tried.trials >= 4
    assert tried.whole == tried.finished == tried.clean == tried.trials
    assert not tried.problems


def test_half_a_file_is_noticed(phantoms: Path, tmp_path: Path, monkeypatch) -> None:
    def write_in_place(path: Path, content: str) -> None:
        path.write_text("")
        path.with_name(".litter").touch()
        path.with_name("note.txt").write_text("")
        path.write_text(content)

    def app(words: list[str], **_: object) -> int:
        write_in_place(Path(words[-2]), "new")
        return 0

    monkeypatch.setattr(crashes.cli, "app", app)
    tried = crashes.try_case(CASE, phantoms, tmp_path / "trials", 99)
    assert tried.trials == 4
    assert tried.whole == 1
    assert tried.finished == 4
    assert tried.clean == 0
    assert len(tried.problems) == 4


def test_cases_name_commands_and_inputs(tmp_path: Path) -> None:
    for name, case in crashes.CASES.items():
        words = crashes._words(case.command, tmp_path, tmp_path)
        assert words[: len(name.split()[:1])] == name.split()[:1]
        assert "{" not in " ".join(words)
    with pytest.raises(KeyError):
        crashes._words("{other}", tmp_path, tmp_path)
