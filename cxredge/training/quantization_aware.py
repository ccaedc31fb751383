"""A short quantization-aware fine-tuning: INT8 weights that answer as FP32 does.

The quantized graph itself is trained, through its own rounding, towards the logits of the FP32
network (distillation: labels are not needed, and what FP32 decides is what INT8 should). Scales
and the graph stay as they are, so it remains as legal and as fast as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F

from cxredge.artifacts.card import ArtifactKind, check_files, read_card
from cxredge.backends.base import Logits
from cxredge.backends.batched import infer_file
from cxredge.data.images import GreyImage
from cxredge.data.labelled import load_labelled
from cxredge.data.manifest import read_manifest
from cxredge.errors import CxredgeError
from cxredge.progress import Progress
from cxredge.training.graph_module import GraphModule
from cxredge.training.memory import keep_freed_memory
from cxredge.vocabulary import Split

_MOST_IMAGES = 1024


@dataclass(frozen=True)
class FineTuning:
    """How long and how fast weights are moved.

    Attributes:
        steps: Steps of the optimiser.
        batch_size: Images a step.
        weight_rate: Peak learning rate of weights, in their own units; half a step of a grid is
            about 0.0005 in the networks here.
        bias_rate: That of biases.
        seed: Chooses the images of each step.
    """

    steps: int = 200
    batch_size: int = 16
    weight_rate: float = 2e-5
    bias_rate: float = 2e-4
    seed: int = 0


def training_pixels(run: Path, progress: Progress) -> GreyImage:
    """Return images of a run's training split, at most 1024, evenly picked: uint8 (N, S, S).

    Raises:
        CxredgeError: It is no finished run, or an image is gone.
    """
    card = read_card(run, ArtifactKind.RUN)
    check_files(run, card)
    entries = read_manifest(run / "manifest.csv").of(Split.TRAIN)
    every = -(-len(entries) // _MOST_IMAGES)
    classifier = card.classifier
    found = load_labelled(entries[::every], classifier.classes, classifier.input_size, progress)
    return found.pixels


def fine_tune(
    graph: onnx.ModelProto,
    fp32: Path,
    pixels: GreyImage,
    settings: FineTuning,
    progress: Progress,
) -> onnx.ModelProto:
    """Return the quantized graph with weights and biases that were trained.

    Args:
        graph: An emitted graph, of either dialect.
        fp32: The FP32 ONNX file that it should answer like.
        pixels: uint8 (N, S, S) training images.
        settings: How long and how fast.
        progress: Hears of steps.

    Raises:
        CxredgeError: The graph has an operator that cannot be trained here, or training diverged.
    """
    keep_freed_memory()
    reference = infer_file(fp32, pixels)
    module = GraphModule(graph)
    optimizer = _optimizer(module, settings)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    draw = torch.Generator().manual_seed(settings.seed)
    with progress.task("Fine-tuning INT8", settings.steps) as advance:
        for step in range(settings.steps):
            rows = torch.randint(len(pixels), (settings.batch_size,), generator=draw)
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
    wanted = torch.from_numpy(reference[rows.numpy()])
    found = module(torch.from_numpy(pixels[rows.numpy()])[:, None])
    return F.mse_loss(found, wanted)


def _optimizer(module: GraphModule, settings: FineTuning) -> torch.optim.Optimizer:
    parameters = list(module.trained.values())
    return torch.optim.Adam(
        [
            {"params": [p for p in parameters if p.ndim > 1], "lr": settings.weight_rate},
            {"params": [p for p in parameters if p.ndim == 1], "lr": settings.bias_rate},
        ]
    )
