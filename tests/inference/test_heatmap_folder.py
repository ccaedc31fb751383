"""``predict --heatmaps``: a picture per row that the network answered, resumed with the rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

import cxredge as package
from cxredge.bundle.bundle import open_bundle
from cxredge.data.inputs import walk_images
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.inference import heatmap_folder
from cxredge.inference import predict as prediction
from cxredge.inference.predict import predict
from cxredge.progress import Silent
from tests.builds import build
from tests.inference.test_predict_interrupted import StopAfter
from tests.predictions import read_rows


@pytest.fixture
def few(phantoms: Path, tmp_path: Path) -> Path:
    """A folder of 20 X-rays and a file that is none, whose names would name patients."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, path in enumerate(sorted((phantoms / "images").rglob("*.*"))[::5][:20]):
        shutil.copy(path, folder / f"SMITH-JOHN-{number:02d}{path.suffix}")
    (folder / "SMITH-JOHN-05b.png").write_bytes(b"none")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run(bundle: Path, few: Path, out: Path, resume: bool = False, progress=None, heatmaps="maps"):
    where = None if heatmaps is None else out.parent / heatmaps
    opened = open_bundle(bundle)
    return predict(opened, [few], out, resume, progress or Silent(), heatmaps=where)


def test_each_answered_row_has_a_picture_with_its_number(
    bundle: Path, few: Path, tmp_path: Path, cxredge
) -> None:
    out, maps = tmp_path / "p.csv", tmp_path / "maps"
    ran = cxredge("predict", bundle, few, "--out", out, "--heatmaps", maps, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["heatmaps"] == str(maps)
    rows = read_rows(out)
    expected = [f"{n:06d}.png" for n, row in enumerate(rows, start=1) if row["p_viral"]]
    assert len(rows) == 21 > len(expected) == 20
    assert sorted(path.name for path in maps.iterdir()) == expected
    for path in maps.iterdir():
        with Image.open(path) as picture:
            assert (picture.mode, picture.info) == ("RGB", {})
            assert picture.width > 900
    assert not any("SMITH" in name for name in contents(maps))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "bundle") == [
        "in", "maps", "p.csv",
    ]  # fmt: skip


@pytest.mark.parametrize("after", [1, 10])
def test_resumed_pictures_equal_undisturbed_ones(
    after: int, bundle: Path, few: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    run(bundle, few, whole, heatmaps="all")
    with pytest.raises(KeyboardInterrupt):
        run(bundle, few, parts, progress=StopAfter(after))
    assert not (tmp_path / "maps").exists()
    # A picture that was written before its row was is written again.
    left = heatmap_folder.partial_folder_of(tmp_path / "maps")
    (left / "000021.png").write_bytes(b"torn")
    tally = run(bundle, few, parts, resume=True)
    assert tally.resumed > 0
    assert contents(tmp_path / "maps") == contents(tmp_path / "all")
    assert whole.read_bytes() == parts.read_bytes()
    assert not left.exists()


def test_a_crash_after_the_last_row_loses_no_picture(
    bundle: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p.csv"

    def crash(self: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(heatmap_folder.HeatmapFolder, "finish", crash)
        with pytest.raises(KeyboardInterrupt):
            run(bundle, few, out)
    assert out.exists()
    assert not (tmp_path / "maps").exists()
    (tmp_path / ".maps.lock").write_text("1\n")  # left by a process that was killed
    assert run(bundle, few, out, resume=True).finished_before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert len(contents(tmp_path / "maps")) == 20
    assert run(bundle, few, out, resume=True).finished_before
    with pytest.raises(ArtifactError, match="without heatmaps in"):
        run(bundle, few, out, resume=True, heatmaps="others")


def test_a_run_without_heatmaps_is_not_resumed_with_them(
    bundle: Path, few: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.csv"
    with pytest.raises(KeyboardInterrupt):
        run(bundle, few, out, progress=StopAfter(1), heatmaps=None)
    with pytest.raises(ArtifactError, match="what differs: --heatmaps"):
        run(bundle, few, out, resume=True)


def test_pictures_that_are_gone_are_noticed(bundle: Path, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    with pytest.raises(KeyboardInterrupt):
        run(bundle, few, out, progress=StopAfter(1))
    shutil.rmtree(heatmap_folder.partial_folder_of(tmp_path / "maps"))
    with pytest.raises(ArtifactError, match="heatmaps of the 8 rows so far are missing"):
        run(bundle, few, out, resume=True)


def test_a_folder_that_cannot_be_used_is_refused_before_any_work(
    bundle: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setattr(prediction, "rows_of", None)
    cases = {
        "full": "is not empty",
        "file": "it is a file or a link",
        "link": "it is a file or a link",
        "none/maps": "does not exist",
        "in/maps": "inside the input",
    }
    for name, message in cases.items():
        with pytest.raises(CxredgeError, match=message) as error:
            run(bundle, few, tmp_path / "p.csv", heatmaps=name)
        assert error.value.hint
    assert not (tmp_path / "p.csv").exists()
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_full_disk_says_how_to_go_on(
    bundle: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(heatmap_folder.HeatmapFolder, "_draw", full)
    with pytest.raises(CxredgeError, match="Cannot write heatmaps") as error:
        run(bundle, few, tmp_path / "p.csv")
    assert "--resume" in error.value.hint


def test_a_bundle_without_heatmaps_says_how_to_get_them(
    model: Path, calibration: Path, few: Path, tmp_path: Path, cxredge
) -> None:
    bundle = tmp_path / "plain"
    ran = build(cxredge, model, calibration, bundle, "--no-heatmaps", "--precision", "fp32")
    assert ran.code == 0, ran.err
    out = tmp_path / "p.csv"
    ran = cxredge("predict", bundle, few, "--out", out, "--heatmaps", tmp_path / "maps")
    assert ran.code == 1
    assert "returns no heatmaps" in ran.err
    assert "--heatmaps" in ran.err
    assert not (tmp_path / "maps").exists()
    assert not out.exists()
    with package.load(bundle) as loaded:
        image = next(walk_images([few], {}))  # type: ignore[arg-type]
        with pytest.raises(CxredgeError, match="has no heatmaps"):
            package.overlay(image, loaded.predict(image))


def test_the_api_returns_arrays_and_pictures(bundle: Path, few: Path) -> None:
    image = few / "SMITH-JOHN-00.png"
    with package.load(bundle) as loaded:
        row = loaded.predict(image)
    assert row.maps is not None
    assert row.maps.shape[0] == len(loaded.classes)
    assert row.map_grid is not None
    assert row.map_grid.stride * row.maps.shape[1] == row.map_grid.size
    first, other = package.overlay(image, row), package.overlay(image, row, "normal")
    assert first.width > 900
    assert first.tobytes() != other.tobytes()
    with pytest.raises(CxredgeError, match="Unknown class 'flu'"):
        package.overlay(image, row, "flu")
