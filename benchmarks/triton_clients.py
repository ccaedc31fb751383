"""Clients of a Triton server in closed loops; a process of ``triton_serving.py``.

    python benchmarks/triton_clients.py MODEL http|grpc PORT CLIENTS DATA SECONDS

Each thread sends one image of DATA (a pickled list), waits for the answer and sends the next.
Prints as JSON the seconds of each request after the warm-up, and those from the warm-up to the last
answer. Fails if a request does.
"""

from __future__ import annotations

import http.client
import json
import pickle
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP_S = 0.5

Send = Callable[[int], None]


def main() -> None:
    model, protocol, port, clients, data, seconds = sys.argv[1:]
    images = pickle.loads(Path(data).read_bytes())
    open_client = _http if protocol == "http" else _grpc
    senders = [open_client(int(port), model, images) for _ in range(int(clients))]
    times, elapsed = _ask(senders, float(seconds))
    print(json.dumps({"times": times, "seconds": elapsed}))


def _ask(senders: Sequence[Send], seconds: float) -> tuple[list[float], float]:
    """Return the seconds of each request after the warm-up, and those from then to the last."""
    times: list[float] = []
    ends: list[float] = []
    failures: list[BaseException] = []
    begin = time.perf_counter() + WARM_UP_S
    end = begin + seconds

    def ask(first: int) -> None:
        number = first
        try:
            while (start := time.perf_counter()) < end:
                senders[first](number)
                now = time.perf_counter()
                if start >= begin:
                    times.append(now - start)
                    ends.append(now)
                number += len(senders)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(senders))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures or not times:
        raise SystemExit(f"{len(failures)} clients failed: {failures[:1]}")
    return times, max(ends) - begin


def _http(port: int, model: str, data: Sequence[Any]) -> Send:
    """Return a function that sends one image over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    head = _head(data[0]) if model != "cxr" else b""
    names = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }

    def send(number: int) -> None:
        one = data[number % len(data)]
        body = one if model == "cxr" else head + one.tobytes()
        connection.request("POST", f"/v2/models/{model}/infer", body, names)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(content)

    return send


def _head(pixels: np.ndarray) -> bytes:
    tensor = {"name": "image", "shape": list(pixels.shape), "datatype": "UINT8"}
    sized = {**tensor, "parameters": {"binary_data_size": pixels.nbytes}}
    return json.dumps({"inputs": [sized], "parameters": {"binary_data_output": True}}).encode()


def _grpc(port: int, model: str, data: Sequence[Any]) -> Send:
    from tritonclient import grpc

    client = grpc.InferenceServerClient(f"127.0.0.1:{port}")

    def send(number: int) -> None:
        one = data[number % len(data)]
        if model == "cxr":
            tensor = grpc.InferInput("image", [1, 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[one]], dtype=object))
        else:
            tensor = grpc.InferInput("image", list(one.shape), "UINT8")
            tensor.set_data_from_numpy(one)
        client.infer(model, [tensor], client_timeout=30)

    return send


if __name__ == "__main__":
    main()
