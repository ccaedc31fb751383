"""What is checked before there is a cluster, and errors of Ray in our words."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cxredge.cluster import ray_cluster
from cxredge.cluster.job import ClusterJob, Lost, Shard
from cxredge.cluster.ray_cluster import ClusterSettings, RayCluster, open_cluster
from cxredge.errors import CxredgeError
from cxredge.inference.answers import PredictionOptions
from tests.conftest import Run

JOB = ClusterJob("1", Path("b"), (), False, PredictionOptions(), 2)


class RayError(Exception):
    pass


class NodeDiedError(RayError):
    pass


class FakeRay:
    """Ray's functions that we call, in this process."""

    exceptions = SimpleNamespace(
        RayError=RayError, NodeDiedError=NodeDiedError,
        **dict.fromkeys(
            ("WorkerCrashedError", "ObjectLostError", "OutOfMemoryError", "LocalRayletDiedError"),
            NodeDiedError,
        ),
    )  # fmt: skip

    def __init__(self) -> None:
        self.result: Any = ("n", Lost("x"))
        self.resources = {"CPU": 5.0, "GPU": 1.0}
        self.options: dict[str, Any] = {}
        self.environment: dict[str, str] = {}
        self.stopped = False
        self.error: Exception | None = None

    def init(self, **options: Any) -> None:
        self.options, self.environment = options, dict(os.environ)
        if self.error:
            raise self.error

    def shutdown(self) -> None:
        self.stopped = True

    def remote(self, **_: object) -> Any:
        return lambda _: SimpleNamespace(remote=lambda *_: object())

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": self.resources}, {"Alive": False, "Resources": {}}]

    def wait(self, references: list[object], **_: object) -> tuple[list[object], list[object]]:
        return references[:1], references[1:]

    def get(self, _: object) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(ray_cluster, "find_spec", lambda _: object())
    return fake


def test_ray_is_started_without_statistics_and_with_a_token(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    with open_cluster(ClusterSettings(), JOB, 0) as cluster:
        assert ray.environment["RAY_USAGE_STATS_ENABLED"] == "0"
        assert ray.environment["RAY_AUTH_MODE"] == "token"
        assert len(ray.environment["RAY_AUTH_TOKEN"]) == 64
        assert ray.options["include_dashboard"] is False
        assert Path(ray.options["_temp_dir"]).is_dir()
        assert cluster.slots == 2
    assert ray.stopped
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
    assert "RAY_AUTH_TOKEN" not in os.environ
    with open_cluster(ClusterSettings("auto"), JOB, 1) as cluster:
        assert "RAY_AUTH_TOKEN" not in ray.environment
        assert cluster.slots == 1


def opened(settings: ClusterSettings) -> None:
    with open_cluster(settings, JOB, 0):
        pass


def test_a_cluster_that_cannot_be_reached_says_so(ray: FakeRay) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(CxredgeError, match=f"Ray cannot use {address}: .*refused") as caught:
        opened(ClusterSettings(address))
    assert "ray status" in caught.value.hint
    assert not ray.options
    with socket.create_server(("127.0.0.1", 0)) as server:
        ray.error = ConnectionError("\nno Ray\nat all")
        with pytest.raises(CxredgeError, match=r"Ray cannot use 127\.0\.0\.1:\d+: no Ray"):
            opened(ClusterSettings(f"127.0.0.1:{server.getsockname()[1]}"))
    with pytest.raises(CxredgeError, match=r"Ray cannot start on this machine: no Ray") as caught:
        opened(ClusterSettings())
    assert "less busy" in caught.value.hint


def test_a_long_folder_for_temporary_files_is_refused(
    ray: FakeRay, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / ("x" * 60)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 60)))
    with pytest.raises(CxredgeError, match="too long for Ray's sockets"):
        opened(ClusterSettings())


def test_answers_and_deaths_of_tasks(ray: FakeRay) -> None:
    cluster, shard = RayCluster(JOB, 0, 0.0), Shard(0, (Path("a"),))
    for result, expected in (
        (("n", Lost("x")), ("n", Lost("x"))),
        (NodeDiedError(), ("", Lost("its node died"))),
    ):
        ray.result = result
        cluster.submit(shard)
        assert cluster.pending == 1
        assert list(cluster.answers(1.0)) == [(shard, *expected)]
        assert cluster.pending == 0
    for error, said in (
        (
            RayError("x\nModuleNotFoundError: No module named 'cxredge'"),
            "No module named 'cxredge'",
        ),
        (RayError("GCS is gone"), "Ray cannot use the cluster: GCS is gone"),
    ):
        ray.result = error
        cluster.submit(shard)
        with pytest.raises(CxredgeError, match=said):
            list(cluster.answers(1.0))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--cluster", "ray://a:1"], 2, "--cluster auto"),
        (["--cores-per-worker", 4096], 2, "more than the"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    words: list[object],
    code: int,
    said: str,
    ray: FakeRay,
    built: Path,
    phantoms: Path,
    cxredge: Run,
) -> None:
    ran = cxredge("predict", built, phantoms / "images", "--engine", "ray", *words)
    assert (ran.code, said in ran.err) == (code, True), ran.err


def test_without_ray_the_command_says_how_to_install_it(
    built: Path, phantoms: Path, cxredge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda _: None)
    ran = cxredge("predict", built, phantoms / "images", "--engine", "ray")
    assert ran.code == 1
    assert "pip install 'cxredge[ray]'" in ran.err
