"""The builder's configuration, by what the version has."""

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
        builder: Makes the profiles.
        config: What is written to.
        settings: What is asked for.
        typing: Who decides number formats.
        size: Height and width of the input in pixels.

    Raises:
        CxredgeError: This version lacks what is asked for.
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
        # TensorFloat-32 has the mantissa of FP16: it would not be FP32.
        config.clear_flag(trt.BuilderFlag.TF32)
    if api.has("BuilderFlag.INT8") and typing is Typing.FLAGS:
        if precision is not Precision.FP32:
            # For INT8 too: what Q/DQ leaves in floating point may then run in FP16.
            config.set_flag(trt.BuilderFlag.FP16)
        if precision is Precision.INT8:
            config.set_flag(trt.BuilderFlag.INT8)


def _choose_effort(api: Api, config: Any, settings: EngineConfig) -> None:
    trt: Any = api.trt
    if settings.optimization_level is not None:
        if not api.has("IBuilderConfig.builder_optimization_level"):
            raise CxredgeError(
                f"{api.title} has no optimization levels: they came with 8.6.",
                "Leave the optimization level out.",
            )
        config.builder_optimization_level = settings.optimization_level
    if settings.version_compatible:
        if not api.has("BuilderFlag.VERSION_COMPATIBLE"):
            raise CxredgeError(
                f"{api.title} cannot build version-compatible engines: they came with 8.6.",
                "Build without, and build again after each update of JetPack.",
            )
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)


def _choose_compute_capability(api: Api, config: Any, wanted: str | None) -> None:
    """Say which GPU the engine is for; TensorRT itself builds for the one that it runs on."""
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
            f"{api.title} does not serve compute capability {wanted}; it serves "
            f"{', '.join(served)}.",
            "See the devices: cxredge targets",
        )
    config.set_compute_capability(getattr(trt.ComputeCapability, served[wanted]), 0)


def served_capabilities(api: Api) -> dict[str, str]:
    """Return the name of each compute capability that can be built for without its GPU.

    Nothing where the version builds for the GPU that it runs on alone.
    """
    trt: Any = api.trt
    if not api.has("ComputeCapability"):
        return {}
    names = [name for name in dir(trt.ComputeCapability) if name.startswith("SM")]
    served = {f"{name[2:-1]}.{name[-1]}": name for name in names}
    return dict(sorted(served.items(), key=lambda item: numbers(item[0])))
