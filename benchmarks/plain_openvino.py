"""OpenVINO as its examples recommend for many images: throughput mode and a request queue.

    python benchmarks/plain_openvino.py MODEL.xml FOLDER OUT.csv

Pillow decodes images while requests run. Output as in ``plain_loop.py``.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from pathlib import Path

# Before the import: in CI, OpenVINO's Python tools send no telemetry.
os.environ["CI"] = "true"

import numpy as np
import openvino as ov
from PIL import Image


def main() -> None:
    model, folder, out = sys.argv[1:]
    start = time.perf_counter()
    compiled = ov.Core().compile_model(model, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT"})
    size = compiled.input(0).partial_shape[2].get_length()
    found: dict[Path, int] = {}
    firsts: list[float] = []

    def done(request: ov.InferRequest, path: Path) -> None:
        found[path] = int(request.get_output_tensor(0).data.argmax())
        firsts.append(time.perf_counter() - start)

    queue = ov.AsyncInferQueue(compiled)
    queue.set_callback(done)
    for path in sorted(Path(folder).iterdir()):
        image = Image.open(path).convert("L").resize((size, size), Image.Resampling.BILINEAR)
        queue.start_async({0: np.asarray(image)[None, None]}, path)
    queue.wait_all()
    with Path(out).open("w", newline="") as stream:
        csv.writer(stream).writerows(sorted(found.items()))
    seconds = time.perf_counter() - start
    summary = {"images": len(found), "first": 1, "first_s": firsts[0], "seconds": seconds}
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
