"""A worker: what it checks before it predicts, and what it says about the bundle."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cxredge.bundle.passport import PASSPORT_NAME
from cxredge.cluster import finished_copy, worker
from cxredge.cluster.finished_copy import kind_of_machine
from cxredge.cluster.identity import files_sha256
from cxredge.cluster.job import ClusterJob, Refusal, ServedAs, Shard, ShardRows
from cxredge.cluster.worker import predict_shard
from cxredge.errors import CxredgeError, GateRefused
from cxredge.inference.answers import PredictionOptions
from cxredge.version import __version__


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    if worker._opened is not None:
        worker._opened.close()
        worker._opened = None


@pytest.fixture
def shard(phantoms: Path) -> Shard:
    return Shard(0, tuple(sorted((phantoms / "images").rglob("*.png"))[:5]))


def job_for(bundle: Path, /, **changes: object) -> ClusterJob:
    job = ClusterJob(__version__, bundle, files_sha256(bundle), False, PredictionOptions(), 1)
    return replace(job, **changes)  # type: ignore[arg-type]


def rows(job: ClusterJob, shard: Shard) -> ShardRows:
    found = predict_shard(job, shard)
    assert isinstance(found, ShardRows), found
    return found


def test_a_bundle_is_opened_once_for_all_shards_of_a_job(
    bundle: Path, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = rows(job_for(bundle), shard)
    assert one.lines.count(b"\n") == 5
    assert one.ended >= one.began > 0
    assert set(one.seconds) == {"read", "decode", "preprocess", "infer"}
    opened = worker._opened
    assert rows(pickle.loads(pickle.dumps(job_for(bundle))), shard).lines == one.lines
    assert worker._opened is opened
    assert rows(job_for(bundle, cores=2), shard).lines == one.lines
    assert worker._opened is not opened


@pytest.mark.parametrize("what", ["bundle", "roots", "folder"])
def test_what_a_node_does_not_see_is_named(what: str, bundle: Path, shard: Shard) -> None:
    gone = bundle.parent / "gone"
    job = job_for(bundle, **{what: (gone,) if what == "roots" else gone})
    found = predict_shard(job, shard)
    assert isinstance(found, Refusal)
    assert f"{gone} does not exist there." in found.message
    assert "shared file system" in found.hint


def test_another_version_or_bundle_is_refused(bundle: Path, shard: Shard) -> None:
    found = predict_shard(job_for(bundle, version="9.9"), shard)
    assert isinstance(found, Refusal)
    assert "the driver has 9.9" in found.message
    job = job_for(bundle)
    (bundle / PASSPORT_NAME).unlink()
    found = predict_shard(job, shard)
    assert isinstance(found, Refusal)
    assert "its card or passport differs" in found.message


def test_a_missing_package_is_named(
    bundle: Path, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'openvino'", name="openvino")

    monkeypatch.setattr(worker, "_Opened", missing)
    found = predict_shard(job_for(bundle), shard)
    assert isinstance(found, Refusal)
    assert "'openvino' is not installed there" in found.message


def test_how_the_bundle_is_used_is_said(
    bundle: Path, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rows(job_for(bundle), shard).served.how is ServedAs.FINISHED
    monkeypatch.setattr(worker, "strange_here", lambda *_: "strange")
    assert rows(job_for(bundle, cores=2), shard).served.how is ServedAs.FINISHED_ELSEWHERE
    (bundle / PASSPORT_NAME).unlink()
    served = rows(job_for(bundle), shard).served
    assert (served.how, served.backend) == (ServedAs.AS_PACKED, "onnxruntime")


def test_a_kind_of_machine_finishes_its_copy_once(
    bundle: Path, shard: Shard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (bundle / PASSPORT_NAME).unlink()
    before = sorted(path.name for path in bundle.iterdir())
    served = rows(job_for(bundle, finish=True), shard).served
    assert (served.how, served.reason) == (ServedAs.FINISHED, "")
    copies = list((tmp_path / "cache/cxredge/finished").glob("*/"))
    (copy,) = (one for one in copies if one.is_dir())
    assert copy.name.endswith(kind_of_machine())
    assert sorted(path.name for path in bundle.iterdir()) == before
    monkeypatch.setattr(finished_copy, "deploy_bundle", None)
    rows(job_for(bundle, finish=True, cores=2), shard)
    (copy / PASSPORT_NAME).write_text("{}")
    assert not finished_copy._is_finished(copy)


def test_a_bundle_that_cannot_be_finished_runs_as_packed_and_says_why(
    bundle: Path, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise CxredgeError("For another machine.")

    def refuse(*_: object) -> None:
        raise GateRefused("The golden images differ.")

    monkeypatch.setattr(finished_copy, "deploy_bundle", fail)
    served = rows(job_for(bundle, finish=True), shard).served
    assert served.reason == "For another machine."
    monkeypatch.setattr(finished_copy, "deploy_bundle", refuse)
    found = predict_shard(job_for(bundle, finish=True, cores=2), shard)
    assert isinstance(found, Refusal)
    assert "The golden images differ." in found.message


def test_gpus_belong_to_the_kind_of_machine(tmp_path: Path) -> None:
    for number in ("0", "1"):
        place = tmp_path / f"{number}/information"
        place.parent.mkdir()
        place.write_text(f"Model: \t Board {number}\nIRQ: 1\n")
    assert finished_copy._gpus(tmp_path) == ["Board 0", "Board 1"]


def test_a_copy_waits_for_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, waited = tmp_path / "one.lock", []

    class ReleasedError(Exception):
        pass

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        raise ReleasedError

    monkeypatch.setattr(finished_copy.time, "sleep", sleep)
    with finished_copy._alone(place), pytest.raises(ReleasedError), finished_copy._alone(place):
        pass
    assert waited == [0.5]
    with finished_copy._alone(place):
        pass
