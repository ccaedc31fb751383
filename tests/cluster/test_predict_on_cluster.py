"""Predictions on a cluster: rows, deaths, interruptions and refusals, with the workers here."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cxredge.bundle.bundle import open_bundle
from cxredge.cluster import predict as stage
from cxredge.cluster.predict import predict_on_cluster
from cxredge.cluster.shards import folder_of
from cxredge.data.path_list import PathList
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.inference.predict import predict
from cxredge.inference.predictions_file import partial_of
from cxredge.progress import Advance, Silent
from tests.cluster.fake_cluster import Deaths, refuse, use
from tests.conftest import Run
from tests.predictions import many_images, read_rows

IMAGES, ROWS = 130, 16


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SHARD_ROWS", ROWS)
    monkeypatch.setattr(stage.shards_of, "__defaults__", (ROWS,))


@pytest.fixture
def folder(phantoms: Path, tmp_path: Path) -> Path:
    """130 images, of which one is damaged and one is no X-ray."""
    made = many_images(tmp_path / "in", phantoms, IMAGES)
    for name, content in (("00020x.png", b"damaged"), ("00099x.png", b"")):
        (made / name).write_bytes(content)
    return made


class Notes(Silent):
    """Keeps what was reported."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.images = 0

    def note(self, message: str) -> None:
        self.notes.append(message)

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Advance]:
        def advance(count: int) -> None:
            self.images += count

        yield advance


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_rows_are_those_of_one_machine(
    suffix: str, bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    clusters, opened = use(monkeypatch), open_bundle(bundle)
    one, many = tmp_path / f"one{suffix}", tmp_path / f"many{suffix}"
    expected, heard = predict(opened, [folder], one, False, Silent()), Notes()
    tally, summary = predict_on_cluster(opened, [folder], many, False, heard)
    assert many.read_bytes() == one.read_bytes()
    same = ("images", "ok", "failed", "unfamiliar", "status", "cautions", "near_ties", "resumed")
    for key in same:
        assert tally.to_json()[key] == expected.to_json()[key], key
    assert tally.first_error == expected.first_error
    assert heard.images == tally.images == IMAGES + 2
    assert clusters[0].most_pending <= clusters[0].slots + 2
    assert {name: node.images for name, node in summary.nodes.items()} == {"node-0": IMAGES + 2}
    assert not folder_of(many).exists()
    assert not partial_of(many).exists()


def test_relative_paths_stay_relative(
    bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("in/00001.png\nin/gone.png\n")
    places = [Path("in"), PathList(Path("list.txt"), Path(), "list.txt")]
    opened = open_bundle(bundle)
    predict(opened, places, Path("one.csv"), False, Silent())
    predict_on_cluster(opened, places, Path("many.csv"), False, Silent())
    assert Path("many.csv").read_bytes() == Path("one.csv").read_bytes()
    assert read_rows(Path("many.csv"))[-1]["path"] == "in/gone.png"


def test_lost_shards_are_sent_again(
    bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters, opened, heard = use(monkeypatch, Deaths(2, first=32)), open_bundle(bundle), Notes()
    predict(opened, [folder], tmp_path / "one.csv", False, Silent())
    _, summary = predict_on_cluster(opened, [folder], tmp_path / "many.csv", False, heard)
    assert (tmp_path / "many.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    assert summary.to_json()["lost"] == {"its worker died": 2}
    assert clusters[0].sent.count((32, ROWS)) == 3
    assert heard.notes == ["Image 33 to 48 again: its worker died."] * 2
    assert "Sent again to other workers: its worker died (2)." in summary.lines()


def test_an_image_that_ends_every_worker_has_a_row_and_the_others_theirs(
    bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Deaths(10_000, name="00041.png"))
    opened = open_bundle(bundle)
    predict(opened, [folder], tmp_path / "one.csv", False, Silent())
    predict_on_cluster(opened, [folder], tmp_path / "many.csv", False, Silent())
    one, many = (read_rows(tmp_path / name) for name in ("one.csv", "many.csv"))
    (number,) = (n for n, row in enumerate(one) if row["path"].endswith("00041.png"))
    assert many[number]["status"] == "unreadable"
    assert "ended the worker that predicted it, 3 times" in many[number]["error"]
    assert many[:number] + many[number + 1 :] == one[:number] + one[number + 1 :]


@pytest.mark.parametrize("after", [1, 50, 131])
def test_an_interrupted_prediction_keeps_its_shards(
    after: int, bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Notes):
        @contextmanager
        def task(self, description: str, total: int | None) -> Iterator[Advance]:
            def advance(count: int) -> None:
                self.images += count
                if self.images >= after:
                    raise KeyboardInterrupt

            yield advance

    clusters, opened, out = use(monkeypatch), open_bundle(bundle), tmp_path / "many.csv"
    predict(opened, [folder], tmp_path / "one.csv", False, Silent())
    with pytest.raises(KeyboardInterrupt):
        predict_on_cluster(opened, [folder], out, False, Stop())
    assert not out.exists()
    shards = {path: path.stat().st_mtime_ns for path in folder_of(out).iterdir()}
    assert shards
    again = predict_on_cluster
    (tmp_path / "gone").write_bytes(b"")
    tally, summary = again(opened, [folder], out, True, Silent())
    assert out.read_bytes() == (tmp_path / "one.csv").read_bytes()
    kept = {int(path.stem.removeprefix("part-")) for path in shards}
    assert {first for first, _ in clusters[1].sent} == set(range(0, IMAGES + 2, ROWS)) - kept
    assert summary.kept_shards == len(kept)
    assert 0 < tally.resumed <= tally.images == IMAGES + 2


def stopped(bundle: Path, folder: Path, out: Path, patch: pytest.MonkeyPatch) -> None:
    """Predict until a worker refuses, so that two shards are kept."""
    count = iter(range(100))
    use(patch, lambda shard: refuse(shard) if next(count) > 1 else None)
    with pytest.raises(CxredgeError, match=r"Worker on a: no bundle\.") as caught:
        predict_on_cluster(open_bundle(bundle), [folder], out, False, Silent())
    assert caught.value.hint == "Copy it there."
    use(patch)


def test_changed_inputs_are_not_resumed(
    bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "many.csv"
    stopped(bundle, folder, out, monkeypatch)
    kept = min(int(shard.stem.removeprefix("part-")) for shard in folder_of(out).iterdir())
    image = sorted(folder.iterdir())[kept + 3]
    image.rename(image.with_stem(f"{image.stem}-renamed"))
    with pytest.raises(CxredgeError, match="inputs have changed since the interruption"):
        predict_on_cluster(open_bundle(bundle), [folder], out, True, Silent())
    for image in list(folder.iterdir())[20:]:
        image.unlink()
    with pytest.raises(CxredgeError, match=r"inputs have changed|has \d shards; expected \d"):
        predict_on_cluster(open_bundle(bundle), [folder], out, True, Silent())
    tally, _ = predict_on_cluster(open_bundle(bundle), [folder], out, False, Silent())
    assert tally.images == len(read_rows(out)) == 20


def test_neither_engine_resumes_the_other(
    bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, opened = tmp_path / "many.csv", open_bundle(bundle)
    stopped(bundle, folder, out, monkeypatch)
    with pytest.raises(ArtifactError, match=r"what differs: --finish, --engine"):
        predict(opened, [folder], out, True, Silent())


def test_two_drivers_are_refused(
    bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch)
    out, opened = tmp_path / "many.csv", open_bundle(bundle)

    class Second(Silent):
        @contextmanager
        def task(self, description: str, total: int | None) -> Iterator[Advance]:
            for engine in (predict_on_cluster, predict):
                with pytest.raises(CxredgeError, match="Another prediction is writing"):
                    engine(opened, [folder], out, True, Silent())
            yield lambda _: None

    predict_on_cluster(opened, [folder], out, False, Second())
    assert len(read_rows(out)) == IMAGES + 2


def test_a_finished_file_is_not_predicted_again(
    bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters, out, opened = use(monkeypatch), tmp_path / "many.csv", open_bundle(bundle)
    predict_on_cluster(opened, [folder], out, False, Silent())
    tally, _ = predict_on_cluster(opened, [folder], out, True, Silent())
    assert len(clusters) == 1
    assert (tally.finished_before, tally.images) == (True, IMAGES + 2)


def test_the_command_reports_nodes_and_how_to_resume(
    bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cxredge: Run
) -> None:
    use(monkeypatch)
    words = ["predict", bundle, folder, "--out", tmp_path / "p.csv", "--engine", "ray"]
    ran = cxredge(*words, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["engine"] == "ray"
    (node,) = ran.json["cluster"]["nodes"]
    assert node["images"] == ran.json["images"] == IMAGES + 2
    assert node["images_per_second"] > 0
    (served,) = node["served"]
    assert served["bundle"] == "finished on this kind of machine"
    assert served["backend"] == "onnxruntime"
    assert served["precision"] == open_bundle(bundle).precision.value
    text = cxredge(*words).out
    assert "Cluster local, up after 0.2 s." in text
    assert f"{IMAGES + 2} images, " in text

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "predict_on_cluster", interrupted)
    ran = cxredge(*words, "--cluster", "a:1", "--cores-per-worker", "2", "--finish")
    assert ran.code == 130
    assert shlex.split(ran.err.split("Resume with: cxredge ")[1])[-7:] == [
        "--engine", "ray", "--cluster", "a:1", "--cores-per-worker", "2", "--finish",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cluster", "auto"], "--cluster requires a cluster"),
        (["--cores-per-worker", "2"], "--cores-per-worker requires a cluster"),
        (["--finish"], "--finish requires a cluster"),
        (["--engine", "ray", "--heatmaps", "h"], "--heatmaps is not available with --engine ray"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    words: list[str], said: str, bundle: Path, phantoms: Path, cxredge: Run
) -> None:
    ran = cxredge("predict", bundle, phantoms / "images", *words)
    assert ran.code == 2
    assert said in ran.err


def test_silence_and_progress_are_reported(
    bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch)
    monkeypatch.setattr("cxredge.cluster.driver._SILENCE_S", -1.0)
    heard = Notes()
    predict_on_cluster(open_bundle(bundle), [folder], tmp_path / "p.csv", False, heard)
    assert heard.notes[0].startswith("No answer for 0 s: ")
