"""The settings of a build, and the card of a bundle before anything is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxredge.artifacts.card import Artifact, ArtifactKind, StagePlan, tool_versions
from cxredge.artifacts.model_card import ExportedCard
from cxredge.artifacts.run_card import RunCard
from cxredge.backends import CPU_BACKENDS
from cxredge.build.engines import DEFAULT_OPTIONS, EngineOptions, check_options
from cxredge.build.rtx_engines import resolve_capabilities
from cxredge.bundle.card import BundleConfig
from cxredge.data.manifest import Manifest
from cxredge.gate.limits import GateLimits, RefusalLimits
from cxredge.quantization.calibration_set import read_calibration
from cxredge.targets.engine_request import EngineRequest
from cxredge.targets.precision import require_precision, uses_cascade
from cxredge.targets.record import Target
from cxredge.targets.registry import find_target
from cxredge.vocabulary import Dialect, Effort, Precision, Split

FAMILIAR_SHARE, SET_COVERAGE = 0.95, 0.9
"""Defaults of the shares that familiarity and prediction sets are derived for."""

Source = Artifact[RunCard | ExportedCard]
"""A run or an FP32 model, which a bundle is built from."""


@dataclass(frozen=True)
class BuildConfig:
    """The settings of one build.

    Attributes:
        target: The device.
        precision: The precision to ship; None for the best that passes the gate.
        limits: Largest losses against FP32 that the gate allows.
        split: Split of the held-out images that the gate uses.
        specificity: Specificity of the operating thresholds on validation images.
        calibration_seed: Seed of the calibration list if none is given.
        effort: Extent of the search for the quantization.
        engine: Settings of the engines, if the target's runtime has engines.
        compute_capabilities: Compute capabilities to build engines for in advance; TensorRT for
            RTX only.
        cascade: FP32 decides the near ties of a reduced precision.
        familiar_share: Share of the validation images that are familiar; None to build networks
            that do not measure familiarity.
        set_coverage: Share of images whose prediction set contains their class.
        heatmaps: Whether the networks also return class activation maps.
        refusals: Limits of the gate on controls and refusals.
    """

    target: Target
    precision: Precision | None
    limits: GateLimits
    split: Split = Split.TEST
    specificity: float = 0.9
    calibration_seed: int = 0
    effort: Effort = Effort.DEFAULT
    engine: EngineRequest = field(default_factory=EngineRequest)
    compute_capabilities: tuple[str, ...] = ()
    cascade: bool = False
    familiar_share: float | None = FAMILIAR_SHARE
    set_coverage: float = SET_COVERAGE
    heatmaps: bool = True
    refusals: RefusalLimits = field(default_factory=RefusalLimits)

    @classmethod
    def for_target(
        cls,
        name: str = "here",
        precision: Precision | None = None,
        *,
        engine: EngineOptions = DEFAULT_OPTIONS,
        compute_capabilities: tuple[str, ...] = (),
        cascade: bool | None = None,
        limits: GateLimits | None = None,
        **settings: Any,
    ) -> BuildConfig:
        """Return the settings of a build for a target, after checking that they fit it.

        Args:
            name: Name of the target; ``here`` for this machine.
            precision: The precision to ship; None for the best that passes the gate.
            engine: Options of engines that differ from the defaults.
            compute_capabilities: As the attribute; ``all`` for every supported one.
            cascade: As the attribute; None for True if cxredge runs on the target.
            limits: As the attribute; None for the defaults.
            settings: Other attributes.

        Raises:
            CxredgeError: The target is not known.
            WrongUsage: The target does not support a setting.
            DependencyError: TensorRT for RTX is required and not installed.
        """
        target = find_target(name)
        require_precision(target, precision)
        check_options(target, engine)
        request = engine.override(EngineRequest())
        return cls(
            target,
            precision,
            limits or GateLimits(),
            engine=request,
            compute_capabilities=resolve_capabilities(target, compute_capabilities, request),
            cascade=uses_cascade(target, precision, cascade),
            **settings,
        )

    @property
    def candidates(self) -> tuple[Precision, ...]:
        """Precisions to compare: all of the target, or FP32 and the one to ship."""
        wanted = {Precision.FP32, self.precision} if self.precision else self.target.precisions
        return tuple(p for p in Precision if p in wanted)

    @property
    def models(self) -> tuple[Precision, ...]:
        """Candidates with an ONNX file of their own; runtimes on a CPU reduce FP32 themselves."""
        if self.target.backend in CPU_BACKENDS:
            return tuple(p for p in self.candidates if p in (Precision.FP32, Precision.INT8))
        return self.candidates

    @property
    def float_stem(self) -> bool:
        """Whether the first, cheap layers stay in float in the target's INT8 model."""
        return self.target.dialect is Dialect.CPU

    def record(self) -> BundleConfig:
        """Return the settings as the bundle's card states them."""
        return BundleConfig(
            float_stem=self.float_stem,
            target=self.target.name,
            backend=self.target.backend,
            precision=self.precision.value if self.precision else "auto",
            gate=self.limits,
            split=self.split,
            specificity=self.specificity,
            calibration_seed=self.calibration_seed,
            effort=self.effort,
            engine=self.engine,
            compute_capabilities=self.compute_capabilities,
            cascade=self.cascade,
            familiar_share=self.familiar_share,
            set_coverage=self.set_coverage,
            heatmaps=self.heatmaps,
            refusals=self.refusals,
        )


def plan(
    source: Source, manifest: Manifest, calibration: Path | None, config: BuildConfig
) -> StagePlan[BundleConfig]:
    """Return the part of a bundle's card that is known in advance and decides its content.

    Args:
        source: The run or model to build from.
        manifest: Images of the gate.
        calibration: List of calibration images, if one is given.
        config: The settings.
    """
    parents = {"source": source.card_sha256, "manifest": manifest.sha256}
    if calibration is not None:
        parents["calibration"] = read_calibration(calibration).sha256
    ahead = ["tensorrt-rtx"] if config.compute_capabilities else []
    return StagePlan(
        kind=ArtifactKind.BUNDLE,
        classifier=source.card.classifier,
        parents=parents,
        config=config.record(),
        tools=tool_versions("onnx", "onnxruntime", "openvino", "numpy", "pillow", *ahead),
    )
