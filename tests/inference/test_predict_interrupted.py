"""Predictions that are interrupted, killed or run out of disk, and are resumed."""

from __future__ import annotations

import json
import math
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.inference.pipeline import GROUP_SIZE
from cxredge.inference.predict import predict
from cxredge.progress import Advance, Silent
from tests.predictions import many_images, predict_command, read_rows


class StopAfter(Silent):
    """Presses Ctrl-C when a number of images is done."""

    def __init__(self, images: int) -> None:
        self._left = images

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Advance]:
        def advance(count: int) -> None:
            self._left -= count
            if self._left <= 0:
                raise KeyboardInterrupt

        yield advance


@pytest.mark.parametrize("after", [1, 2, 17, 55])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_resumed_file_equals_an_undisturbed_one(
    after: int, suffix: str, bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    opened, paths = open_bundle(bundle), [phantoms / "images"]
    whole, parts = tmp_path / f"whole{suffix}", tmp_path / f"parts{suffix}"
    predict(opened, paths, whole, False, Silent())
    with pytest.raises(KeyboardInterrupt):
        predict(opened, paths, parts, False, StopAfter(after))
    assert not parts.exists()
    tally = predict(opened, paths, parts, True, Silent())
    assert parts.read_bytes() == whole.read_bytes()
    assert tally.to_json()["resumed"] == GROUP_SIZE * math.ceil(after / GROUP_SIZE)
    assert tally.to_json()["ok"] + tally.to_json()["unfamiliar"] == tally.images
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


@pytest.mark.parametrize("change", ["added", "gone", "gone at the end", "renamed"])
def test_changed_inputs_are_not_resumed(
    change: str, bundle: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The rows of a batch that is not whole are cut off before the comparison; of one, none are.
    monkeypatch.setattr(Bundle, "open_for_many", lambda self: self.open(threads=1))
    opened, folder, out = open_bundle(bundle), tmp_path / "in", tmp_path / "p.csv"
    shutil.copytree(phantoms / "images", folder)
    images = sorted(folder.rglob("*.*"))
    with pytest.raises(KeyboardInterrupt):
        predict(opened, [folder], out, False, StopAfter(len(images)))
    partial = (tmp_path / ".p.csv.partial").read_bytes()
    if change == "added":
        shutil.copy(images[3], images[3].with_name("0.png"))
    elif change == "renamed":
        images[3].rename(images[3].with_name("z.png"))
    else:
        images[3 if change == "gone" else -1].unlink()
    with pytest.raises(CxredgeError, match="inputs have changed since the interruption"):
        predict(opened, [folder], out, True, Silent())
    assert not out.exists()
    assert (tmp_path / ".p.csv.partial").read_bytes() == partial


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def run_until(arguments: list[str], reached: Callable[[], bool], stop: signal.Signals) -> str:
    """Run a command, send it a signal when a condition holds and return its stderr."""
    with subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as running:
        while running.poll() is None and not reached():
            time.sleep(0.0002)
        running.send_signal(stop)
        return running.communicate()[1]


def test_a_kill_at_any_moment_can_be_resumed(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    folder, whole, out = tmp_path / "in", tmp_path / "whole.csv", tmp_path / "p.csv"
    many_images(folder, phantoms, 600)
    predict(open_bundle(bundle), [folder], whole, False, Silent())
    partial, kept = tmp_path / ".p.csv.partial", []
    arguments = predict_command(bundle, folder, "--out", out, "--resume")
    moments: list[Callable[[], bool]] = [
        partial.exists,
        lambda: size_of(partial) > 20_000,
        lambda: size_of(partial) > 60_000,
        lambda: out.exists() or any(path != partial for path in tmp_path.glob(".p.csv.*")),
    ]
    for moment in moments:
        run_until(arguments, moment, signal.SIGKILL)
        kept.append(partial.read_bytes().count(b"\n") - 1 if partial.exists() else 600)
        assert not out.exists() or kept[-1] == 600
    assert kept[0] < kept[1] < kept[2] <= kept[3]
    tally = predict(open_bundle(bundle), [folder], out, True, Silent())
    assert tally.images == 600
    assert out.read_bytes() == whole.read_bytes()


def test_ctrl_c_names_the_command_that_resumes(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    folder, out = many_images(tmp_path / "two words", phantoms, 600), tmp_path / "p.csv"
    partial = tmp_path / ".p.csv.partial"
    arguments = predict_command(bundle, folder, "--out", out)
    said = run_until(arguments, lambda: size_of(partial) > 9000, signal.SIGINT)
    assert said.startswith("Error: Interrupted; the rows so far are kept.\n")
    again = shlex.split(said.split("Resume with: ")[1])
    assert again == ["cxredge", *arguments[3:], "--resume"]
    done = subprocess.run(
        [sys.executable, "-m", *again, "--json"], check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    assert found["resumed"] > 0
    assert found["ok"] == found["images"] == len(read_rows(out)) == 600


def test_a_full_disk_says_how_much_is_needed(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    folder, out = many_images(tmp_path / "in", phantoms, 200), tmp_path / "p.csv"
    yesterday = "path,status,label,probability,p_normal,error\n"
    out.write_text(yesterday)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))

    full = subprocess.run(
        predict_command(bundle, folder, "--out", out, "--json"),
        preexec_fn=limit, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert full.returncode == 1
    said = json.loads(full.stdout)
    kept = (tmp_path / ".p.csv.partial").read_bytes().count(b"\n") - 1
    assert f"File too large. {kept} of 200 rows are kept; about " in said["error"]
    assert re.search(r"about \d+\.\d kB are needed .*, \d+\.\d MB are free", said["error"])
    assert "--resume" in said["hint"]
    assert out.read_text() == yesterday
    assert sorted(path.name for path in tmp_path.glob("*p.csv*")) == [".p.csv.partial", "p.csv"]
    tally = predict(open_bundle(bundle), [folder], out, True, Silent())
    assert tally.to_json()["resumed"] == kept > 0
    assert len(read_rows(out)) == 200


def test_a_partial_file_of_another_bundle_is_refused(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    (tmp_path / ".p.csv.partial").write_text('{"job": "other"}\n')
    with pytest.raises(ArtifactError, match="another bundle or other inputs"):
        predict(open_bundle(bundle), [phantoms / "images"], tmp_path / "p.csv", True, Silent())
