"""Python and its packages."""

from __future__ import annotations

from collections.abc import Sequence

from cxredge.backends.openvino import reduced_precisions
from cxredge.diagnosis.finding import Finding, fail, ok, skip, warn
from cxredge.diagnosis.surroundings import Surroundings
from cxredge.errors import DependencyError
from cxredge.targets.record import version_of
from cxredge.vocabulary import Precision

_PYTHON_FLOOR = (3, 10)
_CORE = ("numpy", "pillow", "onnxruntime", "typer", "rich", "jinja2")
_EXTRAS = {
    "train": ("torch", "torchvision", "timm", "lightning-fabric", "safetensors"),
    "parquet": ("pyarrow",),
    "keras": ("h5py",),
    "openvino": ("openvino",),
    "dicom": ("pydicom",),
    "rtx": ("tensorrt-rtx",),
    "signing": ("cryptography",),
    "mlperf": ("mlcommons-loadgen",),
}
_REINSTALL = "pip install --force-reinstall onnxruntime"
_ONNX_RUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-training",
    "onnxruntime-qnn",
)


def python(here: Surroundings) -> Finding:
    """Python is new enough."""
    found = ".".join(map(str, here.python))
    if here.python >= _PYTHON_FLOOR:
        return ok("Python", found)
    return fail("Python", found, "Install Python 3.10 or newer.")


def packages(here: Surroundings) -> Finding:
    """What every command needs is installed."""
    missing = [name for name in _CORE if not _is_there(here, name)]
    if missing:
        return fail(
            "packages", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}"
        )
    return ok("packages", ", ".join(f"{n} {here.packages.get(n, '')}".strip() for n in _CORE))


def onnx(here: Surroundings) -> Finding:
    """The package that bundles are made with; finishing and serving them needs none."""
    if _is_there(here, "onnx"):
        return ok("onnx", here.packages.get("onnx", "there"))
    return skip("onnx", "not installed: bundles are finished and served here, not made")


def onnxruntime_loads(here: Surroundings) -> Finding:
    """ONNX Runtime can be imported and has the provider that cxredge uses."""
    name = "ONNX Runtime"
    cause = here.why_import_fails("onnxruntime")
    if cause:
        return fail(name, f"cannot be imported: {cause}", _REINSTALL)
    import onnxruntime

    return judge_providers(onnxruntime.__version__, onnxruntime.get_available_providers())


def judge_providers(version: str, providers: Sequence[str]) -> Finding:
    """Judge the providers of an ONNX Runtime that can be imported."""
    short = ", ".join(name.removesuffix("ExecutionProvider") for name in providers)
    if "CPUExecutionProvider" in providers:
        return ok("ONNX Runtime", f"{version}: {short}")
    return fail(
        "ONNX Runtime",
        f"{version} has no provider for the CPU: {short or 'none'}",
        _REINSTALL,
    )


def openvino_loads(here: Surroundings) -> Finding:
    """OpenVINO, where it is installed, can be imported; in what it computes on this processor."""
    name = "OpenVINO"
    if not _is_there(here, "openvino"):
        return skip(name, "not installed; on x86-64 it is often the faster runtime")
    try:
        computes = [Precision.FP32, *reduced_precisions()]
    except DependencyError as error:
        return warn(name, error.message, error.hint)
    version = here.packages.get("openvino", "")
    return ok(name, f"{version}: computes in {', '.join(p.name for p in computes)} and INT8")


def one_onnxruntime(here: Surroundings) -> Finding:
    """No two packages write into the same ``onnxruntime`` folder."""
    found = [name for name in _ONNX_RUNTIMES if name in here.packages]
    if len(found) < 2:
        return ok("one ONNX Runtime", ", ".join(found) or "none by package metadata")
    kept = "onnxruntime"
    return warn(
        "one ONNX Runtime",
        f"{' and '.join(found)} overwrite each other's files",
        f"pip uninstall -y {' '.join(found)} && pip install {kept}",
    )


def numpy_of_tensorrt(here: Surroundings) -> Finding:
    """TensorRT's bindings find the ``np.bool`` that those before 8.6 ask NumPy for.

    NumPy 1.24 took it away and 2.0 brought it back (NVIDIA/TensorRT#2557).
    """
    name, found = "NumPy for TensorRT", here.packages.get("tensorrt")
    if found is None:
        return skip(name, "no TensorRT by package metadata")
    numpy = here.packages.get("numpy", "")
    both = f"TensorRT {found} with NumPy {numpy}"
    if version_of(found) >= (8, 6) or not (1, 24) <= version_of(numpy) < (2,):
        return ok(name, both)
    return warn(
        name,
        f"{both}: tensorrt.nptype fails for want of np.bool; cxredge does not call it, others do",
        "pip install 'numpy>=2'",
    )


def extras(here: Surroundings) -> list[Finding]:
    """Optional parts: all of each, or none."""
    return [_extra(here, name, members) for name, members in _EXTRAS.items()]


def _extra(here: Surroundings, extra: str, members: tuple[str, ...]) -> Finding:
    name = f"extra {extra}"
    there = [member for member in members if _is_there(here, member)]
    missing = [member for member in members if member not in there]
    versions = ", ".join(f"{member} {here.packages.get(member, '')}".strip() for member in there)
    if not there:
        return skip(name, "not installed")
    if not missing:
        return ok(name, versions)
    return warn(
        name, f"{versions}; missing: {', '.join(missing)}", f"pip install 'cxredge[{extra}]'"
    )


_MODULES = {"pillow": "PIL"}


def _is_there(here: Surroundings, package: str) -> bool:
    module = _MODULES.get(package, package.replace("-", "_"))
    return package in here.packages or here.importable(module)
