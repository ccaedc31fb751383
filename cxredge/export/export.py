"""Export of a trained run to an FP32 ONNX model whose input is uint8 grey pixels."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

from cxredge.artifacts.card import (
    Artifact,
    ArtifactKind,
    StagePlan,
    tool_versions,
    up_to_date,
    write_card,
)
from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.folder import atomic_folder
from cxredge.artifacts.model_card import ExportConfig, ExportedCard, ExportFacts
from cxredge.artifacts.run_card import RunCard
from cxredge.data.manifest import read_manifest, write_manifest
from cxredge.data.phantoms import LABELS, render_phantom
from cxredge.errors import CxredgeError
from cxredge.export.simplify import lean_graph
from cxredge.graph import model_file as onnx_graph
from cxredge.graph.model_file import FP32_NAME
from cxredge.models import build_model
from cxredge.progress import Progress
from cxredge.vocabulary import INPUT_NAME, OUTPUT_NAME

OPSET = 17
"""The newest opset that all TensorRT versions from 8.5 to 11 read."""

MAX_PARITY_ERROR = 1e-4
_PARITY_IMAGES = 8


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


def export(run: Artifact[RunCard], out: Path, progress: Progress) -> ExportedCard:
    """Export a run to ONNX and check that ONNX Runtime agrees with torch.

    Args:
        run: A run.
        out: Folder of the model to write: ``model.onnx``, ``card.json`` and the run's manifest.
        progress: Progress listener.

    Returns:
        The model's card.

    Raises:
        CxredgeError: The logits of the exported model differ from torch's.
    """
    source = run.card
    planned = StagePlan(
        kind=ArtifactKind.MODEL,
        classifier=source.classifier,
        parents={
            "weights": source.files["model.safetensors"],
            "manifest": source.files["manifest.csv"],
        },
        config=ExportConfig(OPSET),
        tools=tool_versions("torch", "onnx", "onnxruntime"),
    )
    if (existing := up_to_date(out, planned, ExportedCard)) is not None:
        progress.note(f"{out} is up to date.")
        return existing.card
    model = build_model(
        source.classifier.network, len(source.classifier.classes), run.path / "model.safetensors"
    ).eval()
    probes = parity_images(source.classifier.input_size)
    expected = _reference(model, probes, source.classifier.mean, source.classifier.std)
    grey = GreyClassifier(model, source.classifier.mean, source.classifier.std).eval()
    graph = _to_onnx(grey, source.classifier.input_size)
    onnx_graph.write_metadata(graph, source.classifier, "fp32")
    onnx.checker.check_model(graph, full_check=True)
    room = writing(out.parent, graph.ByteSize(), f"the model {out.name}")
    with room, atomic_folder(out, ArtifactKind.MODEL.value) as folder:
        path = folder / FP32_NAME
        onnx.save(graph, path)
        error = _parity(path, probes, expected)
        if error > MAX_PARITY_ERROR:
            raise CxredgeError(
                f"The exported model differs from torch by {error:.2g} in a logit; at most "
                f"{MAX_PARITY_ERROR:g} is allowed. Nothing was written.",
                "Check the versions of torch and onnxruntime: cxredge doctor",
            )
        write_manifest(folder / "manifest.csv", read_manifest(run.path / "manifest.csv").entries)
        facts = ExportFacts(error, path.stat().st_size, source.facts.test.accuracy)
        return write_card(folder, ExportedCard.of(planned, facts))


def parity_images(size: int) -> np.ndarray:
    """Return uint8 (N, 1, size, size): phantoms, noise, and all black and all white."""
    rng = np.random.default_rng(0)
    phantoms = [render_phantom(LABELS[i % len(LABELS)], i, 0, size) for i in range(_PARITY_IMAGES)]
    noise = rng.integers(0, 256, (2, size, size), dtype=np.uint8)
    flat = np.stack([np.zeros((size, size), np.uint8), np.full((size, size), 255, np.uint8)])
    return np.concatenate([np.stack(phantoms), noise, flat])[:, None]


def _sum_input_channels(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels != 3 or module.groups != 1:
                raise CxredgeError(f"The first convolution, {name}, does not take three channels.")
            module.weight = nn.Parameter(module.weight.detach().sum(dim=1, keepdim=True))
            module.in_channels = 1
            return
    raise CxredgeError("The network has no convolution.")


@torch.no_grad()
def _reference(model: nn.Module, images: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Return the logits of the trained network, with three input channels."""
    grey = torch.from_numpy(images).float() / 255
    logits: np.ndarray = model(((grey - mean) / std).expand(-1, 3, -1, -1)).numpy()
    return logits


def _to_onnx(model: nn.Module, size: int) -> onnx.ModelProto:
    """Trace and simplify the network; the graph uses standard operators only."""
    example = torch.zeros((2, 1, size, size), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as name:
        traced, lean = Path(name) / "traced.onnx", Path(name) / "lean.onnx"
        with warnings.catch_warnings():
            # The tracing exporter is deprecated, but its successor requires opset 18, which
            # TensorRT 8.5 and 8.6 do not read.
            warnings.simplefilter("ignore", DeprecationWarning)
            # lean_graph folds what the tracer does not.
            warnings.filterwarnings("ignore", "Constant folding", UserWarning)
            torch.onnx.export(
                model,
                (example,),
                str(traced),
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_axes={INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}},
                opset_version=OPSET,
                dynamo=False,
            )
        onnx.save(lean_graph(onnx.load(traced)), traced)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(lean)
        options.log_severity_level = 3
        ort.InferenceSession(str(traced), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(lean)
    standard = [entry for entry in graph.opset_import if entry.domain in ("", "ai.onnx")]
    del graph.opset_import[:]
    graph.opset_import.extend(standard)
    return graph


def _parity(path: Path, images: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest absolute difference of a logit, for one batch and for single images."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    whole = session.run([OUTPUT_NAME], {INPUT_NAME: images})[0]
    single = np.concatenate(
        [session.run([OUTPUT_NAME], {INPUT_NAME: images[i : i + 1]})[0] for i in range(2)]
    )
    differences = [np.abs(whole - expected).max(), np.abs(single - expected[:2]).max()]
    error = float(np.max(differences))
    return error if np.isfinite(error) else float("inf")
