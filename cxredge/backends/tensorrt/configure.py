"""Configuration of TensorRT's builder, as far as the version supports it."""

from __future__ import annotations

from typing import Any

from cxredge.backends.tensorrt.api import Api, numbers
from cxredge.backends.tensorrt.settings import EngineConfig, Typing
from cxredge.errors import CxredgeError
from cxredge.vocabulary import INPUT_NAME, Precision


def configure(
    api: Api, builder: Any, config: Any, settings: EngineConfig, typing: Typing, size: int
) -> None:
    """Write the settings into a builder's configuration.

    Args:
        api: The bindings.
        builder: Creates the optimization profiles.
        config: Builder configuration to write to.
        settings: Settings of the engine.
        typing: Choice of number formats.
        size: Height and width of the input in pixels.

    Raises:
        CxredgeError: This version does not support a setting.
    """
    trt: Any = api.trt
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if settings.workspace_mb is not None:
        workspace = trt.MemoryPoolType.WORKSPACE
        config.set_memory_pool_limit(workspace, settings.workspace_mb * 1_000_000)
    for low, best, high in settings.profiles():
        profile = builder.create_optimization_profile()
        profile.set_shape(INPUT_NAME, *[(batch, 1, size, size) for batch in (low, best, high)])
        config.add_optimization_profile(profile)
    _choose_precision(api, config, settings.precision, typing)
    _choose_effort(api, config, settings)
    _choose_compute_capability(api, config, settings.compute_capability)


def _choose_precision(api: Api, config: Any, precision: Precision, typing: Typing) -> None:
    trt: Any = api.trt
    if precision is Precision.FP32:
        # TensorFloat-32 has a 10-bit mantissa, as FP16 has, so it is no FP32.
        config.clear_flag(trt.BuilderFlag.TF32)
    if api.has("BuilderFlag.INT8") and typing is Typing.FLAGS:
        if precision is not Precision.FP32:
            # For INT8 too: layers without Q/DQ may then run in FP16.
            config.set_flag(trt.BuilderFlag.FP16)
        if precision is Precision.INT8:
            config.set_flag(trt.BuilderFlag.INT8)


def _choose_effort(api: Api, config: Any, settings: EngineConfig) -> None:
    trt: Any = api.trt
    if settings.optimization_level is not None:
        if not api.has("IBuilderConfig.builder_optimization_level"):
            raise CxredgeError(
                f"{api.title} has no optimization levels: they came with 8.6.",
                "Omit the optimization level.",
            )
        config.builder_optimization_level = settings.optimization_level
    if settings.version_compatible:
        if not api.has("BuilderFlag.VERSION_COMPATIBLE"):
            raise CxredgeError(
                f"{api.title} cannot build version-compatible engines: they came with 8.6.",
                "Build without it, and rebuild after each update of JetPack.",
            )
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)


def _choose_compute_capability(api: Api, config: Any, wanted: str | None) -> None:
    """Set the compute capability, which only TensorRT for RTX lets one choose."""
    trt: Any = api.trt
    if not api.has("IBuilderConfig.set_compute_capability"):
        return
    config.num_compute_capabilities = 1
    if wanted is None:
        config.set_compute_capability(trt.ComputeCapability.CURRENT, 0)
        return
    served = served_capabilities(api)
    if wanted not in served:
        raise CxredgeError(
            f"{api.title} does not support compute capability {wanted}; it supports "
            f"{', '.join(served)}.",
            "See the devices: cxredge targets",
        )
    config.set_compute_capability(getattr(trt.ComputeCapability, served[wanted]), 0)


def served_capabilities(api: Api) -> dict[str, str]:
    """Return the enum name of each compute capability that can be built for without its GPU.

    Empty if the version builds only for the GPU that it runs on.
    """
    trt: Any = api.trt
    if not api.has("ComputeCapability"):
        return {}
    names = [name for name in dir(trt.ComputeCapability) if name.startswith("SM")]
    served = {f"{name[2:-1]}.{name[-1]}": name for name in names}
    return dict(sorted(served.items(), key=lambda item: numbers(item[0])))
