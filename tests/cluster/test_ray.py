"""Real Ray: two nodes on this machine, an S3 server, and what is killed in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from benchmarks.ray_nodes import add_node, find_workers
from cxredge.bundle.bundle import open_bundle
from cxredge.cluster.shards import folder_of
from cxredge.inference.predict import predict
from cxredge.progress import Silent
from tests.predictions import many_images, predict_command, read_rows
from tests.s3_server import s3_bucket

if find_spec("ray") is None:  # Ray reads the token's mode when it is imported
    pytest.skip("needs the extra ray", allow_module_level=True)

IMAGES = 1800


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two nodes with one core each, and a bucket that they can read."""
    with pytest.MonkeyPatch.context() as patch, s3_bucket("xrays") as client:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)
        from ray.cluster_utils import Cluster

        made = Cluster()
        made.client = client
        try:
            add_node(made, include_dashboard=False)
            add_node(made)
            yield made
        finally:
            made.shutdown()


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, built: Path, phantoms: Path) -> Path:
    """A folder with images and the rows of one machine, ``one.csv``."""
    place = tmp_path_factory.mktemp("job")
    folder = many_images(place / "in", phantoms, IMAGES)
    (folder / "00700x.png").write_bytes(b"damaged")
    predict(open_bundle(built), [folder], place / "one.csv", False, Silent())
    return place


def on(cluster: Any, built: Path, place: object, out: Path, *more: object) -> list[str]:
    words = (
        *("--out", out, "--engine", "ray", "--cluster", cluster.address, "--json"),
        *more,
    )
    return predict_command(built, place, *words)


def shards_in(out: Path) -> list[Path]:
    return sorted(folder_of(out).glob("part-*")) if folder_of(out).exists() else []


def run(command: list[str], meanwhile: Callable[[subprocess.Popen[str]], None]) -> Any:
    """Run a command and do something meanwhile; return its JSON value, None if it was killed."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        meanwhile(running)
        out, err = running.communicate()
        assert running.returncode in (0, -signal.SIGKILL), err
        return json.loads(out) if running.returncode == 0 else None


def wait_for(condition: Callable[[], bool], running: subprocess.Popen[str]) -> None:
    while running.poll() is None and not condition():
        time.sleep(0.01)


@pytest.mark.slow
def test_workers_a_node_and_the_driver_are_killed_and_no_row_is_lost_or_doubled(
    cluster: Any, built: Path, job: Path
) -> None:
    out = job / "killed.csv"

    def kill_the_driver(running: subprocess.Popen[str]) -> None:
        wait_for(lambda: len(shards_in(out)) >= 2, running)
        running.kill()

    assert run(on(cluster, built, job / "in", out), kill_the_driver) is None
    kept = {path.name: path.stat().st_mtime_ns for path in shards_in(out)}
    assert len(kept) >= 2
    assert not out.exists()

    def kill_a_worker_and_a_node(running: subprocess.Popen[str]) -> None:
        # Workers of the driver that was killed end; then all are of this one.
        wait_for(lambda: len(shards_in(out)) > len(kept) and bool(find_workers()), running)
        for process in find_workers():
            os.kill(process, signal.SIGKILL)
        cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
        add_node(cluster)
        again = {path.name: path.stat().st_mtime_ns for path in shards_in(out)}
        assert again.items() >= kept.items()

    found = run(on(cluster, built, job / "in", out, "--resume"), kill_a_worker_and_a_node)
    assert out.read_bytes() == (job / "one.csv").read_bytes()
    assert found["resumed"] >= 256 * len(kept)
    assert found["images"] == IMAGES + 1
    assert sum(found["cluster"]["lost"].values()) >= 1


@pytest.mark.slow
def test_a_list_of_local_and_remote_images_on_two_nodes(
    cluster: Any, built: Path, job: Path, phantoms: Path
) -> None:
    some = sorted((phantoms / "images").rglob("*.png"))[:6]
    for image in some:
        cluster.client.put_object(Bucket="xrays", Key=image.name, Body=image.read_bytes())
    names = [f"s3://xrays/{image.name}" for image in some] + ["s3://xrays/gone.png", "in/gone.png"]
    names += [f"in/{image.name}" for image in sorted((job / "in").iterdir())[:600]]
    (job / "list.txt").write_text("\n".join(names))
    one, many = job / "list-one.csv", job / "list-many.csv"
    subprocess.run(
        predict_command(built, "--paths", job / "list.txt", "--out", one), check=True,
        capture_output=True,
    )  # fmt: skip
    command = on(cluster, built, "--paths", many)
    command[command.index("--paths") + 1 : command.index("--paths") + 1] = [str(job / "list.txt")]
    found = run(command, lambda _: None)
    assert many.read_bytes() == one.read_bytes()
    assert [row["status"] for row in read_rows(many)[6:8]] == ["missing", "missing"]
    nodes = found["cluster"]["nodes"]
    assert len(nodes) == 2
    assert sum(node["images"] for node in nodes) == found["images"] == len(names)


class Listener(BaseHTTPRequestHandler):
    """Counts what a report of usage would be sent to."""

    requests = 0

    def do_POST(self) -> None:
        Listener.requests += 1


@pytest.mark.slow
def test_a_cluster_on_this_machine_sends_and_leaves_nothing(
    built: Path, phantoms: Path, tmp_path: Path
) -> None:
    server = HTTPServer(("127.0.0.1", 0), Listener)
    Thread(target=server.serve_forever, daemon=True).start()
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if "RAY_" not in name} | {
        "RAY_USAGE_STATS_ENABLED": "1",  # as if it was switched on for other programs
        "RAY_USAGE_STATS_REPORT_URL": f"http://127.0.0.1:{server.server_port}",
        "RAY_USAGE_STATS_REPORT_INTERVAL_S": "1",
        "HOME": str(home),
    }
    command = predict_command(
        built, phantoms / "images", "--out", tmp_path / "p.csv", "--engine", "ray", "--json"
    )
    before = set(Path("/tmp").glob(".cxredge-ray.*"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    server.shutdown()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cluster"]["address"] == "local"
    assert Listener.requests == 0
    assert list(home.iterdir()) == []
    assert not set(Path("/tmp").glob(".cxredge-ray.*")) - before
    predict(open_bundle(built), [phantoms / "images"], tmp_path / "one.csv", False, Silent())
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
