"""The campaign of crashes notices a writer that leaves half a file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.campaign import crashes, killed
from benchmarks.campaign.crash_cases import CASES, Case
from cxredge.artifacts import exchange

CASE = Case(
    "calibrate {base}/manifest.csv --count 8 --out {root}/c.csv",
    ("c.csv",),
    ("calibrate {base}/manifest.csv --count 12 --out {root}/c.csv",),
)


def test_every_trial_holds(phantoms: Path, tmp_path: Path) -> None:
    tried = crashes.try_case(CASE, phantoms, tmp_path / "trials")
    # The temporary file, its content, flush, mode and name, the flush of the folder, and the
    # removal of a file that is gone.
    made = [kind for kind in tried.changes if kind != "mkdir"]
    assert made == ["open", "open", "fsync", "chmod", "rename", "fsync", "remove"]
    assert tried.row("calibrate")[-3:] == (f"{len(tried.trials)} of {len(tried.trials)}",) * 3
    assert 4 <= tried.states < len(tried.trials)
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

    monkeypatch.setattr(killed.cli, "app", app)
    tried = crashes.try_case(CASE, phantoms, tmp_path / "trials")
    assert tried.changes == ("open",) * 4
    assert tried.row("calibrate") == ("`calibrate`", "4", "4", "1 of 4", "4 of 4", "0 of 4")
    assert len(tried.problems) == 4


def test_copies_are_what_kills_leave(phantoms: Path, tmp_path: Path) -> None:
    root, copies, log = (tmp_path / name for name in ("root", "copies", "log"))
    words = crashes._words(CASE.command, phantoms, root)
    root.mkdir()
    changes = killed.run_child(words, root, log, killed.copy_at_each(root, copies)).changes
    assert len(changes) > 6
    for number in range(1, len(changes) + 1):
        shutil.rmtree(root)
        root.mkdir()
        assert killed.run_child(words, root, log, killed.kill_at(number)).code == -9
        assert killed.fingerprint(root) == killed.fingerprint(copies / str(number)), number


def test_cases_name_commands_and_inputs(tmp_path: Path) -> None:
    for name, case in CASES.items():
        words = crashes._words(case.command, tmp_path, tmp_path)
        assert words[: len(name.split()[:1])] == name.split()[:1]
        assert "{" not in " ".join(words)
    with pytest.raises(KeyError):
        crashes._words("{other}", tmp_path, tmp_path)


def test_every_kind_of_change_is_counted(tmp_path: Path, monkeypatch) -> None:
    def app(words: list[str], **_: object) -> int:
        root = Path(words[0])
        for name in ("a", "b"):
            (root / name).mkdir()
            (root / name / "file").write_text(name)
        exchange.sync_folder(root)
        exchange.put_folder(root / "a", root / "b")
        shutil.rmtree(root / "a")
        (root.parent / "elsewhere").write_text("not counted")
        return 0

    monkeypatch.setattr(killed.cli, "app", app)
    root = tmp_path / "root"
    root.mkdir()
    ran = killed.run_child([str(root)], root, tmp_path / "log")
    assert ran.code == 0
    assert list(ran.changes) == [
        "mkdir", "open", "mkdir", "open", "fsync", "exchange", "fsync", "remove", "rmdir",
    ]  # fmt: skip
