"""Plain alternative: Pillow, NumPy and ONNX Runtime, one image after the other.

    python benchmarks/plain_loop.py MODEL.onnx FOLDER OUT.csv

Writes ``path,class index`` and prints the number of images, and the seconds from opening the model
to the first and to the last image.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from pathlib import Path

# Before the import: loading ONNX Runtime would start its telemetry.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime as ort
from PIL import Image


def main() -> None:
    model, folder, out = sys.argv[1:]
    start = time.perf_counter()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    size, rows, first = session.get_inputs()[0].shape[2], [], 0.0
    for path in sorted(Path(folder).iterdir()):
        image = Image.open(path).convert("L").resize((size, size), Image.Resampling.BILINEAR)
        logits = session.run(None, {"image": np.asarray(image)[None, None]})[0]
        rows.append([path, int(logits.argmax())])
        first = first or time.perf_counter() - start
    with Path(out).open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    seconds = time.perf_counter() - start
    print(json.dumps({"images": len(rows), "first": 1, "first_s": first, "seconds": seconds}))


if __name__ == "__main__":
    main()
