"""Latency of FP32 and of each step, in ONNX Runtime on this machine.

TensorRT latency can only be measured on the device. ONNX Runtime's still shows the relative cost of
float layers or of another dialect.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx

from cxredge.artifacts.temporary import scratch_folder
from cxredge.backends import open_session
from cxredge.data.images import GreyImage
from cxredge.metrics.latency import take_turns

_SECONDS = 0.1


def time_steps(fp32: Path, graphs: Sequence[onnx.ModelProto], image: GreyImage) -> list[float]:
    """Return the median latency in milliseconds of FP32 and of each graph, measured in turns.

    Args:
        fp32: The FP32 ONNX file.
        graphs: Quantized graphs.
        image: uint8 (1, S, S).
    """
    with scratch_folder("quantize") as folder, ExitStack() as opened:
        files = [fp32]
        for position, graph in enumerate(graphs):
            files.append(folder / f"{position}.onnx")
            onnx.save(graph, files[-1])
        sessions = [opened.enter_context(open_session(path)) for path in files]
        calls = {str(i): (lambda s=s: s.infer(image)) for i, s in enumerate(sessions)}
        taken = take_turns(calls, _SECONDS)
    return [float(np.median(taken[str(i)])) for i in range(len(files))]
