"""What an engine is asked to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from cxredge.backends.tensorrt.api import Flavour
from cxredge.errors import CxredgeError
from cxredge.targets.engine_request import EngineRequest
from cxredge.vocabulary import Precision


class Typing(str, Enum):
    """Who decides the number format of a layer.

    ``flags``: TensorRT, among those that the builder flags allow; versions up to 10.
    ``strong``: the ONNX file; versions from 10 on, and the only way from 11 on and in TensorRT for
    RTX.
    """

    FLAGS = "flags"
    STRONG = "strong"


@dataclass(frozen=True)
class LegacyCalibration:
    """INT8 by TensorRT's own entropy calibrator instead of Q/DQ; TensorRT 10 and older only.

    For boards where the ranges of cxredge's own calibration cannot be used. The model is then the
    FP32 one.

    Attributes:
        manifest: The calibration list; its images are read a batch at a time.
        cache_folder: Where calibration tables are kept, named by the content they depend on.
        batch: Images at a time.
    """

    manifest: Path
    cache_folder: Path
    batch: int = 8


@dataclass(frozen=True)
class EngineConfig(EngineRequest):
    """The settings of one engine: what was asked of it, and what follows from where it is built.

    Attributes:
        precision: INT8 takes an ONNX file with Q/DQ; FP16 and FP32 take the FP32 file.
        typing: Who decides number formats; None for flags where the version has them.
        flavour: TensorRT or TensorRT for RTX; None for what is installed.
        compute_capability: Build for this one, for example ``8.6``, without its GPU; TensorRT for
            RTX only. None for this machine's GPU.
        timing_cache_folders: Where kernel timings are kept, so that the next build is shorter; the
            first that has some is read, all are written.
        calibration: The legacy route to INT8; off when None.
        parents: SHA-256 of what the ONNX file was made from, by role; repeated in the facts.
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
                "An engine of cxredge computes in fp32, fp16 or int8, not in bf16.",
                "Ask for one of these: --precision fp16",
            )
        if self.calibration and self.precision is not Precision.INT8:
            raise CxredgeError(f"Calibration is for int8, not for {self.precision.value}.")

    def to_json(self) -> dict[str, Any]:
        """Return what decides the engine as JSON values."""
        return {
            "precision": self.precision.value,
            **super().to_json(),
            "legacy_calibration": self.calibration is not None,
        }
