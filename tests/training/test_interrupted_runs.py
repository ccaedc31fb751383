"""A training that is killed or runs out of disk: what is left can be resumed, and nothing stray."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from cxredge.artifacts.card import check_files, read_card  # noqa: E402
from cxredge.artifacts.exclusive import exclusive  # noqa: E402
from cxredge.artifacts.run_card import RunCard  # noqa: E402
from cxredge.data.manifest import Manifest  # noqa: E402
from cxredge.errors import ArtifactError, CxredgeError  # noqa: E402
from cxredge.progress import Silent  # noqa: E402
from cxredge.training import checkpoint as checkpoint_module  # noqa: E402
from cxredge.training.assembly import Images, load_images  # noqa: E402
from cxredge.training.checkpoint import RUN_FILES, SCRATCH_NAME  # noqa: E402
from cxredge.training.config import TrainConfig, TrainingHardware  # noqa: E402
from cxredge.training.ranks import Ranks  # noqa: E402
from cxredge.training.run import train  # noqa: E402
from tests.artifacts.file_changes import Changes  # noqa: E402

pytestmark = pytest.mark.train

CPU = TrainingHardware(accelerator="cpu")
CHANGES = Changes()


class Stopped(BaseException):
    pass


Train = Callable[[Path], RunCard]


@pytest.fixture(scope="module")
def images(few: Manifest) -> Images:
    return load_images(few, 32, Silent())


@pytest.fixture
def run(few: Manifest, images: Images, settings: TrainConfig) -> Train:
    """Train for one epoch."""
    config = replace(settings, epochs=1, freeze="head")
    return lambda out: train(few, config, CPU, out, Silent(), images)


def abandon(out: Path) -> None:
    """Leave what a killed process leaves: temporary files that nobody has locked."""
    out.mkdir(exist_ok=True)
    for name in ("checkpoint.pt", *RUN_FILES, "card.json"):
        (out / f".{name}.abcd1234.partial").write_bytes(b"half")


def test_run_that_was_stopped_at_any_change_is_finished_by_the_same_command(
    run: Train, tmp_path: Path
) -> None:
    expected = run(tmp_path / "whole").files
    CHANGES.count = 0
    for at in range(2, 100, 15):
        out = tmp_path / str(at) / "run"

        def stop() -> None:
            raise Stopped

        with CHANGES.watched(out.parent, at, stop):
            try:
                run(out)
                break
            except Stopped:
                pass
        card = run(out)
        check_files(out, read_card(out, RunCard))
        assert {path.name for path in out.iterdir()} == {*RUN_FILES, "card.json"}
        assert card.files.keys() == RUN_FILES
        assert card.files["model.safetensors"] == expected["model.safetensors"]
        assert [path.name for path in out.parent.iterdir()] == ["run"]
    assert at > 30


def test_leftovers_of_a_killed_process_are_not_part_of_the_run(run: Train, tmp_path: Path) -> None:
    out = tmp_path / "run"
    abandon(out)
    card = run(out)
    assert card.files.keys() == RUN_FILES
    assert {path.name for path in out.iterdir()} == {*RUN_FILES, "card.json"}
    abandon(out)
    assert run(out) == card
    assert {path.name for path in out.iterdir()} == {*RUN_FILES, "card.json"}


def test_stray_file_is_not_part_of_the_run(run: Train, tmp_path: Path, monkeypatch) -> None:
    real = checkpoint_module.atomic_file

    def with_stray(path: Path) -> object:
        (path.parent / "notes.txt").write_text("of the user")
        return real(path)

    monkeypatch.setattr(checkpoint_module, "atomic_file", with_stray)
    assert run(tmp_path / "run").files.keys() == RUN_FILES
    assert (tmp_path / "run" / "notes.txt").exists()


def test_folder_of_somebody_else_is_still_refused(run: Train, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").touch()
    with pytest.raises(ArtifactError, match="exists and is not a run"):
        run(tmp_path / "run")


def test_second_training_into_one_folder_is_refused(run: Train, tmp_path: Path) -> None:
    busy = pytest.raises(ArtifactError, match=r"Another process \(\d+\) is writing")
    with exclusive(tmp_path / "run"), busy:
        run(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_processes_of_one_training_share_its_folder(
    few: Manifest, images: Images, settings: TrainConfig, tmp_path: Path
) -> None:
    """The second process neither locks the folder nor writes into it."""

    class Second(Ranks):
        is_first = False

    config = replace(settings, epochs=1, freeze="head")
    with exclusive(tmp_path / "run"):
        second = Second(CPU)
        train(few, config, CPU, tmp_path / "run", Silent(), images, ranks=second)


class FullDisk:
    """A stream that accepts some bytes."""

    def __init__(self, stream: object, limit: int) -> None:
        self.stream, self.left = stream, limit

    def write(self, content: bytes) -> int:
        self.left -= len(content)
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.stream.write(content)


@pytest.mark.parametrize("accepted", [0, 20_000, 80_000])
def test_disk_that_fills_up_while_a_checkpoint_is_written(
    run: Train, tmp_path: Path, monkeypatch, accepted: int
) -> None:
    real = checkpoint_module._save
    monkeypatch.setattr(
        checkpoint_module,
        "_save",
        lambda values, stream: real(values, FullDisk(stream, accepted)),
    )
    with pytest.raises(CxredgeError, match=r"no room for the checkpoint.*needs up to \d+"):
        run(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {SCRATCH_NAME}
    monkeypatch.undo()
    run(tmp_path / "run")


def test_full_disk_is_noticed_before_a_checkpoint_is_written(
    run: Train, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    with pytest.raises(CxredgeError, match=r"no room for the checkpoint.*10.0 kB are free"):
        run(tmp_path / "run")
