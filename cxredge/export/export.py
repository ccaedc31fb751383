"""Export of a trained run to an FP32 ONNX model whose input is uint8 grey pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

from cxredge.artifacts.card import (
    Artifact,
    ArtifactKind,
    ClassifierSpec,
    StagePlan,
    tool_versions,
    up_to_date,
    write_card,
)
from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.exclusive import exclusive
from cxredge.artifacts.folder import atomic_folder
from cxredge.artifacts.model_card import ExportConfig, ExportedCard, ExportFacts
from cxredge.artifacts.run_card import RunCard
from cxredge.artifacts.training_images import copy_training_images, training_images_parent
from cxredge.data.manifest import read_manifest, write_manifest
from cxredge.data.phantoms import LABELS, render_phantom
from cxredge.errors import CxredgeError
from cxredge.export.trace import OPSET, GreyClassifier, to_onnx
from cxredge.graph import model_file as onnx_graph
from cxredge.graph.model_file import FP32_NAME
from cxredge.models import build_model
from cxredge.progress import Progress
from cxredge.vocabulary import INPUT_NAME, OUTPUT_NAME

MAX_PARITY_ERROR = 1e-4
_PARITY_IMAGES = 8


def export(run: Artifact[RunCard], out: Path, progress: Progress) -> ExportedCard:
    """Export a run to ONNX and check that ONNX Runtime agrees with torch.

    Args:
        run: A run.
        out: Folder of the model to write: ``model.onnx``, ``card.json`` and the run's manifest.
        progress: Progress listener.

    Returns:
        The model's card.

    Raises:
        CxredgeError: The logits of the exported model differ from torch's, or another process is
            writing ``out``.
    """
    with exclusive(out):
        return _export(run, out, progress)


def _export(run: Artifact[RunCard], out: Path, progress: Progress) -> ExportedCard:
    source = run.card
    planned = StagePlan(
        kind=ArtifactKind.MODEL,
        classifier=source.classifier,
        parents={
            "weights": source.files["model.safetensors"],
            "manifest": source.files["manifest.csv"],
            **training_images_parent(source),
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
    graph = _graph(model, source.classifier)
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
        copy_training_images(run.path, source, folder)
        facts = ExportFacts(error, path.stat().st_size, source.facts.test.accuracy)
        return write_card(folder, ExportedCard.of(planned, facts))


def parity_images(size: int) -> np.ndarray:
    """Return uint8 (N, 1, size, size): phantoms, noise, an all black and an all white image."""
    rng = np.random.default_rng(0)
    phantoms = [render_phantom(LABELS[i % len(LABELS)], i, 0, size) for i in range(_PARITY_IMAGES)]
    noise = rng.integers(0, 256, (2, size, size), dtype=np.uint8)
    flat = np.stack([np.zeros((size, size), np.uint8), np.full((size, size), 255, np.uint8)])
    return np.concatenate([np.stack(phantoms), noise, flat])[:, None]


@torch.no_grad()
def _reference(model: nn.Module, images: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Return the logits of the trained network, with three input channels."""
    grey = torch.from_numpy(images).float() / 255
    logits: np.ndarray = model(((grey - mean) / std).expand(-1, 3, -1, -1)).numpy()
    return logits


def _graph(model: nn.Module, classifier: ClassifierSpec) -> onnx.ModelProto:
    """Return the checked ONNX graph of a network, with its metadata."""
    grey = GreyClassifier(model, classifier.mean, classifier.std).eval()
    graph = to_onnx(grey, classifier.input_size)
    onnx_graph.write_metadata(graph, classifier, "fp32")
    onnx.checker.check_model(graph, full_check=True)
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
