from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.data.phantom_anatomy import anatomy_of
from cxredge.data.phantoms import (
    ALL_LABELS,
    LABELS,
    phantom_opacity,
    render_phantom,
    write_phantoms,
)
from cxredge.errors import DataError


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("phantoms") / "new"
    write_phantoms(directory, patients_per_class=5, size=64)
    return directory


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


@cache
def opacity(label: str) -> np.ndarray:
    """How much brighter than the same healthy chest each pixel is; float (6, 256, 256)."""
    shots = [
        render_phantom(label, patient, 0).astype(float) - render_phantom("normal", patient, 0)
        for patient in range(6)
    ]
    return np.array(shots)


def mean_opacity(label: str) -> np.ndarray:
    """Mean opacity of each lung; float (patients, 2), image left then right."""
    lungs = (opacity(label)[:, 40:170, 26:126], opacity(label)[:, 40:170, 130:230])
    return np.stack([lung.mean(axis=(1, 2)) for lung in lungs], axis=1)


@pytest.mark.parametrize("label", ALL_LABELS)
def test_same_arguments_give_same_pixels(label: str) -> None:
    first = render_phantom(label, 3, 1)
    anatomy_of.cache_clear()
    np.testing.assert_array_equal(first, render_phantom(label, 3, 1))


@pytest.mark.parametrize("size", [32, 128, 256, 300])
def test_shape_type_and_range(size: int) -> None:
    image = render_phantom("viral", 0, 0, size=size)
    assert image.shape == (size, size)
    assert image.dtype == np.uint8
    assert image.max() > 170
    assert image.min() < 30
    assert image.std() > 30


def test_seed_and_patient_change_the_anatomy() -> None:
    image = render_phantom("normal", 0, 0).astype(int)
    for other in (render_phantom("normal", 1, 0), render_phantom("normal", 0, 0, seed=1)):
        assert np.abs(image - other).mean() > 5


@pytest.mark.parametrize("label", ALL_LABELS)
def test_exposures_of_a_patient_are_near_but_not_equal(label: str) -> None:
    first, second = render_phantom(label, 5, 0), render_phantom(label, 5, 1)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.9
    assert not np.array_equal(first, second)


def test_heart_lies_on_the_right_of_the_image_and_lungs_are_dark() -> None:
    mean = np.mean([render_phantom("normal", patient, 0) for patient in range(6)], axis=0)
    heart_row = mean[150:165]
    assert heart_row[:, 150:160].mean() > heart_row[:, 96:106].mean() + 10
    assert mean[80:160, 60:90].mean() + 40 < mean[80:160, 122:134].mean()
    assert mean[120:200, :4].mean() < 60


@pytest.mark.parametrize("label", ["covid19", "viral"])
def test_bilateral_disease_brightens_both_lungs(label: str) -> None:
    assert (mean_opacity(label).mean(axis=0) > 3).all()


def test_bacterial_consolidation_lies_in_one_lung() -> None:
    healthy, ill = np.sort(mean_opacity("bacterial"), axis=1).T
    assert ill.min() > 3
    assert np.abs(healthy).max() < 3


def test_covid19_lies_low() -> None:
    covid19 = opacity("covid19")
    assert covid19[:, 120:180].mean() > 2 * abs(covid19[:, 30:90].mean())


def test_viral_is_the_roughest() -> None:
    viral, covid19 = (np.abs(np.diff(opacity(it), axis=2)).mean() for it in ("viral", "covid19"))
    assert viral > 1.5 * covid19


@pytest.mark.parametrize(
    "arguments",
    [("flu", 0, 0, 256, 0), ("viral", 0, 0, 8, 0), ("viral", -1, 0, 256, 0)],
    ids=["label", "size", "patient"],
)
def test_bad_arguments_are_refused(arguments: tuple[str, int, int, int, int]) -> None:
    with pytest.raises(DataError) as error:
        render_phantom(*arguments)
    assert error.value.hint


def test_layout_and_count(tmp_path: Path) -> None:
    calls: list[None] = []
    count = write_phantoms(tmp_path, 3, size=32, on_image=lambda: calls.append(None))
    written = files(tmp_path)
    assert count == len(calls) == len(written)
    assert tuple(sorted(path.name for path in tmp_path.iterdir())) == LABELS
    patients: dict[str, set[str]] = {}
    for path in written:
        patient, exposure = path.stem.rsplit("-", 1)
        assert exposure in {"1", "2", "3"}
        patients.setdefault(patient, set()).add(path.parent.name)
    assert len(patients) == 12
    assert all(len(labels) == 1 for labels in patients.values())


def test_file_kinds_are_mixed(collection: Path) -> None:
    kinds = set()
    for path in files(collection):
        with Image.open(path) as image:
            kinds.add((path.suffix, image.mode, image.width == image.height))
            if image.mode.startswith("I"):
                pixels = np.asarray(image)
                assert pixels.max() > 40_000
                assert not (pixels % 257).any()
    modes = {("16" if mode.startswith("I") else mode, square) for _, mode, square in kinds}
    assert modes == {("L", True), ("L", False), ("RGB", True), ("16", True)}
    assert {suffix for suffix, _, _ in kinds} == {".png", ".jpg"}


def test_files_hold_the_rendered_pixels(collection: Path) -> None:
    with Image.open(collection / "bacterial" / "patient-0000-1.png") as image:
        np.testing.assert_array_equal(np.asarray(image), render_phantom("bacterial", 0, 0, 64))


def test_writing_is_deterministic(collection: Path, tmp_path: Path) -> None:
    write_phantoms(tmp_path, patients_per_class=5, size=64)
    first, second = files(collection), files(tmp_path)
    assert [path.name for path in first] == [path.name for path in second]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))


def test_non_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(DataError, match="not an empty folder") as error:
        write_phantoms(tmp_path, 1, size=32)
    assert error.value.hint
    assert [path.name for path in files(tmp_path)] == ["keep.txt"]


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError):
        write_phantoms(tmp_path / "file", 1, size=32)


@pytest.mark.parametrize(
    ("patients", "labels"), [(1, ("flu",)), (1, ()), (0, LABELS), (1, ("viral", "viral"))]
)
def test_bad_requests_write_nothing(tmp_path: Path, patients: int, labels: tuple[str, ...]) -> None:
    with pytest.raises(DataError):
        write_phantoms(tmp_path / "new", patients, size=32, labels=labels)
    assert not (tmp_path / "new").exists()


def test_folder_with_the_same_phantoms_is_kept_and_others_are_refused(tmp_path: Path) -> None:
    written = write_phantoms(tmp_path / "images", 1, size=32)
    before = {path: path.stat().st_ino for path in files(tmp_path)}
    assert write_phantoms(tmp_path / "images", 1, size=32) == written
    with pytest.raises(DataError, match="not an empty folder"):
        write_phantoms(tmp_path / "images", 1, size=32, seed=1)
    next(iter(before)).write_bytes(b"edited")
    with pytest.raises(DataError, match="not an empty folder"):
        write_phantoms(tmp_path / "images", 1, size=32)
    assert {path: path.stat().st_ino for path in files(tmp_path)} == before


def test_interrupted_phantoms_leave_nothing(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path / "images", 1, size=32, on_image=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", sorted(set(ALL_LABELS) - {"normal"}))
def test_the_opacity_of_a_phantom_is_where_its_pixels_are_brighter(label: str) -> None:
    for patient in range(3):
        known = phantom_opacity(label, patient, 0)
        ill, healthy = (render_phantom(one, patient, 0).astype(float) for one in (label, "normal"))
        assert np.corrcoef(known.ravel(), (ill - healthy).ravel())[0, 1] > 0.85
        assert 0.05 < known.max() < 0.6
        half = phantom_opacity(label, patient, 0, size=128)
        np.testing.assert_allclose(half, known.reshape(128, 2, 128, 2).mean(axis=(1, 3)), atol=0.05)


def test_the_healthy_have_no_opacity() -> None:
    assert not phantom_opacity("normal", 0, 0).any()
