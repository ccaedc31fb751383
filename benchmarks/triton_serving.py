"""A bundle in the real tritonserver: throughput and latency by number of clients.

    python benchmarks/triton_serving.py BUNDLE --images DIR [DIR ...] --work WORK \
        --out benchmarks/results/triton [--seconds 4] [--rounds 3]

Exports the bundle, starts the server, and lets 1 to 16 clients ask in closed loops: each sends one
image, waits for the answer and sends the next (``triton_clients.py``). Measured are the model that
takes files and the bare network, over HTTP and gRPC, each point once per round and in random order;
in between, the same work in one process without a server. The clients share the processor with the
server. First, the answers for all images are compared with those of one process. The name is not
``triton.py``, because torch imports a library of that name.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from other_work import OtherWork
from triton_clients import WARM_UP_S
from triton_server import Server, serving

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.backends.base import available_cores
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.data.images import load_grey
from cxredge.inference.rows import rows_of
from cxredge.progress import Silent
from cxredge.telemetry.linux import read_machine
from cxredge.triton.export import export_triton
from cxredge.triton.options import TritonOptions
from cxredge.triton.served_model import ServedModel, tensors_of

CLIENTS = (1, 2, 4, 8, 16)
MODELS, PROTOCOLS = ("cxr", "cxr_network"), ("http", "grpc")
HERE = Path(__file__).parent


def main() -> None:
    arguments = _arguments()
    bundle = open_bundle(arguments.bundle)
    paths = sorted(p for folder in arguments.images for p in folder.rglob("*") if p.is_file())
    files = [p.read_bytes() for p in random.Random(0).sample(paths, arguments.count)]
    work = arguments.work / f"run-{int(time.time())}"
    work.mkdir(parents=True)
    export_triton(bundle, work / "repository", TritonOptions(), Silent())
    size = bundle.card.classifier.input_size
    pixels = [load_grey(file, size)[None, None] for file in files if _is_readable(file, size)]
    with serving(work / "repository", work, MODELS, "--disable-auto-complete-config") as server:
        equal = _compare(bundle, server, files)
        print(f"{equal['equal']} of {equal['images']} answers are equal", flush=True)
        for points in _measure(bundle, server, files, pixels, arguments):
            _write(bundle, equal, points, arguments)


def _write(
    bundle: Bundle, equal: dict[str, int], points: dict[str, Any], arguments: argparse.Namespace
) -> None:
    """Write the results so far."""
    found = {
        "machine": to_json(read_machine()),
        "tools": tool_versions("onnxruntime", "openvino", "pillow", "numpy", "tritonclient"),
        "server": "tritonserver 2.51.0 of nvidia-pytriton 0.7.0; Python backend",
        "network": bundle.card.classifier.network,
        "precision": bundle.precision.value,
        "backend": bundle.backend,
        "settings": {"seconds": arguments.seconds, "rounds": len(points["others"])},
        "answers": equal,
        **points,
    }
    write_json(arguments.out.with_suffix(".json"), found)
    write_text(arguments.out.with_suffix(".md"), page(found))


def _is_readable(file: bytes, size: int) -> bool:
    try:
        load_grey(file, size)
    except Exception:
        return False
    return True


def _compare(bundle: Bundle, server: Server, files: Sequence[bytes]) -> dict[str, int]:
    """Return how many answers of the server are those of one process, bit for bit."""
    with bundle.open_for_many() as session:
        groups = rows_of(bundle, session, iter(files))
        rows = [row for group in groups for row in group.rows]
    expected = tensors_of(rows, bundle.card.classifier.classes)["answer"][:, 0]
    found = []
    for start in range(0, len(files), 16):
        found += _batch(server, files[start : start + 16])
    same = sum(a == b for a, b in zip(expected, found, strict=True))
    return {"images": len(files), "equal": same}


def _batch(server: Server, files: Sequence[bytes]) -> list[bytes]:
    content = b"".join(struct.pack("<I", len(file)) + file for file in files)
    tensor = {"name": "image", "shape": [len(files), 1], "datatype": "BYTES"}
    sized = {**tensor, "parameters": {"binary_data_size": len(content)}}
    head = json.dumps({"inputs": [sized], "outputs": [{"name": "answer"}]}).encode()
    status, answer, _ = server.request(
        "models/cxr/infer", head + content, Inference_Header_Content_Length=str(len(head))
    )
    assert status == 200, answer
    return [text.encode() for text in json.loads(answer)["outputs"][0]["data"]]


def _measure(
    bundle: Bundle,
    server: Server,
    files: Sequence[bytes],
    pixels: Sequence[np.ndarray],
    arguments: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """Measure all points once per round, in random order; yield the results after each."""
    served = ServedModel(bundle.path, lambda note: None)
    of_network = bundle.open(bundle.precision)
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "in process|cxr, one file at a time": lambda: _loop(
            lambda n: served.rows([files[n % len(files)]]), 1, arguments.seconds
        ),
        "in process|cxr, 16 files at a time": lambda: _loop(
            lambda n: served.rows([files[(n + i) % len(files)] for i in range(16)]),
            16,
            arguments.seconds,
        ),
        "in process|network, one image at a time": lambda: _loop(
            lambda n: of_network.run(pixels[n % len(pixels)][0]), 1, arguments.seconds
        ),
    }
    for model in MODELS:
        data = arguments.work / f"{model}.pickle"
        data.write_bytes(pickle.dumps(files if model == "cxr" else pixels))
        for protocol in PROTOCOLS:
            for clients in CLIENTS:
                ways[f"{model}|{protocol}|{clients}"] = (
                    lambda m=model, p=protocol, c=clients, d=data: _ask(
                        server, m, p, c, d, arguments.seconds
                    )
                )
    order, found = random.Random(1), {name: [] for name in ways}
    others = []
    for number in range(arguments.rounds):
        work = OtherWork()
        for name in order.sample(list(ways), len(ways)):
            found[name].append(ways[name]())
            print(number, name, found[name][-1], flush=True)
        others.append(work.share())
        yield {"points": found, "others": others}
    served.close()
    of_network.close()


def _loop(run: Callable[[int], object], images: int, seconds: float) -> dict[str, float]:
    """Call a function again and again; return images per second and latencies in ms."""
    run(0)
    times: list[float] = []
    begin, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run(len(times) * images)
        times.append(time.perf_counter() - start)
    used, count = time.process_time() - used, images * len(times)
    return _figures(times, count / (time.perf_counter() - begin), 1000 * used / count)


def _figures(
    times: Sequence[float], images_per_second: float, processor_ms: float
) -> dict[str, float]:
    p50, p90, p99 = (1000 * float(np.percentile(times, q)) for q in (50, 90, 99))
    return {
        "images_per_second": round(images_per_second, 1),
        "requests": len(times),
        "p50_ms": round(p50, 2),
        "p90_ms": round(p90, 2),
        "p99_ms": round(p99, 2),
        "processor_ms": round(processor_ms, 2),
    }


def _ask(
    server: Server, model: str, protocol: str, clients: int, data: Path, seconds: float
) -> dict[str, float]:
    """Let clients ask in a process of their own: gRPC does not survive a fork."""
    port = server.http if protocol == "http" else server.grpc
    words = (model, protocol, port, clients, data, seconds)
    command = [sys.executable, HERE / "triton_clients.py", *words]
    used = _processor_seconds(server.pid)
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=120 + seconds
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    used = _processor_seconds(server.pid) - used
    found = json.loads(done.stdout)
    times = found["times"]
    # The requests of the warm-up take time of the processor, too.
    share = found["seconds"] / (found["seconds"] + WARM_UP_S)
    return _figures(times, len(times) / found["seconds"], 1000 * used * share / len(times))


def _processor_seconds(pid: int) -> float:
    """Return the processor's time of a server and of the processes that run its Python models."""
    found, waiting = 0.0, [str(pid)]
    while waiting:
        one = waiting.pop()
        try:
            words = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            tasks = list(Path(f"/proc/{one}/task").iterdir())
            waiting += [c for t in tasks for c in (t / "children").read_text().split()]
        except OSError:  # it has ended
            continue
        found += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return found


def page(found: dict[str, Any]) -> str:
    """Return the results as a Markdown page."""
    machine, answers = found["machine"], found["answers"]
    flags = ", ".join(machine["cpu_flags"])
    tools = ", ".join(f"{name} {version}" for name, version in found["tools"].items())
    lines = [
        "# A bundle in NVIDIA Triton",
        "",
        f"{machine['cpu']}, {machine['cores']} cores ({flags}). {found['network']}, "
        f"{found['precision']}, {found['backend']}. {found['server']}. Versions: {tools}.",
        "",
        f"Of {answers['images']} X-rays, {answers['equal']} have the answer of one process, bit "
        "for bit. Each client sends one image, waits for the answer and sends the next. The "
        "clients are one process of Python on the same cores. Medians over "
        f"{found['settings']['rounds']} rounds of {found['settings']['seconds']:g} s, in brackets "
        f"the range; other processes, the server among them, took {min(found['others']):.0%} to "
        f"{max(found['others']):.0%} of the processors.",
        "",
        "The bare network runs in a stand-in for the C++ backend of ONNX Runtime, which the wheel "
        "does not have: the Python backend with the same session options. Not measured: the C++ "
        "backend's copies, its threads, and backends for GPUs.",
        "",
        "| model | protocol | clients | images/s | p50, ms | p90, ms | p99, ms | processor, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rounds in found["points"].items():
        model, *more = name.split("|")
        cells = [model, *more] if len(more) == 2 else [more[0], model, "-"]
        keys = ("images_per_second", "p50_ms", "p90_ms", "p99_ms", "processor_ms")
        cells += [_spread([one[key] for one in rounds]) for key in keys]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "The processor's time is that of the server with its Python models, or of the one process, "
        "per image; other work on the machine changes it less than the rest. In one process, 16 "
        f"files use all {available_cores()} cores; their latency is that of the 16.",
    ]
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float]) -> str:
    digits = 0 if median(values) >= 100 else 1
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=500, help="number of images, drawn at random")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made; stays")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
