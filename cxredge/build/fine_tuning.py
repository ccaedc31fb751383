"""Joining fine-tuning, which needs torch, to quantization, which does not know of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cxredge.progress import Progress

if TYPE_CHECKING:
    import onnx

    from cxredge.quantization.quantize import Tuning


def tuning_of(run: Path, fp32: Path, progress: Progress) -> Tuning:
    """Return the last step of the quantization search: INT8 weights trained on a run's images.

    Args:
        run: A finished run of ``cxredge train``.
        fp32: Folder of the FP32 model that INT8 should answer like.
        progress: Hears of images and steps.

    Raises:
        CxredgeError: It is no finished run.
    """
    from cxredge.artifacts.card import (
        read_artifact,
    )
    from cxredge.artifacts.run_card import RunCard
    from cxredge.graph.model_file import FP32_NAME
    from cxredge.quantization.quantize import Tuning

    card_sha256 = read_artifact(run, RunCard).card_sha256

    def fine_tune(graph: onnx.ModelProto) -> onnx.ModelProto:
        from cxredge.training.quantization_aware import FineTuning, training_pixels
        from cxredge.training.quantization_aware import fine_tune as stage

        pixels = training_pixels(run, progress)
        return stage(graph, fp32 / FP32_NAME, pixels, FineTuning(), progress)

    return Tuning(card_sha256, fine_tune)
