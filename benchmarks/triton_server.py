"""The real ``tritonserver`` out of the wheel of nvidia-pytriton, for tests and measurements.

``make`` installs the wheel into an environment of its own, ``.venv/triton``, with NumPy 1: the
wheel requires it, and Triton 2.51 reads wrong values from NumPy 2. The wheel has the Python backend
alone; :data:`STAND_IN` takes the place of the C++ backend of ONNX Runtime.
"""

from __future__ import annotations

import ctypes.util
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READY_S = 180
EXIT_S = 2

STAND_IN = '''
"""Runs 1/model.onnx with the options that Triton's C++ backend sets, in Triton's Python backend."""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        if args["model_instance_kind"] != "CPU":
            raise RuntimeError(args["model_instance_kind"])
        options = ort.SessionOptions()
        count = config["parameters"].get("intra_op_thread_count", {}).get("string_value")
        options.intra_op_num_threads = int(count or 0)
        name = config["default_model_filename"] or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / name
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        found = {output.name for output in self.session.get_outputs()}
        self.names = [output["name"] for output in config["output"]]
        if not set(self.names) <= found:
            raise RuntimeError(f"unexpected outputs {self.names}, the model has {sorted(found)}")

    def execute(self, requests):
        arrays = [triton.get_input_tensor_by_name(r, "image").as_numpy() for r in requests]
        values = self.session.run(self.names, {"image": np.concatenate(arrays)})
        responses, start = [], 0
        for array in arrays:
            end = start + len(array)
            tensors = [
                triton.Tensor(name, value[start:end])
                for name, value in zip(self.names, values, strict=True)
            ]
            responses.append(triton.InferenceResponse(tensors))
            start = end
        return responses
'''
"""Backend ``onnxruntime`` for the tests."""


class UnavailableError(Exception):
    """No server can be started here; the message says why."""


@dataclass(frozen=True)
class Installation:
    """Where the server and its Python are.

    Attributes:
        folder: The environment's folder.
        site: Its site-packages.
    """

    folder: Path
    site: Path

    @property
    def server(self) -> Path:
        """Folder of the server in the wheel."""
        return self.site / "pytriton" / "tritonserver"

    @property
    def stub(self) -> Path:
        """The program that runs Python models, built for one version of Python."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return self.server / "python_backend_stubs" / version / "triton_python_backend_stub"


def find_installation() -> Installation:
    """Return the installation of this environment.

    Raises:
        UnavailableError: It is not installed, or this Python has no shared library.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folder = Path(sys.prefix) / "triton"
    found = Installation(folder, folder / "lib" / version / "site-packages")
    if not (found.server / "bin" / "tritonserver").is_file():
        raise UnavailableError(f"tritonserver is not installed in {folder} (make installs it)")
    if not found.stub.is_file() or platform.machine() != "x86_64":
        raise UnavailableError(
            f"the wheel of tritonserver is not for {version} on {platform.machine()}"
        )
    if ctypes.util.find_library(version) is None:
        raise UnavailableError(
            f"Triton's Python backend needs lib{version}.so, which is not installed"
        )
    return found


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        http, grpc: Its ports on 127.0.0.1.
        log: Its log.
        pid: Its process.
    """

    http: int
    grpc: int
    log: Path
    pid: int

    def get(self, path: str) -> Any:
        """Return the JSON value of a path below ``/v2/``."""
        return json.loads(self.request(path)[1] or b"null")

    def request(
        self, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Send a request below ``/v2/``; return status, body and headers. A body is posted."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = urllib.request.Request(f"http://127.0.0.1:{self.http}/v2/{path}", body, names)
        try:
            with urllib.request.urlopen(sent, timeout=60) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read(), dict(error.headers)

    def load(self, model: str) -> tuple[int, bytes]:
        """Load a model, or its newest version, while the server runs."""
        return self.request(f"repository/models/{model}/load", b"{}")[:2]


def make_backends(folder: Path, installation: Installation) -> Path:
    """Write the server's backends: its Python backend, and the stand-in."""
    shutil.copytree(installation.server / "backends" / "python", folder / "python")
    stub = folder / "python" / installation.stub.name
    shutil.copyfile(installation.stub, stub)
    stub.chmod(0o755)
    (folder / "onnxruntime").mkdir()
    (folder / "onnxruntime" / "model.py").write_text(STAND_IN)
    return folder


@contextmanager
def serving(
    repository: Path, work: Path, models: Sequence[str] = ("*",), *options: str
) -> Iterator[Server]:
    """Run a server on free ports of 127.0.0.1; stop it after the block.

    Args:
        repository: The model repository.
        work: Folder for backends and log.
        models: Models to load at the start.
        options: Further options of ``tritonserver``.

    Raises:
        UnavailableError: There is no server for this machine.
        RuntimeError: It did not become ready; the message has the end of its log.
    """
    installation = find_installation()
    backends = make_backends(work / "backends", installation)
    program = installation.server / "bin" / "tritonserver"
    program.chmod(0o755)
    http, grpc = _free_ports(2)
    log = work / "log.txt"
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(installation.site / "nvidia_pytriton.libs"),
        "PATH": f"{installation.folder / 'bin'}:{os.environ['PATH']}",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    command = [
        program, f"--model-repository={repository}", f"--backend-directory={backends}",
        "--http-address=127.0.0.1", "--grpc-address=127.0.0.1", f"--http-port={http}",
        f"--grpc-port={grpc}", "--allow-metrics=false", f"--exit-timeout-secs={EXIT_S}",
        "--model-control-mode=explicit", *(f"--load-model={name}" for name in models), *options,
    ]  # fmt: skip
    with log.open("wb") as stream:
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=work,
        )
    server = Server(http, grpc, log, process.pid)
    try:
        _wait_until_ready(server, process)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(EXIT_S + 5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if server.request("health/ready")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    lines = server.log.read_text(errors="replace").splitlines()
    raise RuntimeError("tritonserver is not ready:\n" + "\n".join(lines[-40:]))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
