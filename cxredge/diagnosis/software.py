"""Python and its packages."""

from __future__ import annotations

from collections.abc import Sequence

from cxredge.diagnosis.finding import Finding, fail, ok, skip, warn
from cxredge.diagnosis.surroundings import Surroundings

_PYTHON_FLOOR = (3, 10)
_CORE = ("numpy", "pillow", "onnx", "onnxruntime", "typer", "rich", "jinja2")
_EXTRAS = {
    "train": ("torch", "torchvision", "timm", "lightning-fabric", "safetensors"),
    "parquet": ("pyarrow",),
    "keras": ("h5py",),
    "openvino": ("openvino",),
    "dicom": ("pydicom",),
    "rtx": ("tensorrt-rtx",),
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


def onnxruntime_loads(here: Surroundings) -> Finding:
    """ONNX Runtime can be imported and has the provider that cxredge uses."""
    name = "ONNX Runtime"
    try:
        import onnxruntime
    except Exception as error:
        # A broken shared library raises ImportError, a wrong NumPy AttributeError, and others.
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        return fail(name, f"cannot be imported: {cause}", _REINSTALL)
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
