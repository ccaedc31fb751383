"""Quantization-aware fine-tuning of INT8 weights.

The quantized graph, rounding included, is trained towards the logits of the FP32 network
(distillation: no labels are needed, and the target is agreement with FP32). Scales and graph
structure do not change, so the graph remains valid in its dialect and equally fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F

from cxredge.artifacts.card import Artifact
from cxredge.artifacts.run_card import RunCard
from cxredge.backends.base import Logits
from cxredge.backends.batched import infer_file
from cxredge.data.images import GreyImage
from cxredge.data.loading import load_labelled
from cxredge.data.manifest import read_manifest
from cxredge.errors import CxredgeError
from cxredge.progress import Progress
from cxredge.training.graph_module import GraphModule
from cxredge.training.launch import require_one_process
from cxredge.training.performance import keep_freed_memory
from cxredge.vocabulary import Split

_MAX_IMAGES = 1024


@dataclass(frozen=True)
class FineTuning:
    """Settings of quantization-aware fine-tuning.

    Attributes:
        steps: Number of optimiser steps.
        batch_size: Number of images per step.
        weight_rate: Peak learning rate of weights; half a quantization step of a weight is about
            0.0005 in the networks here.
        bias_rate: Peak learning rate of biases.
        seed: Seed for drawing the images of each step.
    """

    steps: int = 200
    batch_size: int = 16
    weight_rate: float = 2e-5
    bias_rate: float = 2e-4
    seed: int = 0


def training_pixels(run: Artifact[RunCard], progress: Progress) -> GreyImage:
    """Return at most 1024 images of a run's training split, evenly spaced: uint8 (N, S, S).

    Raises:
        CxredgeError: An image is missing.
    """
    entries = read_manifest(run.path / "manifest.csv").of(Split.TRAIN)
    stride = -(-len(entries) // _MAX_IMAGES)
    classifier = run.card.classifier
    labelled = load_labelled(entries[::stride], classifier.classes, classifier.input_size, progress)
    return labelled.pixels


def fine_tune(
    graph: onnx.ModelProto,
    fp32: Path,
    pixels: GreyImage,
    settings: FineTuning,
    progress: Progress,
) -> onnx.ModelProto:
    """Fine-tune the weights and biases of a quantized graph.

    Args:
        graph: Quantized graph of either dialect.
        fp32: FP32 ONNX file whose logits are the target.
        pixels: uint8 (N, S, S) training images.
        settings: Number of steps and learning rates.
        progress: Progress listener.

    Returns:
        A new graph.

    Raises:
        CxredgeError: The graph has an operator that is not supported, training diverged, or
            torchrun started several processes.
    """
    require_one_process("Quantization-aware fine-tuning")
    keep_freed_memory()
    reference = infer_file(fp32, pixels)
    module = GraphModule(graph)
    optimizer = _optimizer(module, settings)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    generator = torch.Generator().manual_seed(settings.seed)
    with progress.task("Fine-tuning INT8", settings.steps) as advance:
        for step in range(settings.steps):
            rows = torch.randint(len(pixels), (settings.batch_size,), generator=generator)
            loss = _loss(module, pixels, reference, rows)
            if not torch.isfinite(loss):
                raise CxredgeError(
                    f"Fine-tuning diverged at step {step + 1}.", "Quantize without --fine-tune."
                )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            advance(1)
    return module.write_to(graph)


def _loss(
    module: GraphModule, pixels: GreyImage, reference: Logits, rows: torch.Tensor
) -> torch.Tensor:
    targets = torch.from_numpy(reference[rows.numpy()])
    outputs = module(torch.from_numpy(pixels[rows.numpy()])[:, None])
    return F.mse_loss(outputs, targets)


def _optimizer(module: GraphModule, settings: FineTuning) -> torch.optim.Optimizer:
    parameters = list(module.trained.values())
    return torch.optim.Adam(
        [
            {"params": [p for p in parameters if p.ndim > 1], "lr": settings.weight_rate},
            {"params": [p for p in parameters if p.ndim == 1], "lr": settings.bias_rate},
        ]
    )
