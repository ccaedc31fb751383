"""``--resume`` on a finished file, and files that exist."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cxredge.bundle.bundle import open_bundle
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.inference.predict import predict
from cxredge.progress import Silent
from tests.conftest import Run
from tests.predictions import read_rows

FIRST = "path,status,label,probability"
EXTENSIONS = (".csv", ".jsonl", ".parquet")


@pytest.fixture
def images(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six X-rays with unusual names and a file that is none, beneath the working folder."""
    monkeypatch.chdir(tmp_path)
    folder = Path("in")
    folder.mkdir()
    names = ["=1.png", "-2.png", "3.png", "r\udcf6.png", "a,b.png", "l\nm.png"]
    sources = sorted((phantoms / "images").rglob("*.*"))
    for name, source in zip(names, sources, strict=False):
        shutil.copy(source, folder / name)
    (folder / "z.png").write_text("no image")
    return folder


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_nothing_is_predicted_again(extension: str, built: Path, images: Path) -> None:
    if extension == ".parquet":
        pytest.importorskip("pyarrow")
    out, opened = Path(f"p{extension}"), open_bundle(built)
    paths = [Path(path.name) for path in images.iterdir()]
    for path in paths:
        (images / path).rename(path)
    first = predict(opened, paths, out, False, Silent()).to_json()
    before = out.stat()
    tally = predict(opened, paths, out, True, Silent())
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    found = tally.to_json()
    assert found["finished_before"]
    assert found["resumed"] == found["images"] == 7
    for key in ("ok", "failed", "status", "cautions"):
        assert found[key] == first[key]
    assert tally.first_error.endswith("z.png is not a PNG, JPEG or DICOM image.")


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("change", ["added", "gone", "other"])
def test_a_finished_file_of_other_inputs_is_refused(
    extension: str, change: str, built: Path, images: Path
) -> None:
    if extension == ".parquet":
        pytest.importorskip("pyarrow")
    out, opened = Path(f"p{extension}"), open_bundle(built)
    predict(opened, [images], out, False, Silent())
    before = out.read_bytes()
    if change == "added":
        shutil.copy(images / "3.png", images / "zz.png")
    elif change == "gone":
        (images / "z.png").unlink()
    else:
        (images / "3.png").rename(images / "33.png")
    with pytest.raises(ArtifactError, match=r"finished, but not with these inputs: row [1-8] is"):
        predict(opened, [images], out, True, Silent())
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    ["path,status,label,probability,p_x,error\n", 'path,status,label,probability\n"a', "\xe9"],
)
def test_a_file_of_other_classes_or_a_damaged_one_is_refused(
    text: str, built: Path, images: Path
) -> None:
    out = Path("p.csv")
    out.write_text(text + "a,b\n", encoding="latin-1")
    with pytest.raises(ArtifactError):
        predict(open_bundle(built), [images], out, True, Silent())
    assert out.read_text(encoding="latin-1") == text + "a,b\n"


def test_the_command_says_that_it_is_finished(built: Path, images: Path, cxredge: Run) -> None:
    ran = cxredge("predict", built, images, "--out", "p.csv")
    assert "6 of 7 images predicted in" in ran.out
    assert "Wrote p.csv" in ran.out
    ran = cxredge("predict", built, images, "--out", "p.csv", "--resume")
    assert ran.out.startswith("p.csv is finished: 6 of 7 images predicted, all of them before.")
    ran = cxredge("predict", built, images, "--out", "p.csv")
    assert "Replaced p.csv" in ran.out


def test_without_out_an_existing_file_is_not_replaced(
    built: Path, images: Path, cxredge: Run
) -> None:
    assert cxredge("predict", built, images, "--json").json["predictions"] == "predictions.csv"
    before = Path("predictions.csv").read_bytes()
    ran = cxredge("predict", built, images / "3.png")
    assert ran.code == 1
    assert "Error: predictions.csv exists." in ran.err
    assert "--out predictions.csv" in ran.err
    assert Path("predictions.csv").read_bytes() == before
    assert cxredge("predict", built, images / "3.png", "--out", "predictions.csv").code == 0
    assert len(read_rows(Path("predictions.csv"))) == 1


def test_the_file_is_checked_before_the_inputs_and_the_bundle(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "none" / "p.csv"
    with pytest.raises(CxredgeError, match="does not exist") as caught:
        predict(open_bundle(built), [tmp_path], out, False, Silent())
    assert caught.value.hint == f"Make it first: mkdir -p {tmp_path}/none"
