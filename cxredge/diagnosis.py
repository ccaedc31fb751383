"""This machine: what is here, what is missing, and how to get it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from cxredge.targets.registry import all_targets, this_machine
from cxredge.telemetry.linux import read_machine, read_state


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: The thing.
        ok: Whether it is as wanted.
        found: What was found.
        fix: What to do, when it is not as wanted.
    """

    what: str
    ok: bool
    found: str
    fix: str = ""


_CORE = ("numpy", "pillow", "onnx", "onnxruntime", "typer", "rich", "jinja2")
_EXTRAS = {
    "train": ("torch", "torchvision", "timm", "lightning-fabric", "safetensors"),
    "parquet": ("pyarrow",),
    "openvino": ("openvino",),
    "dicom": ("pydicom",),
    "tensorrt": ("tensorrt",),
    "rtx": ("tensorrt-rtx",),
    "mlperf": ("mlcommons-loadgen",),
}
_LEAST_MEMORY_MB = 1000


def diagnose() -> dict[str, Any]:
    """Look at this machine.

    Returns:
        ``machine``, ``state``, ``target`` (the one that fits, or None), ``findings``, and ``ok``:
        whether building and predicting can work here.
    """
    machine, state = read_machine(), read_state()
    required = [_python(), *(_package(name) for name in _CORE), _memory(state.memory_available_mb)]
    optional = [
        *(_extra(name, packages) for name, packages in _EXTRAS.items()),
        _int8(machine.cpu_flags),
        _governor(state.governor),
        _driver(),
    ]
    fitting = [t.name for t in all_targets().values() if t.machine == this_machine()]
    return {
        "ok": all(finding.ok for finding in required),
        "target": fitting[0] if fitting else None,
        "machine": machine.to_json(),
        "state": asdict(state),
        "required": [asdict(finding) for finding in required],
        "optional": [asdict(finding) for finding in optional],
    }


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", sys.version_info >= (3, 10), found, "Install Python 3.10 or newer.")


def _package(name: str) -> Finding:
    version = _version(name)
    return Finding(name, version is not None, version or "missing", f"pip install {name}")


def _extra(extra: str, packages: tuple[str, ...]) -> Finding:
    versions = {name: _version(name) for name in packages}
    missing = [name for name, version in versions.items() if version is None]
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    fix = f"pip install 'cxredge[{extra}]'"
    if extra == "tensorrt":
        fix = "TensorRT comes with JetPack; on other machines: pip install tensorrt"
    return Finding(f"extra {extra}", not missing, found or "not installed", fix if missing else "")


def _memory(available_mb: int | None) -> Finding:
    if available_mb is None:
        return Finding("memory", True, "not available")
    return Finding(
        "memory", available_mb >= _LEAST_MEMORY_MB, f"{available_mb} MB free", "Free some memory."
    )


def _int8(flags: tuple[str, ...]) -> Finding:
    fast = [f for f in flags if "vnni" in f or f in ("amx_int8", "asimddp", "i8mm")]
    return Finding(
        "INT8 instructions",
        bool(fast),
        ", ".join(fast) or "none",
        "" if fast else "INT8 may be slower than FP32 here; build measures both.",
    )


def _governor(governor: str | None) -> Finding:
    fix = "For stable latencies: sudo cpupower frequency-set -g performance"
    ok = governor == "performance"
    return Finding("clock governor", ok, governor or "not available", "" if ok else fix)


def _driver() -> Finding:
    found = shutil.which("nvidia-smi") or shutil.which("tegrastats")
    return Finding("NVIDIA driver", bool(found), found or "none", "" if found else "CPU only.")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        # JetPack installs tensorrt without package metadata in some versions.
        return "present" if importlib.util.find_spec(name.replace("-", "_")) else None
