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
        CARD_NAME,
        ArtifactKind,
        check_files,
        read_card,
        sha256_of_file,
    )
    from cxredge.graph.model_file import FP32_NAME
    from cxredge.quantization.quantize import Tuning

    card = read_card(run, ArtifactKind.RUN)
    check_files(run, card)

    def fine_tune(graph: onnx.ModelProto) -> onnx.ModelProto:
        from cxredge.training.quantization_aware import FineTuning, training_pixels
        from cxredge.training.quantization_aware import fine_tune as stage

        pixels = training_pixels(run, progress)
        return stage(graph, fp32 / FP32_NAME, pixels, FineTuning(), progress)

    return Tuning(sha256_of_file(run / CARD_NAME), fine_tune)
