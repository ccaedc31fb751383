"""The exported repository in the real ``tritonserver``: answers, refusals, load and updates.

One server runs for all tests of this file. The tests that change its repository come last.
"""

from __future__ import annotations

import ast
import json
import math
import re
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.triton_server import Server, UnavailableError, find_installation, serving
from cxredge.backends.base import Outputs
from cxredge.bundle.bundle import open_bundle
from cxredge.data.images import load_grey
from tests.conftest import SIZE, Run


@dataclass(frozen=True)
class Running:
    """The server, its repository, and what one process computes for the same files."""

    server: Server
    repository: Path
    bundle: Path
    files: list[bytes]
    rows: list[dict[str, Any]]

    def ask(self, files: Sequence[bytes]) -> list[dict[str, Any]]:
        """Return the answers over HTTP."""
        content = b"".join(struct.pack("<I", len(file)) + file for file in files)
        tensor = {"name": "image", "shape": [len(files), 1], "datatype": "BYTES"}
        found = self.http("cxr", tensor, content, [{"name": "answer"}])
        return [json.loads(text) for text in found["answer"]["data"]]

    def http(
        self,
        asked: str,
        tensor: dict[str, Any],
        content: bytes,
        outputs: Sequence[dict[str, Any]] = (),
    ) -> dict[str, Any]:
        """Send one binary tensor; return the outputs by name, which are JSON."""
        sized = {**tensor, "parameters": {"binary_data_size": len(content)}}
        wanted = {"outputs": list(outputs)} if outputs else {}
        head = json.dumps({"inputs": [sized], **wanted}).encode()
        status, answer, _ = self.server.request(
            f"models/{asked}/infer",
            head + content,
            Inference_Header_Content_Length=str(len(head)),
            Content_Type="application/octet-stream",
        )
        assert status == 200, answer
        return {one["name"]: one for one in json.loads(answer)["outputs"]}


@pytest.fixture(scope="module")
def running(
    repository: Path,
    built: Path,
    phantoms: Path,
    tmp_path_factory: pytest.TempPathFactory,
    cxredge: Run,
) -> Iterator[Running]:
    try:
        find_installation()
    except UnavailableError as error:
        pytest.skip(str(error))
    work = tmp_path_factory.mktemp("server")
    copy = Path(shutil.copytree(repository, work / "repository"))
    paths = sorted((phantoms / "images").rglob("*.png"))[:24]
    files = [*(path.read_bytes() for path in paths), paths[0].read_bytes()[:-300], b"?", b""]
    rows = _predicted(built, files, work / "files", cxredge)
    # The stub of a model would otherwise start twice, the first time to complete its configuration.
    with serving(copy, work, ("cxr", "cxr_network"), "--disable-auto-complete-config") as server:
        yield Running(server, copy, built, files, rows)


def _predicted(
    bundle: Path, files: Sequence[bytes], folder: Path, cxredge: Run
) -> list[dict[str, Any]]:
    folder.mkdir()
    for number, content in enumerate(files):
        (folder / f"secret-{number:02d}.png").write_bytes(content)
    out = folder / "rows.jsonl"
    assert cxredge("predict", bundle, folder, "--out", out).code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return [{name: row[name] for name in row if name != "path"} for row in rows]


def without_name(row: dict[str, Any]) -> dict[str, Any]:
    """An error names the path, or the number of bytes in a request."""
    return {**row, "error": bool(row["error"])}


def same(found: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> bool:
    return list(map(without_name, found)) == list(map(without_name, expected))


def pixels(running: Running, count: int) -> np.ndarray:
    return np.stack([load_grey(file, SIZE) for file in running.files[:count]])[:, None]


def test_files_over_http_have_the_rows_of_predict(running: Running) -> None:
    found = [row for i in range(0, 27, 9) for row in running.ask(running.files[i : i + 9])]
    assert same(found, running.rows)
    assert {"ok", "truncated", "unreadable", "empty"} <= {row["status"] for row in found}


def test_a_file_is_sent_as_it_is(running: Running) -> None:
    """As with curl: the body is the file."""
    status, answer, headers = running.server.request(
        "models/cxr/infer",
        running.files[0],
        Inference_Header_Content_Length="0",
        Content_Type="application/octet-stream",
    )
    assert status == 200
    assert json.dumps(running.rows[0]).encode() in answer
    assert "Inference-Header-Content-Length" in headers


@pytest.mark.parametrize("language", ["python", "bash"])
def test_the_clients_of_the_documentation(language: str, running: Running, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
    blocks = re.findall(rf"^```{language}\n(.+?)^```", page, re.M | re.S)
    (example,) = (block for block in blocks if "v2/models/cxr/infer" in block)
    example = example.replace("localhost:8000", f"127.0.0.1:{running.server.http}")
    (tmp_path / "chest.png").write_bytes(running.files[0])
    if language == "python":
        command = [sys.executable, "-c", example, "chest.png"]
    elif shutil.which("curl"):
        command = ["bash", "-c", example]
    else:
        pytest.skip("needs curl")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    read = ast.literal_eval if language == "python" else json.loads
    assert read(done.stdout) == running.rows[0]


def test_files_over_grpc_have_the_rows_of_predict(running: Running) -> None:
    grpc = pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")
    values = np.array(running.files[:16], dtype=object)[:, None]
    tensor = grpc.InferInput("image", [16, 1], "BYTES")
    tensor.set_data_from_numpy(values)
    with grpc.InferenceServerClient(f"127.0.0.1:{running.server.grpc}") as client:
        found = client.infer("cxr", [tensor])
    rows = [json.loads(text) for text in found.as_numpy("answer")[:, 0]]
    assert same(rows, running.rows[:16])
    stated = [[row[f"p_{name}"] for name in labels(running)] for row in rows]
    assert found.as_numpy("probabilities").tolist() == stated


def labels(running: Running) -> list[str]:
    return (running.repository / "cxr" / "labels.txt").read_text().split()


@pytest.mark.parametrize("count", [1, 16])
def test_the_bare_network_computes_what_the_bundle_computes(count: int, running: Running) -> None:
    bundle, images = open_bundle(running.bundle), pixels(running, count)
    with bundle.open(bundle.precision) as session:
        expected = Outputs.joined([session.run(image) for image in images])
    tensor = {"name": "image", "shape": list(images.shape), "datatype": "UINT8"}
    found = running.http("cxr_network", tensor, images.tobytes())
    # JSON has the shortest decimals that are the same FP32.
    logits = np.array(found["logits"]["data"], np.float32).reshape(count, -1)
    assert np.array_equal(logits, expected.logits)
    if expected.distances is not None:
        assert np.array_equal(np.array(found["distance"]["data"], np.float32), expected.distances)


def test_the_bare_network_over_grpc(running: Running) -> None:
    grpc = pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")
    bundle, images = open_bundle(running.bundle), pixels(running, 5)
    with bundle.open(bundle.precision) as session:
        expected = session.run(images[:, 0])
    tensor = grpc.InferInput("image", images.shape, "UINT8")
    tensor.set_data_from_numpy(images)
    with grpc.InferenceServerClient(f"127.0.0.1:{running.server.grpc}") as client:
        found = client.infer("cxr_network", [tensor])
    assert np.array_equal(found.as_numpy("logits"), expected.logits)


@pytest.mark.parametrize("asked", ["cxr", "cxr_network"])
def test_the_classification_extension_names_the_classes(asked: str, running: Running) -> None:
    name = "probabilities" if asked == "cxr" else "logits"
    wanted = [{"name": name, "parameters": {"classification": 1}}]
    if asked == "cxr":
        file = running.files[0]
        tensor = {"name": "image", "shape": [1, 1], "datatype": "BYTES"}
        content = struct.pack("<I", len(file)) + file
    else:
        content = pixels(running, 1).tobytes()
        tensor = {"name": "image", "shape": [1, 1, SIZE, SIZE], "datatype": "UINT8"}
    (answer,) = running.http(asked, tensor, content, wanted)[name]["data"]
    _value, _index, label = answer.split(":")
    assert label in labels(running)


IMAGE = {"name": "image", "shape": [1, 1, SIZE, SIZE], "datatype": "UINT8"}


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        ("cxr_network", {"shape": [1, 1, SIZE, SIZE // 2]}),
        ("cxr_network", {"shape": [1, SIZE, SIZE]}),
        ("cxr_network", {"shape": [17, 1, SIZE, SIZE]}),
        ("cxr_network", {"datatype": "FP32"}),
        ("cxr_network", {"name": "input"}),
        ("cxr", {"shape": [1]}),
        ("cxr", {"shape": [17, 1]}),
        ("cxr", {"datatype": "UINT8"}),
        ("unknown", {}),
    ],
)
def test_wrong_requests_are_the_client_s_fault(
    asked: str, change: dict[str, Any], running: Running
) -> None:
    of_files = {"name": "image", "shape": [1, 1], "datatype": "BYTES"}
    tensor = {**(of_files if asked == "cxr" else IMAGE), **change}
    value = "a" if tensor["datatype"] == "BYTES" else 0
    body = json.dumps({"inputs": [{**tensor, "data": [value] * math.prod(tensor["shape"])}]})
    status, answer, _ = running.server.request(f"models/{asked}/infer", body.encode())
    assert 400 <= status < 500, answer
    assert json.loads(answer)["error"]


def test_many_clients_share_batches_and_get_their_own_answers(running: Running) -> None:
    before = _counts(running)

    def ask(number: int) -> bool:
        return same(running.ask([running.files[number % 27]]), [running.rows[number % 27]])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(96)))
    images, executions = (after - b for after, b in zip(_counts(running), before, strict=True))
    assert images == 96
    assert executions < 96


def _counts(running: Running) -> tuple[int, int]:
    (found,) = running.server.get("models/cxr/stats")["model_stats"]
    return found["inference_count"], found["execution_count"]


def test_the_log_names_no_image_and_no_answer(running: Running) -> None:
    log = running.server.log.read_bytes()
    assert b"successfully loaded 'cxr'" in log
    for text in (b"secret", b"image of", b"truncated", *map(str.encode, labels(running))):
        assert text not in log


BROKEN = {
    "a misspelt field": lambda text: text.replace("max_batch_size", "max_bach"),
    "an unknown type": lambda text: text.replace("TYPE_UINT8", "TYPE_FLOAT"),
    "a GPU": lambda text: text.replace("KIND_CPU", "KIND_GPU"),
    "another output": lambda text: text.replace('"logits"', '"probabilities"'),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_configuration_is_refused_and_the_model_stays_ready(
    kind: str, running: Running
) -> None:
    path = running.repository / "cxr_network" / "config.pbtxt"
    kept = path.read_text()
    path.write_text(BROKEN[kind](kept))
    try:
        status, answer = running.server.load("cxr_network")
        assert status >= 400
        assert json.loads(answer)["error"]
        assert running.server.request("models/cxr_network/ready")[0] == 200
        assert running.http("cxr_network", IMAGE, pixels(running, 1).tobytes())
    finally:
        path.write_text(kept)


def test_a_new_version_is_loaded_while_clients_ask(running: Running, cxredge: Run) -> None:
    stop, failures, answered = threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            try:
                answered.append(running.ask(running.files[:2]))
            except AssertionError as error:
                failures.append(error)

    client = threading.Thread(target=ask)
    client.start()
    try:
        ran = cxredge("export-triton", running.bundle, "--out", running.repository, "--version", 2)
        assert ran.code == 0, ran.err
        assert running.server.load("cxr")[0] == 200
    finally:
        stop.set()
        client.join()
    assert failures == []
    assert all(same(rows, running.rows[:2]) for rows in answered)
    assert running.server.get("models/cxr")["versions"] == ["2"]
    assert same(running.ask(running.files[:16]), running.rows[:16])


def test_a_damaged_version_is_refused_and_the_old_one_stays(running: Running) -> None:
    third = running.repository / "cxr" / "3"
    shutil.copytree(running.repository / "cxr" / "1", third)
    (third / "bundle" / "model-fp32.onnx").write_bytes(b"damaged")
    status, answer = running.server.load("cxr")
    shutil.rmtree(third)
    assert 400 <= status < 500
    assert b"model-fp32.onnx is damaged" in answer
    assert same(running.ask(running.files[:3]), running.rows[:3])
