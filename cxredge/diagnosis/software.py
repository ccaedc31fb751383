"""Checks of Python and its packages."""

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
    "remote": ("fsspec",),
    "s3": ("s3fs",),
    "ray": ("ray",),
    "triton": ("tritonclient", "grpcio"),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow-skinny", "sqlalchemy", "alembic"),
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
    """Check that Python is new enough."""
    found = ".".join(map(str, here.python))
    if here.python >= _PYTHON_FLOOR:
        return ok("Python", found)
    return fail("Python", found, "Install Python 3.10 or newer.")


def packages(here: Surroundings) -> Finding:
    """Check that the packages that every command needs are installed."""
    missing = [name for name in _CORE if not _is_installed(here, name)]
    if missing:
        return fail(
            "packages", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}"
        )
    return ok("packages", ", ".join(f"{n} {here.packages.get(n, '')}".strip() for n in _CORE))


def onnx(here: Surroundings) -> Finding:
    """Check for ``onnx``, which building bundles requires but deploying and serving does not."""
    if _is_installed(here, "onnx"):
        return ok("onnx", here.packages.get("onnx", "installed"))
    return skip("onnx", "not installed: bundles can be deployed and served here, but not built")


def onnxruntime_loads(here: Surroundings) -> Finding:
    """Check that ONNX Runtime can be imported and has the CPU provider."""
    name = "ONNX Runtime"
    cause = here.why_import_fails("onnxruntime")
    if cause:
        return fail(name, f"cannot be imported: {cause}", _REINSTALL)
    import onnxruntime

    return judge_providers(onnxruntime.__version__, onnxruntime.get_available_providers())


def judge_providers(version: str, providers: Sequence[str]) -> Finding:
    """Check the execution providers of ONNX Runtime."""
    short = ", ".join(name.removesuffix("ExecutionProvider") for name in providers)
    if "CPUExecutionProvider" in providers:
        return ok("ONNX Runtime", f"{version}: {short}")
    return fail(
        "ONNX Runtime",
        f"{version} has no provider for the CPU: {short or 'none'}",
        _REINSTALL,
    )


def openvino_loads(here: Surroundings) -> Finding:
    """Check that an installed OpenVINO can be imported, and list its precisions here."""
    name = "OpenVINO"
    if not _is_installed(here, "openvino"):
        return skip(name, "not installed; on x86-64 it is often faster")
    try:
        computes = [Precision.FP32, *reduced_precisions()]
    except DependencyError as error:
        return warn(name, error.message, error.hint)
    version = here.packages.get("openvino", "")
    return ok(name, f"{version}: computes in {', '.join(p.name for p in computes)} and INT8")


def one_onnxruntime(here: Surroundings) -> Finding:
    """Check that only one package provides ``onnxruntime``."""
    found = [name for name in _ONNX_RUNTIMES if name in here.packages]
    if len(found) < 2:
        return ok("one ONNX Runtime", ", ".join(found) or "no package metadata")
    kept = "onnxruntime"
    return warn(
        "one ONNX Runtime",
        f"{' and '.join(found)} overwrite each other's files",
        f"pip uninstall -y {' '.join(found)} && pip install {kept}",
    )


def numpy_of_tensorrt(here: Surroundings) -> Finding:
    """Check that NumPy has ``np.bool``, which bindings of TensorRT before 8.6 use.

    NumPy 1.24 removed it and 2.0 restored it (NVIDIA/TensorRT#2557).
    """
    name, found = "NumPy for TensorRT", here.packages.get("tensorrt")
    if found is None:
        return skip(name, "no package metadata of TensorRT")
    numpy = here.packages.get("numpy", "")
    both = f"TensorRT {found} with NumPy {numpy}"
    if version_of(found) >= (8, 6) or not (1, 24) <= version_of(numpy) < (2,):
        return ok(name, both)
    return warn(
        name,
        f"{both}: tensorrt.nptype fails without np.bool; cxredge does not call it, others do",
        "pip install 'numpy>=2'",
    )


def extras(here: Surroundings) -> list[Finding]:
    """Check the extras: each must be complete or absent."""
    return [_extra(here, name, members) for name, members in _EXTRAS.items()]


def _extra(here: Surroundings, extra: str, members: tuple[str, ...]) -> Finding:
    name = f"extra {extra}"
    present = [member for member in members if _is_installed(here, member)]
    missing = [member for member in members if member not in present]
    versions = ", ".join(f"{member} {here.packages.get(member, '')}".strip() for member in present)
    if not present:
        return skip(name, "not installed")
    if not missing:
        return ok(name, versions)
    return warn(
        name, f"{versions}; missing: {', '.join(missing)}", f"pip install 'cxredge[{extra}]'"
    )


_MODULES = {"pillow": "PIL"}


def _is_installed(here: Surroundings, package: str) -> bool:
    module = _MODULES.get(package, package.replace("-", "_"))
    return package in here.packages or here.importable(module)
