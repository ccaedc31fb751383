"""Settings of an engine build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from cxredge.backends.tensorrt.api import Flavour
from cxredge.errors import CxredgeError
from cxredge.targets.engine_request import EngineRequest
from cxredge.vocabulary import Precision


class Typing(str, Enum):
    """Choice of the number format of each layer.

    ``flags``: by TensorRT, among those that the builder flags allow (weak typing); up to version
    10. ``strong``: by the ONNX file (strong typing); from version 10 on, and the only way from 11
    on and in TensorRT for RTX.
    """

    FLAGS = "flags"
    STRONG = "strong"


@dataclass(frozen=True)
class LegacyCalibration:
    """INT8 by TensorRT's own entropy calibrator instead of Q/DQ; TensorRT 10 and older only.

    For boards on which the ranges of cxredge's own calibration cannot be used. It requires the
    FP32 model.

    Attributes:
        manifest: Calibration list; its images are read one batch at a time.
        cache_folder: Folder of calibration tables, which are named by the content they depend on.
        batch: Number of images per batch.
    """

    manifest: Path
    cache_folder: Path
    batch: int = 8


@dataclass(frozen=True)
class RecordedSettings:
    """Settings that determine an engine, as its facts record them.

    Attributes:
        precision: Precision of the engine.
        batches, workspace_mb, optimization_level, version_compatible: As in
            :class:`~cxredge.targets.engine_request.EngineRequest`.
        legacy_calibration: Whether TensorRT's own calibrator chose the ranges.
    """

    precision: Precision
    batches: tuple[int, ...]
    workspace_mb: int | None
    optimization_level: int | None
    version_compatible: bool
    legacy_calibration: bool


@dataclass(frozen=True)
class EngineConfig(EngineRequest):
    """Settings of one engine: the request, and settings that depend on the build machine.

    Attributes:
        precision: INT8 requires an ONNX file with Q/DQ; FP16 and FP32 require the FP32 file.
        typing: Choice of number formats; None for builder flags if the version has them.
        flavour: TensorRT or TensorRT for RTX; None for the installed one.
        compute_capability: Compute capability to build for without its GPU, for example ``8.6``;
            TensorRT for RTX only. None for this machine's GPU.
        timing_cache_folders: Folders of kernel timings, which shorten the next build; the first
            that has a cache is read, all are written.
        calibration: Calibration by TensorRT itself; None for Q/DQ.
        parents: SHA-256 of the ONNX file's inputs, by role; repeated in the facts.
    """

    precision: Precision
    typing: Typing | None = None
    flavour: Flavour | None = None
    compute_capability: str | None = None
    timing_cache_folders: tuple[Path, ...] = ()
    calibration: LegacyCalibration | None = None
    parents: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision is Precision.BF16:
            raise CxredgeError(
                "Engines compute in fp32, fp16 or int8; bf16 is not supported.",
                "Choose one of these: --precision fp16",
            )
        if self.calibration and self.precision is not Precision.INT8:
            raise CxredgeError(f"Calibration is for int8, not for {self.precision.value}.")

    def recorded(self) -> RecordedSettings:
        """Return the settings that determine the engine."""
        return RecordedSettings(
            precision=self.precision,
            batches=self.batches,
            workspace_mb=self.workspace_mb,
            optimization_level=self.optimization_level,
            version_compatible=self.version_compatible,
            legacy_calibration=self.calibration is not None,
        )
