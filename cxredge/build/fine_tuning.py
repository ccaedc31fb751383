"""Fine-tuning, which requires torch, as a step of quantization, which does not import it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxredge.artifacts.card import Artifact
from cxredge.artifacts.model_card import ExportedCard
from cxredge.artifacts.run_card import RunCard
from cxredge.graph.model_file import FP32_NAME
from cxredge.progress import Progress
from cxredge.quantization.quantize import Tuning

if TYPE_CHECKING:
    import onnx


def tuning_of(run: Artifact[RunCard], fp32: Artifact[ExportedCard], progress: Progress) -> Tuning:
    """Return the last step of a quantization: INT8 weights trained on the images of a run.

    Args:
        run: A run of ``cxredge train``.
        fp32: The FP32 model whose logits are the target.
        progress: Progress listener.
    """

    def fine_tune(graph: onnx.ModelProto) -> onnx.ModelProto:
        from cxredge.training.quantization_aware import FineTuning, training_pixels
        from cxredge.training.quantization_aware import fine_tune as stage

        pixels = training_pixels(run, progress)
        return stage(graph, fp32.path / FP32_NAME, pixels, FineTuning(), progress)

    return Tuning(run.card_sha256, fine_tune)
