"""What each rung of the ladder costs in time, as far as this machine can tell.

TensorRT's latency can only be taken on the device; ONNX Runtime's here still shows what a layer in
float or another dialect costs beside the others, all taken in turn.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx

from cxredge.backends import open_session
from cxredge.data.images import GreyImage
from cxredge.metrics.latency import take_turns
from cxredge.quantization.ladder import Rung

LATENCY_HERE = "latency_ms_here"
"""Key of a step's latency: one image in ONNX Runtime on the machine that quantized."""

_SECONDS = 0.1


def time_rungs(fp32: Path, rungs: Sequence[Rung], image: GreyImage) -> list[float]:
    """Return the median latency in milliseconds of FP32 and of each rung, taken in turn.

    Args:
        fp32: The FP32 ONNX file.
        rungs: What was tried.
        image: uint8 (1, S, S).
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        files = [fp32]
        for index, rung in enumerate(rungs):
            files.append(Path(folder) / f"{index}.onnx")
            onnx.save(rung.graph, files[-1])
        sessions = [opened.enter_context(open_session(path)) for path in files]
        calls = {str(i): (lambda s=s: s.infer(image)) for i, s in enumerate(sessions)}
        taken = take_turns(calls, _SECONDS)
    return [float(np.median(taken[str(i)])) for i in range(len(files))]
