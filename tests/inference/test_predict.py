"""Prediction of whole folders: order, odd inputs, memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cxredge.artifacts.card import read_card, write_card
from cxredge.bundle.bundle import open_bundle
from cxredge.bundle.card import BundleCard
from cxredge.errors import ArtifactError
from cxredge.inference.predict import predict
from cxredge.progress import Advance, Silent
from tests.predictions import many_images, predict_command, read_rows


def test_every_input_has_one_row_in_the_order_given(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    images = sorted((phantoms / "images").rglob("*.*"))
    given = [images[7], images[2], images[7], *images[30:10:-3]]
    predict(open_bundle(bundle), given, tmp_path / "p.csv", False, Silent())
    assert [row["path"] for row in read_rows(tmp_path / "p.csv")] == [str(path) for path in given]


def test_an_incomplete_last_batch_is_predicted(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    images = sorted((phantoms / "images").rglob("*.*"))
    for count in (1, 15, 16, 17, 33):
        out = tmp_path / f"{count}.csv"
        predict(open_bundle(bundle), images[:count], out, False, Silent())
        assert len(read_rows(out)) == count


def test_probabilities_do_not_depend_on_the_other_images(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    images = sorted((phantoms / "images").rglob("*.*"))[:20]
    opened = open_bundle(bundle)
    predict(opened, images, tmp_path / "all.csv", False, Silent())
    predict(opened, images[11:12], tmp_path / "one.csv", False, Silent())
    together, alone = read_rows(tmp_path / "all.csv")[11], read_rows(tmp_path / "one.csv")[0]
    assert float(alone["probability"]) == pytest.approx(float(together["probability"]), abs=1e-4)


def test_files_that_are_no_images_are_counted(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    shutil.copytree(phantoms / "images" / "normal", folder / "deep" / "er")
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "scan.gif").write_bytes(b"x")
    tally = predict(open_bundle(bundle), [folder], tmp_path / "p.csv", False, Silent())
    assert tally.to_json()["skipped"] == {".txt": 1, ".png": 1, ".gif": 1}
    assert tally.images == len(list((folder / "deep" / "er").iterdir()))


class Meanwhile(Silent):
    """Does something when the first image is done."""

    def __init__(self, what: Callable[[], object]) -> None:
        self._what: Callable[[], object] | None = what

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Advance]:
        def advance(count: int) -> None:
            if self._what:
                self._what()
                self._what = None

        yield advance


def test_a_folder_that_changes_during_the_run(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    folder = many_images(tmp_path / "in", phantoms, 40 * len(os.sched_getaffinity(0)) + 40)
    images = sorted(folder.iterdir())
    gone, added = images[-1], folder / "zz.png"

    def change() -> None:
        gone.unlink()
        os.link(images[0], added)

    tally = predict(open_bundle(bundle), [folder], tmp_path / "p.csv", False, Meanwhile(change))
    found = read_rows(tmp_path / "p.csv")
    assert [row["path"] for row in found] == [str(path) for path in images]
    assert found[-1]["status"] == "missing"
    assert tally.to_json()["failed"] == 1


def test_a_bundle_that_was_rebuilt_needs_a_new_passport(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    card = read_card(bundle, BundleCard)
    write_card(bundle, replace(card, parents={"model": "0" * 64}), without=["passport.json"])
    with pytest.raises(ArtifactError, match="belongs to another bundle") as caught:
        open_bundle(bundle)
    assert f"cxredge deploy {bundle}" in caught.value.hint


@pytest.mark.parametrize("command", ["predict", "evaluate", "bench"])
def test_a_bundle_that_was_finished_on_another_machine_is_noted(
    command: str, bundle: Path, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    arguments = {
        "predict": [phantoms / "images" / "normal", "--out", tmp_path / "p.csv"],
        "evaluate": [phantoms / "manifest.csv"],
        "bench": ["--seconds", 0, "--queries", 5],
    }[command]
    assert "finished" not in cxredge(command, bundle, *arguments).err
    passport = json.loads((bundle / "passport.json").read_text())
    passport["machine"]["cpu"] = "Cortex-A78AE"
    (bundle / "passport.json").write_text(json.dumps(passport))
    ran = cxredge(command, bundle, *arguments)
    assert ran.code == 0
    assert "was finished on another machine (Cortex-A78AE; this one is" in ran.err
    assert f"cxredge deploy {bundle}" in ran.err
    (bundle / "passport.json").unlink()
    assert "was not finished" in cxredge(command, bundle, *arguments).err


def test_unusual_names_have_rows_and_are_shown(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "p.csv"
    folder.mkdir()
    source = next((phantoms / "images").rglob("*.*"))
    names = [f"{name}{source.suffix}" for name in ("a b", "new\nline", "胸部", "r\udcf6ntgen")]
    for name in names:
        os.link(source, folder / name)
    (folder / "\udcff.png").write_text("no image")
    (folder / "loop").symlink_to(folder)
    done = subprocess.run(
        predict_command(bundle, folder, "--out", out),
        capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )  # fmt: skip
    found = {Path(row["path"]).name: row["status"] for row in read_rows(out)}
    shown = [name.replace("\udcf6", "\\xf6") for name in names]
    assert found == {**dict.fromkeys(shown, "ok"), "\\xff.png": "unreadable"}
    assert b"\\xff.png is not a PNG, JPEG or DICOM" in done.stdout


def test_stages_and_speed_are_reported(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    tally = predict(open_bundle(bundle), [phantoms / "images"], tmp_path / "p.csv", False, Silent())
    found = tally.to_json()
    assert list(found["stages"]) == ["read", "decode", "preprocess", "infer", "write"]
    assert min(tally.stages.values()) > 0
    cores = len(os.sched_getaffinity(0))
    assert sum(tally.stages.values()) <= (cores + 1) * tally.seconds
    assert found["images_per_second"] == pytest.approx(found["images"] / tally.seconds, rel=0.01)


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["targets", "--json"]])
def test_a_pipe_that_is_closed_early_is_no_error(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "cxredge", *arguments],
        stdout=writer, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 1


PEAK = """
import resource, sys
from cxredge.cli import app
try:
    app(sys.argv[1:], standalone_mode=True)
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@pytest.mark.slow
def test_five_thousand_images_need_no_more_memory_than_a_hundred(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    sources = sorted((phantoms / "images").rglob("*.*"))
    peaks_mb = {}
    for count in (100, 5000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            source = sources[number % 100]
            os.link(source, folder / f"{number:05d}{source.suffix}")
        done = subprocess.run(
            [sys.executable, "-c", PEAK, "predict", bundle, folder, "--out", f"{folder}.csv", "-q"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert len(read_rows(Path(f"{folder}.csv"))) == count
        peaks_mb[count] = int(done.stderr.split()[-1]) / 1024
    # About 10 kB per image, less than one image of 224 x 224.
    assert peaks_mb[5000] - peaks_mb[100] < 50
