"""The bare network of a bundle, as a backend of NVIDIA Triton runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from cxredge.backends.tensorrt.facts import EngineFacts, read_facts
from cxredge.bundle.bundle import Bundle
from cxredge.errors import CxredgeError, GateRefused, quoted
from cxredge.graph.model_file import read_model
from cxredge.graph.portable_int8 import holds_int8, portable_int8
from cxredge.triton.options import TritonOptions
from cxredge.vocabulary import Precision, TritonBackend, TritonDevice

_ONNX_NAME = "model.onnx"


@dataclass(frozen=True)
class Network:
    """What Triton loads, and how.

    Attributes:
        backend: Triton's backend.
        precision: Its precision.
        device: Device of its instances.
        file: File in the bundle.
        file_name: Name in a version's folder.
        outputs: Shape of each output without the batch, by name.
        max_batch: Maximum number of images per execution.
        instances: Number of instances.
        threads: Number of threads per inference; 0 for all cores.
        engine: Facts of the TensorRT engine; None for ONNX files.
        near_ties: Share of the held-out images that FP32 decides in the bundle, but not in the bare
            network; None without a cascade.
    """

    backend: TritonBackend
    precision: Precision
    device: TritonDevice
    file: Path
    file_name: str
    outputs: Mapping[str, tuple[int, ...]]
    max_batch: int
    instances: int
    threads: int
    engine: EngineFacts | None = None
    near_ties: float | None = None

    def write(self, folder: Path) -> None:
        """Write the file that Triton loads into the folder of a version.

        Triton's ONNX Runtime backend passes on no option against saturation or the quantization of
        float layers, so that the INT8 graph is changed instead.
        """
        target = folder / self.file_name
        if self.backend is TritonBackend.ONNXRUNTIME:
            model = read_model(self.file)
            if holds_int8(model):
                onnx.save(portable_int8(model), target)
                return
        target.write_bytes(self.file.read_bytes())


def network_of(bundle: Bundle, options: TritonOptions) -> Network:
    """Choose the network and its settings.

    Args:
        bundle: The bundle, its files checked.
        options: Settings of the export.

    Raises:
        CxredgeError: The bundle does not hold what was requested, or Triton cannot run it.
        GateRefused: The requested precision did not pass the gate.
    """
    backend = options.backend or _backend_of(bundle)
    precision = options.precision or bundle.precision
    device = options.device or _DEVICES[backend]
    _check_device(backend, precision, device, options)
    if precision not in bundle.precisions:
        raise CxredgeError(
            f"{bundle.path} has no {precision.value}; it has "
            f"{', '.join(p.value for p in bundle.precisions)}.",
            f"Choose one of these: --precision {bundle.precisions[0].value}",
        )
    gate = bundle.card.facts.gate_of(precision, backend.value)
    if not gate.passed:
        raise GateRefused(
            f"{precision.value} did not pass the gate of the build: {gate.refusal}.",
            "Choose --precision fp32",
            {"precision": precision.value},
        )
    suggested = bundle.passport.throughput if bundle.passport else None
    engine = _engine(bundle, precision) if backend is TritonBackend.TENSORRT else None
    on_cpu = device is TritonDevice.CPU
    return Network(
        backend=backend,
        precision=precision,
        device=device,
        file=bundle.engine_of(precision) if engine else _onnx_file(bundle, backend, precision),
        file_name=f"model-sm{engine.compute_capability.replace('.', '')}.plan"
        if engine
        else _ONNX_NAME,
        outputs=_outputs(bundle.model_of(precision)),
        max_batch=min(options.max_batch, _largest_batch(engine, options.max_batch)),
        instances=options.instances or (suggested.lanes if suggested and on_cpu else 1),
        threads=options.threads or (suggested.threads if suggested and on_cpu else 0),
        engine=engine,
        near_ties=_near_ties(bundle, precision, backend),
    )


_DEVICES = {
    TritonBackend.ONNXRUNTIME: TritonDevice.CPU,
    TritonBackend.OPENVINO: TritonDevice.CPU,
    TritonBackend.TENSORRT: TritonDevice.GPU,
}


def _backend_of(bundle: Bundle) -> TritonBackend:
    """Return the backend that stands for the bundle's runtime."""
    if bundle.backend in {one.value for one in TritonBackend}:
        return TritonBackend(bundle.backend)
    raise CxredgeError(
        f"{bundle.path} is served by {bundle.backend}, whose engines no backend of Triton loads.",
        "Export its ONNX file: --backend onnxruntime --precision fp32",
    )


def _check_device(
    backend: TritonBackend, precision: Precision, device: TritonDevice, options: TritonOptions
) -> None:
    """Refuse combinations that Triton does not load or that compute something else."""
    if backend is not TritonBackend.ONNXRUNTIME and device is not _DEVICES[backend]:
        raise CxredgeError(
            f"Triton's backend {backend.value} does not run on a {device.value}.",
            f"Leave --device out, or use --device {_DEVICES[backend].value}",
        )
    if device is TritonDevice.GPU and options.threads:
        raise CxredgeError("--threads is for a processor.", "Leave --threads or --device gpu out.")
    on_gpu = backend is TritonBackend.ONNXRUNTIME and device is TritonDevice.GPU
    if on_gpu and precision is Precision.INT8:
        raise CxredgeError(
            "ONNX Runtime has no INT8 kernels for a GPU: it would compute in FP32 with rounding "
            "in between.",
            "Choose --precision fp32; or finish the bundle with TensorRT on the GPU's machine, and "
            "export it there.",
        )


def _engine(bundle: Bundle, precision: Precision) -> EngineFacts:
    """Return the facts of a TensorRT engine of a bundle."""
    plan = bundle.engine_of(precision)
    facts = None
    if bundle.backend == TritonBackend.TENSORRT.value and plan.is_file():
        facts = read_facts(plan)
    if facts is None:
        raise CxredgeError(
            f"{bundle.path} has no TensorRT engine of {precision.value}.",
            f"Finish it on the GPU's machine, and export it there: cxredge deploy "
            f"{quoted(bundle.path)}",
        )
    return facts


def _largest_batch(engine: EngineFacts | None, otherwise: int) -> int:
    return max(most for _, _, most in engine.profiles) if engine else otherwise


def _onnx_file(bundle: Bundle, backend: TritonBackend, precision: Precision) -> Path:
    """Return the ONNX file of a precision.

    OpenVINO computes an FP32 model in BF16; FP16 has a file in bundles for boards only.
    """
    file = bundle.model_of(precision)
    by_hint = precision is Precision.BF16 and backend is TritonBackend.OPENVINO
    if file != bundle.model_of(Precision.FP32) or precision is Precision.FP32 or by_hint:
        return file
    raise CxredgeError(
        f"{bundle.path} has no ONNX file in {precision.value}, which Triton's backend "
        f"{backend.value} requires.",
        "Choose --precision fp32",
    )


def _outputs(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each output of an ONNX file without the batch."""
    return {
        value.name: tuple(side.dim_value for side in value.type.tensor_type.shape.dim[1:])
        for value in read_model(path).graph.output
    }


def _near_ties(bundle: Bundle, precision: Precision, backend: TritonBackend) -> float | None:
    if not bundle.card.config.cascade or precision is Precision.FP32:
        return None
    found = bundle.card.facts.gate_of(precision, backend.value).near_ties
    return found.share if found else None
