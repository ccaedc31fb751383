"""The Python API: a bundle loaded from Python predicts what the command line does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cxredge as package
from cxredge.bundle.bundle import open_bundle
from cxredge.data.phantoms import render_phantom
from cxredge.errors import ArtifactError, CxredgeError, ImageError, ImageProblem
from cxredge.inference import rows
from cxredge.inference.pipeline import infer_images
from tests.conftest import SIZE
from tests.predictions import read_rows

PICTURE = render_phantom("normal", 1, 0, SIZE)


@pytest.fixture
def loaded(built: Path) -> Iterator[package.Model]:
    with package.load(built) as opened:
        yield opened


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_public_surface() -> None:
    assert package.__all__ == [
        "CxredgeError",
        "ImageError",
        "Model",
        "PredictionRow",
        "__version__",
        "load",
        "overlay",
    ]
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert dir(package) == sorted(package.__all__)
    with pytest.raises(AttributeError, match="module 'cxredge' has no attribute 'lode'"):
        package.lode  # noqa: B018


def test_importing_the_package_takes_less_than_30_ms() -> None:
    code = (
        "import sys, time\n"
        "began = time.process_time()\n"
        "import cxredge\n"
        "took = time.process_time() - began\n"
        "assert not {'torch', 'numpy', 'PIL', 'onnxruntime', 'typer'} & set(sys.modules)\n"
        "print(took * 1000)\n"
    )
    assert min(float(python(code)) for _ in range(5)) < 30


def test_predicting_imports_neither_torch_nor_the_command_line(built: Path, phantoms: Path) -> None:
    image = next((phantoms / "images").rglob("*.*"))
    python(
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "import cxredge\n"
        f"with cxredge.load({str(built)!r}) as model:\n"
        f"    label = model.predict({str(image)!r}).label\n"
        f"    (row,) = model.predict_many([{str(image)!r}])\n"
        "assert row.label == label\n"
        "assert sys.modules['torch'] is None\n"
        "assert not {'typer', 'cxredge.cli', 'cxredge.training', 'pandas'} & set(sys.modules)\n"
    )


def test_the_model_says_what_it_is(loaded: package.Model, built: Path) -> None:
    bundle = open_bundle(built)
    assert loaded.classes == bundle.card.classifier.classes
    assert loaded.thresholds == bundle.thresholds
    assert list(loaded.thresholds) == list(loaded.classes)
    assert (loaded.precision, loaded.backend) == (bundle.precision.value, "onnxruntime")
    assert loaded.network == "tiny"


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_file_bytes_pillow_and_array_predict_the_same(
    depth: type, loaded: package.Model, tmp_path: Path
) -> None:
    pixels = PICTURE.astype(depth) * (257 if depth is np.uint16 else 1)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    expected = loaded.predict(str(path))
    assert (expected.path, expected.status, expected.error) == (str(path), "ok", "")
    assert expected.label in loaded.classes
    assert expected.decided_by in ("int8", "fp32")
    assert sum(expected.probabilities.values()) == pytest.approx(1, abs=1e-5)
    for image in (path, path.read_bytes(), Image.open(path), pixels):
        assert replace(loaded.predict(image), path=str(path)) == expected


def test_dicom_predicts_as_the_same_pixels_and_says_what_is_doubtful(
    loaded: package.Model, tmp_path: Path
) -> None:
    pytest.importorskip("pydicom", reason="needs the dicom extra")
    from tests.dicom_files import dicom

    path, lateral = tmp_path / "a.dcm", dicom(PICTURE, ViewPosition="LL")
    path.write_bytes(dicom(PICTURE))
    row = loaded.predict(path)
    assert replace(loaded.predict(PICTURE), path=str(path)) == row
    assert replace(loaded.predict(path.read_bytes()), path=str(path)) == row
    assert row.cautions == ()
    with pytest.raises(ImageError) as caught:
        loaded.predict(lateral)
    assert caught.value.problem is ImageProblem.LATERAL
    (refused,) = loaded.predict_many([lateral])
    assert (refused.status, refused.label, refused.probability) == ("lateral", "", None)
    doubtful = loaded.predict(lateral, any_view=True)
    assert doubtful.probabilities == row.probabilities
    assert [sentence.startswith("The view is lateral") for sentence in doubtful.cautions] == [True]
    assert next(loaded.predict_many([lateral], any_view=True)).cautions == doubtful.cautions


def test_rows_are_those_of_the_command(
    loaded: package.Model, built: Path, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    folder, out = tmp_path / "in", tmp_path / "p.csv"
    shutil.copytree(phantoms / "images", folder)
    (folder / "broken.png").write_bytes(b"no image")
    assert cxredge("predict", built, folder, "--out", out).code == 0
    written, found = read_rows(out), list(loaded.predict_many([folder]))
    assert len(written) == len(found) > 50
    for before, row in zip(written, found, strict=True):
        assert (row.path, row.status, row.label) == (
            before["path"],
            before["status"],
            before["label"],
        )
        assert {f"p_{name}": str(p) for name, p in row.probabilities.items()} == {
            key: value for key, value in before.items() if key.startswith("p_") and value
        }
        assert row.error == before["error"]


def test_many_are_in_order_with_errors_as_rows(
    loaded: package.Model, phantoms: Path, tmp_path: Path
) -> None:
    good = sorted((phantoms / "images").rglob("*.*"))[:30]
    given = [good[4], str(tmp_path / "gone.png"), *good[::-1], PICTURE, PICTURE / 2, b""]
    found = list(loaded.predict_many(given))
    paths = [str(path) for path in given[:-3]]
    assert [row.path for row in found[:-3]] == paths
    assert [row.status for row in found[-3:]] == ["ok", "unsupported", "empty"]
    assert [row.path for row in found if row.status == "missing"] == [paths[1]]
    for path, row in list(zip(given, found, strict=True))[2:9]:
        alone = loaded.predict(path)
        assert alone.label == row.label
        assert alone.probability == pytest.approx(row.probability, abs=1e-4)
    assert list(loaded.predict_many([])) == []
    assert [row.path for row in loaded.predict_many(good[0])] == [str(good[0])]


def test_many_use_all_cores(
    loaded: package.Model, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers: list[int] = []

    def recorded(session, sources, count, any_view):
        workers.append(count)
        return infer_images(session, sources, count, any_view)

    monkeypatch.setattr(rows, "infer_images", recorded)
    assert len(list(loaded.predict_many([phantoms / "images"]))) > 50
    assert workers == [len(os.sched_getaffinity(0))]


def test_images_are_read_as_rows_are_taken(loaded: package.Model) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield PICTURE

    found = loaded.predict_many(endless())
    for _ in range(20):
        next(found)
    found.close()
    assert 20 <= taken < 20 + 64 * len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("image", "problem", "message"),
    [
        ("gone.png", ImageProblem.MISSING, "gone.png does not exist"),
        (b"", ImageProblem.EMPTY, "is empty"),
        (PICTURE / 255, ImageProblem.UNSUPPORTED, "float64 is not supported; expected"),
        (None, ImageProblem.UNSUPPORTED, "NoneType is not an image; expected a path"),
        ([[0]], ImageProblem.UNSUPPORTED, "list is not an image"),
    ],
)
def test_what_cannot_be_predicted_is_said(
    image: object, problem: ImageProblem, message: str, loaded: package.Model
) -> None:
    with pytest.raises(package.ImageError, match=message) as caught:
        loaded.predict(image)
    assert caught.value.problem is problem
    assert isinstance(caught.value, package.CxredgeError)


def test_items_that_are_no_images_are_failed_rows(loaded: package.Model, phantoms: Path) -> None:
    good = next((phantoms / "images").rglob("*.*"))
    rows = list(loaded.predict_many([good, None, 3, good]))  # type: ignore[list-item]
    assert [row.status for row in rows] == ["ok", "unsupported", "unsupported", "ok"]
    assert rows[1].path == "object of type NoneType"
    assert rows[2].error.startswith("int is not an image; expected a path, bytes, a Pillow image")


def test_archives_and_folders_are_no_single_image(loaded: package.Model, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("1.png", b"")
    for path, kind in ((tmp_path / "x.zip", "zip archive"), (tmp_path, "folder")):
        with pytest.raises(package.ImageError, match=f"is a {kind}, not an image") as caught:
            loaded.predict(path)
        assert "predict_many" in caught.value.hint
    (tmp_path / "y.zip").write_bytes(b"no archive")
    with pytest.raises(package.ImageError, match="is not a zip archive that can be opened"):
        loaded.predict(tmp_path / "y.zip")


@pytest.mark.parametrize("mode", ["L", "RGB", "I"])
def test_a_closed_picture_says_so(mode: str, loaded: package.Model, tmp_path: Path) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as from_file:
        pass
    in_memory = Image.new(mode, (64, 64))
    in_memory.close()
    for picture in (from_file, in_memory):
        with pytest.raises(package.ImageError, match="is closed") as caught:
            loaded.predict(picture)
        assert caught.value.problem is ImageProblem.UNREADABLE
    assert [row.status for row in loaded.predict_many([in_memory])] == ["unreadable"]


def test_a_closed_model_says_so(built: Path) -> None:
    model = package.load(str(built))
    next(model.predict_many([PICTURE]))
    model.close()
    model.close()
    for call in (lambda: model.predict(PICTURE), lambda: model.predict_many([PICTURE])):
        with pytest.raises(CxredgeError, match="The model is closed") as caught:
            call()
        assert f"cxredge.load('{built}')" in caught.value.hint


def test_rows_end_with_a_sentence_if_the_model_is_closed(built: Path) -> None:
    with package.load(built) as model:
        rows_left = model.predict_many([PICTURE])
    with pytest.raises(CxredgeError, match="The model is closed"):
        list(rows_left)


def test_one_array_is_one_image(loaded: package.Model) -> None:
    (row,) = loaded.predict_many(PICTURE)
    assert row == loaded.predict(PICTURE)


@pytest.mark.parametrize("path", [None, 3, b"bundle"])
def test_a_path_of_another_type_is_refused(path: object) -> None:
    with pytest.raises(CxredgeError, match="Expected the path of a bundle, got "):
        package.load(path)  # type: ignore[arg-type]


@pytest.mark.parametrize("images", [None, 3])
def test_images_that_are_no_sequence_are_refused(loaded: package.Model, images: object) -> None:
    with pytest.raises(CxredgeError, match="Expected images, got "):
        list(loaded.predict_many(images))  # type: ignore[arg-type]


def test_threads_share_a_model(loaded: package.Model) -> None:
    expected, found = loaded.predict(PICTURE), []
    threads = [
        threading.Thread(target=lambda: found.extend(loaded.predict_many([PICTURE] * 9)))
        for _ in range(4)
    ]
    threads += [
        threading.Thread(target=lambda: found.append(loaded.predict(PICTURE))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.label for row in found] == [expected.label] * 44


def test_a_model_on_a_gpu_is_refused_to_other_threads(
    loaded: package.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = loaded._for_one
    monkeypatch.setattr(session, "spec", replace(session.spec, concurrent=False))
    assert loaded.predict(PICTURE).status == "ok"
    seen: list[str] = []

    def call() -> None:
        with pytest.raises(CxredgeError) as caught:
            loaded.predict(PICTURE)
        seen.append(caught.value.message)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert seen == ["A model on onnxruntime belongs to the thread that loaded it."]


def test_what_is_no_bundle_is_refused(tmp_path: Path, phantoms: Path, built: Path) -> None:
    with pytest.raises(ArtifactError, match="gone"):
        package.load(tmp_path / "gone")
    with pytest.raises(ArtifactError):
        package.load(phantoms)
    changed = Path(shutil.copytree(built, tmp_path / "changed"))
    with (changed / "model-fp32.onnx").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(CxredgeError, match=r"model-fp32\.onnx"):
        package.load(changed)


def test_an_archive_is_refused_with_the_way_to_unpack_it(
    built: Path, tmp_path: Path, cxredge
) -> None:
    import tarfile

    archive = tmp_path / "bundle.tar"
    with tarfile.open(archive, "w") as tar:
        for path in sorted(built.iterdir()):
            tar.add(path, path.name)
    with pytest.raises(ArtifactError) as caught:
        package.load(archive)
    assert "cxredge deploy" in caught.value.hint
