"""Building of engines from ONNX files."""

from __future__ import annotations

import hashlib
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.backends.cuda.driver import read_driver_version
from cxredge.backends.cuda.memory import open_memory
from cxredge.backends.tensorrt import timing_cache as timings
from cxredge.backends.tensorrt.calibrator import make_calibrator
from cxredge.backends.tensorrt.configure import configure
from cxredge.backends.tensorrt.explain import explain
from cxredge.backends.tensorrt.facts import EngineFacts, EngineLayer, read_facts, write_facts
from cxredge.backends.tensorrt.job import Job, plan_job
from cxredge.backends.tensorrt.layers import read_layers
from cxredge.backends.tensorrt.log import Log, capture_log
from cxredge.backends.tensorrt.monitor import build_progress
from cxredge.backends.tensorrt.network import count_formats, input_size, read_network
from cxredge.backends.tensorrt.settings import EngineConfig
from cxredge.errors import CxredgeError
from cxredge.progress import Progress, Silent
from cxredge.targets import registry
from cxredge.vocabulary import Precision


def build_engine(
    onnx_path: Path, plan_path: Path, settings: EngineConfig, progress: Progress | None = None
) -> EngineFacts:
    """Build an engine and write it, with its facts beside it.

    Args:
        onnx_path: A model of cxredge: with Q/DQ in TensorRT's dialect for INT8, otherwise FP32.
        plan_path: Engine file to write; its facts go to ``plan_path`` + ``.json``.
        settings: Settings of the engine.
        progress: Progress listener; None for a silent build.

    Raises:
        DependencyError: TensorRT, a driver, a GPU or memory is missing.
        ArtifactError: TensorRT does not accept the model; the message names the node.
        CxredgeError: This version does not support the settings.
    """
    job = plan_job(onnx_path, plan_path, settings)
    start = time.perf_counter()
    built = _run(job, progress or Silent())
    seconds = time.perf_counter() - start
    with atomic_file(plan_path) as temporary:
        temporary.write_bytes(built.plan)
    facts = _facts(job, built, sha256_of_file(onnx_path), seconds)
    write_facts(plan_path, facts)
    return facts


@dataclass(frozen=True)
class _EngineBuild:
    """A serialized engine, with the findings of its build."""

    plan: bytes
    formats: dict[str, int]
    layers: tuple[EngineLayer, ...]
    warnings: tuple[str, ...]


def _run(job: Job, progress: Progress) -> _EngineBuild:
    api, settings = job.api, job.settings
    trt: Any = api.trt
    logger, log = capture_log(api)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:
        raise explain(job.doing, log, str(error)) from None
    _check_hardware(job, builder)
    network = read_network(job, builder, logger, log)
    config = builder.create_builder_config()
    configure(api, builder, config, settings, job.typing, input_size(network))
    plan = _run_builder(job, builder, network, config, log, progress)
    formats, warnings = count_formats(network), tuple(log.warnings())
    return _EngineBuild(plan, formats, _inspect(job, logger, log, plan), warnings)


def _run_builder(
    job: Job, builder: Any, network: Any, config: Any, log: Log, progress: Progress
) -> bytes:
    """Build with the timings of earlier builds, and with a calibrator if one is configured."""
    api, settings = job.api, job.settings
    calibrator, caches = None, _timing_caches(job)
    with ExitStack() as open_until_built:
        if settings.calibration and api.has("IBuilderConfig.int8_calibrator"):
            memory = open_until_built.enter_context(open_memory())
            size = input_size(network)
            calibrator = make_calibrator(api, job.onnx, size, settings.calibration, memory)
            config.int8_calibrator = calibrator
        timing_cache = timings.attach(api, config, caches)
        last = _last_build_seconds(job.plan_path)
        open_until_built.enter_context(build_progress(api, config, progress, last))
        host_memory = builder.build_serialized_network(network, config)
    if calibrator is not None and calibrator.failure is not None:
        raise calibrator.failure
    if host_memory is None:
        raise explain(job.doing, log)
    if timing_cache is not None:
        timings.save(timing_cache, caches)
    return bytes(host_memory)


def _timing_caches(job: Job) -> list[Path]:
    """Return the paths of the timing cache; none if the build is for another GPU."""
    if job.gpu is None:
        return []
    name = timings.cache_name(job.api, job.gpu, job.board.model)
    return [folder / name for folder in job.settings.timing_cache_folders]


def _facts(job: Job, built: _EngineBuild, onnx_sha256: str, seconds: float) -> EngineFacts:
    settings, gpu = job.settings, job.gpu
    return EngineFacts(
        plan=job.plan_path.name,
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        size_bytes=len(built.plan),
        parents={**settings.parents, "onnx": onnx_sha256},
        settings=settings.recorded(),
        flavour=job.api.flavour,
        version=job.api.version,
        typing=job.typing,
        compute_capability=gpu.compute_capability if gpu else settings.compute_capability or "",
        gpu=gpu.name if gpu else None,
        cuda_version=gpu.cuda_version if gpu else None,
        board=job.board.model,
        l4t=job.board.l4t,
        jetpack=registry.jetpack_of(job.board),
        driver=read_driver_version(registry.ROOT) if gpu else None,
        profiles=tuple(settings.profiles()),
        build_seconds=seconds,
        network_formats=built.formats,
        layers=built.layers,
        warnings=built.warnings,
    )


def _check_hardware(job: Job, builder: Any) -> None:
    """Refuse INT8 on a GPU without INT8 instructions, where it would be slower than FP16."""
    is_int8 = job.settings.precision is Precision.INT8
    if not job.api.has("Builder.platform_has_fast_int8") or not is_int8:
        return
    if not builder.platform_has_fast_int8:
        raise CxredgeError(
            f"{job.doing}: {job.gpu.name if job.gpu else 'this GPU'} has no INT8 hardware.",
            "Use --precision fp16.",
        )


def _inspect(job: Job, logger: Any, log: Log, plan: bytes) -> tuple[EngineLayer, ...]:
    """Return the engine's layers; none if its GPU is not present to load it."""
    if job.gpu is None:
        return ()
    trt: Any = job.api.trt
    runtime = trt.Runtime(logger)
    if job.settings.version_compatible and job.api.has("Runtime.engine_host_code_allowed"):
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise explain(f"{job.api.title} cannot load the engine that it has just built", log)
    return read_layers(job.api, engine)


def _last_build_seconds(plan_path: Path) -> float | None:
    try:
        facts = read_facts(plan_path) if plan_path.exists() else None
    except CxredgeError:
        return None
    return facts.build_seconds if facts else None
