"""Prediction of whole folders: order, resumption, memory."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cxredge import predict as predict_module
from cxredge.bundle import open_bundle
from cxredge.errors import ArtifactError
from cxredge.predict import predict
from cxredge.progress import Silent


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream))


def test_every_input_has_one_row_in_the_order_given(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    images = sorted((phantoms / "images").rglob("*.*"))
    given = [images[7], images[2], images[7], *images[30:10:-3]]
    predict(open_bundle(bundle), given, tmp_path / "p.csv", False, Silent())
    assert [row["path"] for row in rows(tmp_path / "p.csv")] == [str(path) for path in given]


def test_a_last_batch_that_is_not_full_is_predicted_too(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    images = sorted((phantoms / "images").rglob("*.*"))
    for count in (1, 15, 16, 17, 33):
        out = tmp_path / f"{count}.csv"
        predict(open_bundle(bundle), images[:count], out, False, Silent())
        assert len(rows(out)) == count


def test_probabilities_do_not_depend_on_the_company(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    images = sorted((phantoms / "images").rglob("*.*"))[:20]
    opened = open_bundle(bundle)
    predict(opened, images, tmp_path / "all.csv", False, Silent())
    predict(opened, images[11:12], tmp_path / "one.csv", False, Silent())
    together, alone = rows(tmp_path / "all.csv")[11], rows(tmp_path / "one.csv")[0]
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


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_resumed_is_as_undisturbed(
    after: int, suffix: str, bundle: Path, phantoms: Path, tmp_path: Path, monkeypatch
) -> None:
    opened, paths = open_bundle(bundle), [phantoms / "images"]
    whole, parts = tmp_path / f"whole{suffix}", tmp_path / f"parts{suffix}"
    predict(opened, paths, whole, False, Silent())
    real, calls = predict_module._predict_batch, []

    def stop(*arguments: object) -> object:
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(predict_module, "_predict_batch", stop)
    with pytest.raises(KeyboardInterrupt):
        predict(opened, paths, parts, False, Silent())
    assert not parts.exists()
    monkeypatch.setattr(predict_module, "_predict_batch", real)
    tally = predict(opened, paths, parts, True, Silent())
    assert parts.read_bytes() == whole.read_bytes()
    assert tally.to_json()["resumed"] == 16 * after
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_a_kill_leaves_no_file_and_can_be_resumed(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    out, whole = tmp_path / "p.csv", tmp_path / "whole.csv"
    folder = tmp_path / "in"
    folder.mkdir()
    sources = sorted((phantoms / "images").rglob("*.*"))
    for number in range(600):
        os.link(sources[number % 40], folder / f"{number:04d}{sources[number % 40].suffix}")
    command = [sys.executable, "-m", "cxredge", "predict", str(bundle), str(folder), "--out"]
    subprocess.run([*command, str(whole), "-q"], check=True, capture_output=True)
    running = subprocess.Popen([*command, str(out), "-q"], stdout=subprocess.DEVNULL)
    partial = tmp_path / ".p.csv.partial"
    while running.poll() is None and not (partial.exists() and partial.stat().st_size > 5000):
        pass
    running.kill()
    running.wait()
    assert not out.exists()
    resumed = subprocess.run(
        [*command, str(out), "--resume", "--json"], check=True, capture_output=True, text=True
    )
    assert json.loads(resumed.stdout)["resumed"] > 0
    assert out.read_bytes() == whole.read_bytes()


def test_another_bundles_partial_file_is_not_taken_up(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    (tmp_path / ".p.csv.partial").write_text('{"job": "other"}\n')
    with pytest.raises(ArtifactError, match="another bundle or other inputs"):
        predict(open_bundle(bundle), [phantoms / "images"], tmp_path / "p.csv", True, Silent())


PEAK = """
import resource, sys
from cxredge.cli import app
try:
    app(sys.argv[1:], standalone_mode=True)
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@pytest.mark.slow
def test_ten_thousand_images_take_no_more_memory_than_a_hundred(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    sources = sorted((phantoms / "images").rglob("*.*"))
    peaks_mb = {}
    for count in (100, 10_000):
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
        assert len(rows(Path(f"{folder}.csv"))) == count
        peaks_mb[count] = int(done.stderr.split()[-1]) / 1024
    assert peaks_mb[10_000] - peaks_mb[100] < 100
