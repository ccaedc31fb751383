"""Tracing of a torch network to a simplified ONNX graph whose input is uint8 grey pixels."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import onnxruntime as ort
import torch
from torch import nn

from cxredge.artifacts.temporary import scratch_folder
from cxredge.errors import CxredgeError
from cxredge.export.simplify import lean_graph
from cxredge.vocabulary import INPUT_NAME, OUTPUT_NAME

OPSET = 17
"""The newest opset that all TensorRT versions from 8.5 to 11 read."""


class GreyClassifier(nn.Module):
    """A classifier of uint8 grey images, (N, 1, H, W), to float32 logits (N, classes).

    All three channels have the same normalisation, so the first convolution reads three equal
    channels. Its weights are summed over them, which leaves one channel. This is exact, including
    zero padding.

    Args:
        classifier: Maps float32 (N, 3, H, W); its first convolution is replaced.
        mean: Mean of grey values scaled to [0, 1].
        std: Standard deviation on the same scale.
    """

    def __init__(self, classifier: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.classifier = classifier
        self.scale = 1 / (255 * std)
        self.offset = -mean / std
        _sum_input_channels(classifier)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        logits: torch.Tensor = self.classifier(images.float() * self.scale + self.offset)
        return logits


def to_onnx(model: nn.Module, size: int) -> onnx.ModelProto:
    """Trace and simplify a network; the graph uses standard operators only.

    Args:
        model: Maps uint8 (N, 1, size, size) to logits, in evaluation mode.
        size: Height and width of the images in pixels.
    """
    with scratch_folder("export") as folder:
        traced, optimised = folder / "traced.onnx", folder / "optimised.onnx"
        _trace(model, size, traced)
        onnx.save(lean_graph(onnx.load(traced)), traced)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(optimised)
        options.log_severity_level = 3
        ort.InferenceSession(str(traced), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(optimised)
    # ONNX Runtime declares its own operator sets, which the graph does not use.
    standard = [entry for entry in graph.opset_import if entry.domain in ("", "ai.onnx")]
    del graph.opset_import[:]
    graph.opset_import.extend(standard)
    return graph


def _sum_input_channels(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels != 3 or module.groups != 1:
                raise CxredgeError(f"The first convolution, {name}, does not take three channels.")
            module.weight = nn.Parameter(module.weight.detach().sum(dim=1, keepdim=True))
            module.in_channels = 1
            return
    raise CxredgeError("The network has no convolution.")


def _trace(model: nn.Module, size: int, path: Path) -> None:
    example = torch.zeros((2, 1, size, size), dtype=torch.uint8)
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but its successor (dynamo=True) writes opset 18 or
        # newer, which TensorRT 8.5 and 8.6 do not read. Converted to 17, graphs have ReduceMean
        # instead of GlobalAveragePool, and NASNet's Pad cannot be converted (torch 2.15).
        warnings.simplefilter("ignore", DeprecationWarning)
        # lean_graph folds what the tracer does not.
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        torch.onnx.export(
            model,
            (example,),
            str(path),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
