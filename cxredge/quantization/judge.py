"""How far a quantized graph is from FP32 on images that are not the test split's."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from cxredge.backends.base import Logits
from cxredge.backends.batched import infer_file
from cxredge.data.images import GreyImage
from cxredge.metrics.classification import Ints
from cxredge.vocabulary import JudgedOn


@dataclass(frozen=True)
class Judgement:
    """What a graph came to.

    Attributes:
        agreement: Share of images decided as FP32 does.
        accuracy: Share of images decided right.
        logit_error: See :func:`logit_error`.
        size_bytes: Of the graph as a file.
    """

    agreement: float
    accuracy: float
    logit_error: float
    size_bytes: int


@dataclass(frozen=True)
class Judge:
    """Images to compare on, and what FP32 made of them.

    Attributes:
        pixels: uint8 (N, S, S).
        labels: int (N,).
        reference: FP32's logits, float32 (N, classes).
        images: Which images these are.
    """

    pixels: GreyImage
    labels: Ints
    reference: Logits
    images: JudgedOn

    def judge(self, graph: onnx.ModelProto) -> Judgement:
        """Run a graph on the images."""
        logits = infer_graph(graph, self.pixels)
        decided = logits.argmax(axis=1)
        return Judgement(
            agreement=float((decided == self.reference.argmax(axis=1)).mean()),
            accuracy=float((decided == self.labels).mean()),
            logit_error=logit_error(self.reference, logits),
            size_bytes=graph.ByteSize(),
        )


def logit_error(reference: Logits, logits: Logits) -> float:
    """Return the root mean square difference, as a share of the reference's own."""
    difference = np.sqrt(np.mean((logits - reference) ** 2))
    return float(difference / np.sqrt(np.mean(reference**2)))


def infer_graph(graph: onnx.ModelProto, pixels: GreyImage) -> Logits:
    """Return the logits of a graph that is held in memory, float32 (N, classes)."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "graph.onnx"
        onnx.save(graph, path)
        return infer_file(path, pixels)
