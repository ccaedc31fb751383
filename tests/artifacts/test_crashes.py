"""A process that ends at any moment leaves the old or the new output, whole, and no litter."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

import cxredge
from cxredge.artifacts import exchange, temporary
from cxredge.artifacts.atomic import write_text
from cxredge.artifacts.card import CARD_NAME, check_files, read_card, write_card
from cxredge.artifacts.exclusive import exclusive
from cxredge.artifacts.folder import atomic_folder
from cxredge.artifacts.model_card import ExportedCard
from cxredge.artifacts.temporary import scratch_folder, sweep, temporary_file, temporary_folder
from cxredge.errors import ArtifactError, CxredgeError
from tests.artifacts.conftest import CARD, names
from tests.artifacts.file_changes import Changes

CHANGES = Changes()


def write_model(path: Path, content: str) -> None:
    with exclusive(path), atomic_folder(path, "model") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "model.onnx").write_text(content)
        write_card(folder, CARD)


def content_of(path: Path) -> str | None:
    """Return the content of a whole model; None if there is none."""
    if not path.exists():
        return None
    check_files(path, read_card(path, ExportedCard))
    return (path / "deep" / "model.onnx").read_text()


def count_changes(tmp_path: Path, write: Callable[[], None]) -> int:
    with CHANGES.watched(tmp_path, 0, lambda: None):
        write()
    return CHANGES.count


@pytest.fixture
def one_step_at_most(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """A file system that can exchange folders, or one that cannot."""

    def choose(one_step: bool) -> None:
        if not one_step:
            monkeypatch.setattr(exchange, "_exchange", lambda *_: False)

    return choose


def killed(at: int, root: Path, write: Callable[[], None]) -> bool:
    """Return whether a child process was killed before its change `at`."""
    child = os.fork()
    if not child:
        with CHANGES.watched(root, at, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            write()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(("one_step", "old"), [(True, None), (True, "old"), (False, "old")])
def test_kill_at_every_change_of_a_folder(
    tmp_path: Path, one_step_at_most, one_step: bool, old: str | None
) -> None:
    one_step_at_most(one_step)
    for at in range(1, 100):
        root = tmp_path / str(at)
        root.mkdir()
        path = root / "model"
        if old:
            write_model(path, old)
        if not killed(at, root, partial(write_model, path, "new")):
            break
        moved_away = [p for p in root.iterdir() if p.suffix == temporary.OLD]
        if not one_step and moved_away and not path.exists():
            sweep(path)  # the only moment without an output: the next command puts it back
        assert content_of(path) in {old, "new"}
        write_model(path, "new")
        assert content_of(path) == "new"
        assert [p.name for p in root.iterdir()] == ["model"]
    assert 10 < at < 99


@pytest.mark.parametrize(("one_step", "error"), [(True, OSError), (False, KeyboardInterrupt)])
def test_failure_at_every_change_of_a_folder(
    tmp_path: Path, one_step_at_most, one_step: bool, error: type[BaseException]
) -> None:
    one_step_at_most(one_step)
    path = tmp_path / "model"

    def fail() -> None:
        raise error("stopped")

    at = 0
    while True:
        at += 1
        write_model(path, "old")
        with CHANGES.watched(tmp_path, at, fail):
            with suppress(error):
                write_model(path, "new")
            if CHANGES.count < at:
                break
        assert content_of(path) in {"old", "new"}
        write_model(path, "old")
        assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert at > 10


def test_kill_at_every_change_of_a_file(tmp_path: Path) -> None:
    for at in range(1, 100):
        path = tmp_path / str(at) / "r.json"
        write_text(path, "old")
        if not killed(at, path.parent, partial(write_text, path, "new")):
            break
        assert path.read_text() in {"old", "new"}
        write_text(path, "new")
        assert [p.name for p in path.parent.iterdir()] == ["r.json"]
    assert 4 < at < 99


def test_old_folder_is_there_at_every_moment(tmp_path: Path) -> None:
    if not can_exchange(tmp_path):
        pytest.skip("this file system cannot exchange two folders")
    write_model(tmp_path / "model", "old")
    there: list[bool] = []
    total = count_changes(tmp_path, lambda: write_model(tmp_path / "model", "new"))
    for at in range(1, total + 1):
        with CHANGES.watched(tmp_path, at, lambda: there.append((tmp_path / "model").exists())):
            write_model(tmp_path / "model", "newer")
    assert len(there) == total
    assert all(there)


def can_exchange(folder: Path) -> bool:
    for name in ("a", "b"):
        (folder / name).mkdir()
    found = exchange._exchange(folder / "a", folder / "b")
    for name in ("a", "b"):
        (folder / name).rmdir()
    return found


def test_two_renames_put_the_old_folder_back(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "model"
    write_model(path, "old")
    monkeypatch.setattr(exchange, "_exchange", lambda *_: False)
    real = Path.rename

    def fail_the_second(self: Path, target: Path) -> Path:
        if self.suffix == temporary.PARTIAL:
            raise OSError("gone")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", fail_the_second)
    with pytest.raises(OSError, match="gone"):
        write_model(path, "new")
    assert content_of(path) == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_what_appeared_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def write_beside_somebody() -> None:
        with atomic_folder(tmp_path / "a"):
            write_text(tmp_path / "a" / "thesis.tex", "years of work")

    with pytest.raises(ArtifactError, match="did not write"):
        write_beside_somebody()
    assert names(tmp_path) == ["a", "a/thesis.tex"]


def test_files_reach_the_disk_before_their_names(tmp_path: Path, monkeypatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: seen.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
    )
    real = exchange._exchange
    monkeypatch.setattr(exchange, "_exchange", lambda *a: seen.append("exchange") or real(*a))
    write_model(tmp_path / "model", "old")
    seen.clear()
    write_model(tmp_path / "model", "new")
    swap = seen.index("exchange")
    for name in ("deep/model.onnx", "deep", CARD_NAME):
        assert any(path.endswith(f".partial/{name}") for path in seen[:swap]), name
    assert seen[swap + 1] == str(tmp_path)


@contextmanager
def another_process(code: str) -> Iterator[int]:
    """Run code in another process until the block ends, from when it prints a line."""
    preamble = "import sys, time; from pathlib import Path\n"
    with subprocess.Popen(
        [sys.executable, "-c", f"{preamble}{code}"], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        try:
            yield running.pid
        finally:
            running.kill()


def test_work_of_a_live_process_is_not_swept(tmp_path: Path) -> None:
    code = f"""
from cxredge.artifacts.temporary import temporary_file, temporary_folder
path = Path({str(tmp_path)!r}) / "model"
with temporary_file(path) as file, temporary_folder(path) as folder:
    (folder / "deep").mkdir()
    print("ready", flush=True)
    time.sleep(60)
"""
    with another_process(code):
        before = names(tmp_path)
        assert len(before) == 3
        sweep(tmp_path / "model")
        write_model(tmp_path / "model", "new")
        assert {*before} <= {*names(tmp_path)}
    write_model(tmp_path / "model", "newer")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_sweep_touches_nothing_else(tmp_path: Path) -> None:
    kept = [
        ".model.partial", ".model.csv.partial", ".model.12345678.tmp", ".other.abcd1234.partial",
        "model.abcd1234.partial", ".model.abcd1234.partial.bak", ".model.ABCD1234.partial",
    ]  # fmt: skip
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / ".model.linked00.partial").symlink_to(tmp_path / kept[0])
    os.mkfifo(tmp_path / ".model.fifo0000.partial")
    (tmp_path / ".model.abcd1234.partial").touch()
    sweep(tmp_path / "model")
    assert {p.name for p in tmp_path.iterdir()} == {
        *kept, ".model.linked00.partial", ".model.fifo0000.partial"
    }  # fmt: skip
    sweep(tmp_path / "not" / "there")


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bundle"
    code = f"""
from cxredge.artifacts.exclusive import exclusive
with exclusive(Path({str(path)!r})):
    print("ready", flush=True)
    time.sleep(60)
"""
    with another_process(code) as process:
        refused = pytest.raises(ArtifactError, match=rf"Another process \({process}\) is writing")
        with refused, exclusive(path):
            pytest.fail("the block must not run")
        with exclusive(path.with_name("other")):
            pass
    assert names(tmp_path) == ["new", "new/.bundle.lock"], "it was killed"
    with exclusive(path):
        assert names(tmp_path) == ["new", "new/.bundle.lock"]
    assert names(tmp_path) == ["new"]


def test_lock_leaves_no_folders_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "a" / "b" / "bundle"):
        raise ZeroDivisionError
    assert names(tmp_path) == []
    with exclusive(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b").touch()
    assert names(tmp_path) == ["a", "a/b"]


def test_lock_follows_links_to_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "bundle")
    with exclusive(tmp_path / "link"):
        assert names(tmp_path) == [".bundle.lock", "bundle", "link"]
        with pytest.raises(ArtifactError, match="Another process"), exclusive(tmp_path / "bundle"):
            pytest.fail("the block must not run")
    assert names(tmp_path) == ["bundle", "link"]


def test_folder_in_one_that_cannot_be_written_to_is_locked_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CxredgeError, match="is not writable"), exclusive(tmp_path / "new"):
        pytest.fail("the block must not run")
    (tmp_path / "bundle").mkdir()
    with exclusive(tmp_path / "bundle"):
        with pytest.raises(ArtifactError, match="Another process"), exclusive(tmp_path / "bundle"):
            pytest.fail("the block must not run")
        assert names(tmp_path) == ["bundle"]


def test_system_without_locks_still_writes(tmp_path: Path, monkeypatch) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / ".model.abcd1234.partial").mkdir()
    write_model(tmp_path / "model", "new")
    assert {p.name for p in tmp_path.iterdir()} == {"model", ".model.abcd1234.partial"}, (
        "nobody knows whether it is in use"
    )
    monkeypatch.setitem(sys.modules, "fcntl", None)
    write_model(tmp_path / "model", "newer")
    assert content_of(tmp_path / "model") == "newer"


def test_temporary_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch
) -> None:
    real, removed = temporary.lock, []

    def lose_the_first(descriptor: int) -> object:
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].rmdir() if removed[0].is_dir() else removed[0].unlink()
        return real(descriptor)

    monkeypatch.setattr(temporary, "lock", lose_the_first)
    for context in (temporary_folder, temporary_file):
        removed.clear()
        with context(tmp_path / "a") as made:
            assert made.exists()
            assert made not in removed
    assert names(tmp_path) == []


def test_temporary_files_are_made_in_one_place() -> None:
    makers = ("mkdtemp", "mkstemp", "TemporaryDirectory", "NamedTemporaryFile", "TemporaryFile")
    found = {
        path.name
        for path in Path(cxredge.__file__).parent.rglob("*.py")
        if any(f"{maker}(" in path.read_text() for maker in makers)
    }
    assert found == {"temporary.py"}


def test_full_disk_for_temporary_files(tmp_path: Path, monkeypatch) -> None:
    def write(number: int) -> None:
        with scratch_folder("build"):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(temporary.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(CxredgeError, match=f"no room for temporary files in {tmp_path}") as full:
        write(errno.ENOSPC)
    assert "TMPDIR" in full.value.hint
    with pytest.raises(PermissionError):
        write(errno.EACCES)
    assert names(tmp_path) == []


def test_scratch_of_a_killed_process_is_removed_by_the_next(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(temporary.tempfile, "tempdir", str(tmp_path))

    def use() -> None:
        with scratch_folder("build") as folder:
            (folder / "model.onnx").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    assert killed(0, tmp_path, use)
    assert len(names(tmp_path)) == 2
    start = time.monotonic()
    with scratch_folder("build") as folder:
        assert names(tmp_path) == [folder.name]
        assert folder.name.startswith(".cxredge-build.")
    assert names(tmp_path) == []
    assert time.monotonic() - start < 5


def test_interruption_while_a_lock_is_taken_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal may come when the lock file exists and its descriptor is not known yet."""

    def interrupted(path: object, *arguments: int) -> int:
        os.close(opens(path, *arguments))
        if str(path).endswith(".lock") and arguments[0] & os.O_CREAT:
            raise KeyboardInterrupt
        return opens(path, *arguments)

    opens = os.open
    monkeypatch.setattr(os, "open", interrupted)
    with pytest.raises(KeyboardInterrupt), exclusive(tmp_path / "out" / "bundle"):
        pass
    assert list(tmp_path.iterdir()) == []
