"""From ONNX to an engine."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from cxredge.artifacts import atomic_file, sha256_of_file
from cxredge.backends.cuda.driver import Gpu, read_gpu
from cxredge.backends.cuda.memory import open_memory
from cxredge.backends.tensorrt import timing_cache as timings
from cxredge.backends.tensorrt.api import Api, Flavour, load_api
from cxredge.backends.tensorrt.calibrator import make_calibrator
from cxredge.backends.tensorrt.configure import configure
from cxredge.backends.tensorrt.explain import MISREAD_ZERO_POINT, explain, explain_node
from cxredge.backends.tensorrt.facts import EngineFacts, read_facts, read_l4t, write_facts
from cxredge.backends.tensorrt.half import to_half
from cxredge.backends.tensorrt.inspector import read_layers
from cxredge.backends.tensorrt.log import Log, capture_log
from cxredge.backends.tensorrt.monitor import build_progress
from cxredge.backends.tensorrt.settings import EngineConfig, Typing
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.onnx_graph import INPUT_NAME, OUTPUT_NAME, read_model
from cxredge.progress import Progress, Silent
from cxredge.vocabulary import Precision


def build_engine(
    onnx_path: Path, plan_path: Path, settings: EngineConfig, progress: Progress | None = None
) -> EngineFacts:
    """Build an engine and write it with its passport beside it.

    Args:
        onnx_path: A model of cxredge: with TensorRT's Q/DQ for INT8, the FP32 one otherwise.
        plan_path: The engine's file; its facts go to ``plan_path`` + ``.json``.
        settings: What it shall be.
        progress: Hears of the steps; nobody when None.

    Raises:
        DependencyError: No TensorRT, no driver, no GPU, or too little memory.
        ArtifactError: TensorRT does not take the model; the message names the node.
        CxredgeError: This version cannot do what the settings ask for.
    """
    read_model(onnx_path)
    api = load_api(settings.flavour)
    typing = _typing(api, settings)
    gpu = _gpu(api, settings)
    last = _last_build_seconds(plan_path)
    job = _Job(api, settings, typing, gpu, _typed_bytes(onnx_path, settings, typing), plan_path)
    start = time.perf_counter()
    built = _build(job, progress or Silent(), last)
    seconds = time.perf_counter() - start
    with atomic_file(plan_path) as temporary:
        temporary.write_bytes(built.plan)
    facts = EngineFacts(
        plan=plan_path.name,
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        size_bytes=len(built.plan),
        parents={**settings.parents, "onnx": sha256_of_file(onnx_path)},
        settings=settings.to_json(),
        flavour=api.flavour,
        version=api.version,
        typing=typing.value,
        compute_capability=settings.compute_capability or (gpu.compute_capability if gpu else ""),
        gpu=gpu.name if gpu else None,
        cuda_version=gpu.cuda_version if gpu else None,
        l4t=read_l4t(),
        profiles=[list(profile) for profile in settings.profiles()],
        build_seconds=seconds,
        network_formats=built.formats,
        layers=built.layers,
        warnings=built.warnings,
    )
    write_facts(plan_path, facts)
    return facts


@dataclass(frozen=True)
class _Job:
    """What the steps of one build share."""

    api: Api
    settings: EngineConfig
    typing: Typing
    gpu: Gpu | None
    onnx: bytes
    plan_path: Path

    @property
    def doing(self) -> str:
        return f"{self.api.title} cannot build {self.plan_path.name}"


@dataclass(frozen=True)
class _Built:
    plan: bytes
    formats: dict[str, int]
    layers: list[dict[str, str]]
    warnings: list[str]


def _build(job: _Job, progress: Progress, last_seconds: float | None) -> _Built:
    api, settings = job.api, job.settings
    trt: Any = api.trt
    logger, log = capture_log(api)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:
        raise explain(job.doing, log, str(error)) from None
    _check_hardware(job, builder)
    network = builder.create_network(_network_flags(api, job.typing))
    parser = trt.OnnxParser(network, logger)
    _parse(job, parser, log)
    size = _check_network(job, network)
    config = builder.create_builder_config()
    configure(api, builder, config, settings, job.typing, size)
    cache_file = None
    if settings.timing_cache_folder and job.gpu:
        cache_file = timings.cache_path(settings.timing_cache_folder, api, job.gpu)
    with ExitStack() as open_until_built:
        calibrator = None
        if settings.calibration and api.has("IBuilderConfig.int8_calibrator"):
            memory = open_until_built.enter_context(open_memory())
            calibrator = make_calibrator(api, job.onnx, size, settings.calibration, memory)
            config.int8_calibrator = calibrator
        timing_cache = timings.attach(api, config, cache_file) if cache_file else None
        with build_progress(api, config, progress, last_seconds):
            host_memory = builder.build_serialized_network(network, config)
    if calibrator is not None and calibrator.failure is not None:
        raise calibrator.failure
    if host_memory is None:
        raise explain(job.doing, log)
    if timing_cache is not None and cache_file is not None:
        timings.save(timing_cache, cache_file)
    plan = bytes(host_memory)
    warnings = log.warnings()
    return _Built(plan, _formats(network), _inspect(job, logger, log, plan), warnings)


def _typing(api: Api, settings: EngineConfig) -> Typing:
    """Return who decides number formats, which not every version leaves open."""
    has_flags = api.has("BuilderFlag.INT8")
    has_strong = api.has("NetworkDefinitionCreationFlag.STRONGLY_TYPED")
    typing = settings.typing or (Typing.FLAGS if has_flags else Typing.STRONG)
    if typing is Typing.FLAGS and not has_flags:
        raise CxredgeError(
            f"{api.title} takes number formats from the ONNX file alone.", "Use Typing.STRONG."
        )
    if typing is Typing.STRONG and not has_strong:
        raise CxredgeError(
            f"{api.title} takes number formats from builder flags; strong typing came with 10.",
            "Use Typing.FLAGS.",
        )
    if settings.calibration and typing is Typing.STRONG:
        raise CxredgeError(
            f"{api.title} cannot calibrate a strongly typed network.",
            "Leave the legacy calibration out; INT8 comes with Q/DQ in the ONNX file.",
        )
    return typing


def _gpu(api: Api, settings: EngineConfig) -> Gpu | None:
    """Return the GPU to build for; None where the build is for one that is not here."""
    if settings.compute_capability is None:
        return read_gpu()
    if api.flavour is not Flavour.RTX:
        raise CxredgeError(
            f"{api.title} builds only for the GPU that it runs on.",
            "Build on the device: cxredge build BUNDLE",
        )
    return None


def _typed_bytes(path: Path, settings: EngineConfig, typing: Typing) -> bytes:
    """Return the model, in FP16 where that can be said in no other way."""
    model = onnx.load(path)
    quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    expected = settings.precision is Precision.INT8 and settings.calibration is None
    if quantized != expected:
        wants = "the ONNX file with Q/DQ" if expected else "the FP32 ONNX file"
        raise ArtifactError(
            f"{path} is {'' if quantized else 'not '}quantized, and "
            f"{settings.precision.value} takes {wants}.",
            "Give the other of the bundle's ONNX files.",
        )
    if settings.precision is Precision.FP16 and typing is Typing.STRONG:
        model = to_half(model)
    return bytes(model.SerializeToString())


def _check_hardware(job: _Job, builder: Any) -> None:
    """Refuse INT8 where the GPU has no instructions for it: it would be slower than FP16."""
    asked = job.settings.precision is Precision.INT8
    if not job.api.has("Builder.platform_has_fast_int8") or not asked:
        return
    if not builder.platform_has_fast_int8:
        raise CxredgeError(
            f"{job.doing}: {job.gpu.name if job.gpu else 'this GPU'} has no INT8 hardware.",
            "Use --precision fp16.",
        )


def _network_flags(api: Api, typing: Typing) -> int:
    trt: Any = api.trt
    flags = 0
    if api.has("NetworkDefinitionCreationFlag.EXPLICIT_BATCH"):
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    if api.has("NetworkDefinitionCreationFlag.STRONGLY_TYPED") and typing is Typing.STRONG:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return flags


def _parse(job: _Job, parser: Any, log: Log) -> None:
    parsed = parser.parse(job.onnx)
    if parser.num_errors:
        parser_error = parser.get_error(0)
        node, operator = "", ""
        if job.api.has("ParserError.node_name"):
            node, operator = parser_error.node_name(), parser_error.node_operator()
        node = node or _node_at(job.onnx, parser_error.node())
        raise explain_node(job.doing, node, operator, parser_error.desc())
    if not parsed:
        raise explain(job.doing, log)
    if any(MISREAD_ZERO_POINT in text for _, text in log.lines):
        raise explain(job.doing, log)


def _node_at(onnx_bytes: bytes, index: int) -> str:
    """Return the name of a node by its place in the graph; older parsers tell no more."""
    nodes = onnx.load_from_string(onnx_bytes).graph.node
    return str(nodes[index].name) if 0 <= index < len(nodes) else ""


def _check_network(job: _Job, network: Any) -> int:
    """Return the size of the input in pixels; the network must be one of cxredge's."""
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    names = [tensor.name for tensor in (*inputs, *outputs)]
    if (len(inputs), names) != (1, [INPUT_NAME, OUTPUT_NAME]):
        raise ArtifactError(
            f"{job.doing}: the model does not take '{INPUT_NAME}' and give '{OUTPUT_NAME}'.",
            "Export it with: cxredge export RUN --out DIR",
        )
    tensor = inputs[0]
    return int(tensor.shape[2])


def _formats(network: Any) -> dict[str, int]:
    """Return the number of layers by the number format of their first output."""
    formats: Counter[str] = Counter()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.num_outputs:
            tensor = layer.get_output(0)
            formats[tensor.dtype.name.lower()] += 1
    return dict(formats.most_common())


def _inspect(job: _Job, logger: Any, log: Log, plan: bytes) -> list[dict[str, str]]:
    """Return the engine's layers where its GPU is here to load it."""
    if job.gpu is None:
        return []
    trt: Any = job.api.trt
    runtime = trt.Runtime(logger)
    if job.settings.version_compatible and job.api.has("Runtime.engine_host_code_allowed"):
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise explain(f"{job.api.title} cannot load what it has just built", log)
    return read_layers(job.api, engine)


def _last_build_seconds(plan_path: Path) -> float | None:
    try:
        facts = read_facts(plan_path) if plan_path.exists() else None
    except CxredgeError:
        return None
    return facts.build_seconds if facts else None
