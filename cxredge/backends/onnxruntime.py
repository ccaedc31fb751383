"""ONNX Runtime on the CPU: the runtime that is always installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from cxredge.artifacts.git_lfs import check_fetched
from cxredge.backends.base import Logits, Session, SessionSpec, available_cores
from cxredge.data.images import GreyImage
from cxredge.errors import ArtifactError
from cxredge.telemetry.linux import may_saturate_here
from cxredge.vocabulary import INPUT_NAME, OUTPUT_NAME

# A program may have imported ONNX Runtime before cxredge set ORT_DISABLE_TELEMETRY.
ort.disable_telemetry_events()

DISABLED_OPTIMIZERS = ("WeightBiasQuantization",)
"""Optimisations that are disabled. This one, since ONNX Runtime 1.21, quantizes float weights
between integer layers with one scale for all channels: layers kept in float for their accuracy
become less accurate than in INT8 (microsoft/onnxruntime, pull request 22969)."""

EXACT_ACCUMULATION = ("session.x64quantprecision", "1")
"""Makes an x86 processor without VNNI multiply INT8 in 16 bits and accumulate in 32, where the
faster kernels saturate (kOrtSessionOptionsAvx2PrecisionMode in ONNX Runtime). With VNNI it would
only select slower kernels."""


def exact_options() -> ort.SessionOptions:
    """Return options that compute the same INT8 results on every processor, without log output."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if may_saturate_here():
        options.add_session_config_entry(*EXACT_ACCUMULATION)
    return options


class OnnxRuntimeSession(Session):
    """A model in ONNX Runtime's CPU provider.

    Args:
        path: An ONNX file made by cxredge.
        threads: Number of threads per inference; 0 for one per core.
        batch: Number of images per inference when there are many.

    Raises:
        ArtifactError: The file is damaged or is not a classifier of grey images.
    """

    def __init__(self, path: Path, threads: int = 0, batch: int = 1) -> None:
        options = exact_options()
        options.intra_op_num_threads = threads or available_cores()
        try:
            self._session: Any = ort.InferenceSession(
                str(path),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=list(DISABLED_OPTIMIZERS),
            )
        except Exception as error:
            check_fetched(path)
            # ONNX Runtime's exceptions share no base class below Exception.
            cause = str(error).splitlines()[0]
            raise ArtifactError(
                f"ONNX Runtime failed to load {path}: {cause}", "Export or build it again."
            ) from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if [i.name for i in inputs] != [INPUT_NAME] or [o.name for o in outputs] != [OUTPUT_NAME]:
            raise ArtifactError(
                f"{path} has the inputs {[i.name for i in inputs]} and the outputs "
                f"{[o.name for o in outputs]}; a cxredge model has '{INPUT_NAME}' and "
                f"'{OUTPUT_NAME}'.",
                "Export it with: cxredge export RUN --out DIR",
            )
        self.spec = SessionSpec(
            size=inputs[0].shape[2],
            classes=outputs[0].shape[1],
            backend="onnxruntime",
            threads=options.intra_op_num_threads,
            concurrent=True,
            batch=batch,
        )

    def infer(self, images: GreyImage) -> Logits:
        """Return float32 logits (N, classes) of uint8 images (N, size, size)."""
        feed = {INPUT_NAME: np.ascontiguousarray(images[:, None])}
        logits: Logits = self._session.run([OUTPUT_NAME], feed)[0]
        return logits

    def close(self) -> None:
        """Free the model's memory. A second call has no effect."""
        self._session = None
