"""Names in NVIDIA's real TensorRT bindings, which are imported without TensorRT.

    python -m tests.backends.real_bindings FOLDER

downloads the bindings of every version in ``VERSIONS`` into FOLDER (a few MB each, from PyPI) and
writes ``tests/data/tensorrt-names.json``. The bindings want three shared libraries of TensorRT,
which are gigabytes; empty libraries of the same names, compiled here, are enough to import them.
Needs gcc, and ``tensorrt_rtx`` installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

NAMES = Path(__file__).parents[1] / "data" / "tensorrt-names.json"
VERSIONS = (
    "8.6.1", "10.0.1", "10.3.0", "10.7.0", "10.13.3.9", "10.16.1.11", "11.0.0.114", "11.4.0.106",
)  # fmt: skip
CLASSES = (
    "Builder", "BuilderFlag", "ComputeCapability", "DataType", "EngineInspector", "IBuilderConfig",
    "ICudaEngine", "IExecutionContext", "IHostMemory", "IInt8EntropyCalibrator2", "ILayer",
    "ILogger", "INetworkDefinition", "IOptimizationProfile", "IProfiler", "IProgressMonitor",
    "ITensor", "ITimingCache", "LayerInformationFormat", "MemoryPoolType",
    "NetworkDefinitionCreationFlag", "OnnxParser", "ParserError", "ProfilingVerbosity", "Runtime",
)  # fmt: skip
# 8.5 has no wheel. Its sources (NVIDIA/TensorRT, branch release/8.5) lack these of 8.6's names.
NOT_IN_85 = (
    "IBuilderConfig.builder_optimization_level", "IBuilderConfig.hardware_compatibility_level",
    "IBuilderConfig.max_aux_streams", "BuilderFlag.VERSION_COMPATIBLE",
    "BuilderFlag.EXCLUDE_LEAN_RUNTIME", "Runtime.engine_host_code_allowed",
    "MemoryPoolType.TACTIC_DRAM", "ICudaEngine.hardware_compatibility_level",
    "ICudaEngine.num_aux_streams", "IExecutionContext.set_aux_streams",
)  # fmt: skip
_LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser", "libnvparsers")
# Symbols that the bindings look up in those libraries; none is called before an object exists.
_SYMBOLS = (
    "createInferBuilder_INTERNAL", "createInferRuntime_INTERNAL", "createInferRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getNvOnnxParserVersion",
    "getBuilderPluginRegistry", "getPluginRegistry", "initLibNvInferPlugins",
    "_ZN11nvuffparser15createUffParserEv", "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi",
    "_ZN14nvcaffeparser117createCaffeParserEv",
    "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
)  # fmt: skip

# Runs in a separate process, because only one version can be imported per process.
_IMPORT = """
import ctypes, json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
for library in sorted(folder.glob("*.so.*")):
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
sys.path.insert(0, str(folder))
import tensorrt_bindings as trt
"""


def fetch(version: str, folder: Path) -> Path:
    """Download and unpack the bindings of a version if they are missing; return their folder."""
    out = folder / version
    if (out / "tensorrt_bindings").is_dir():
        return out
    out.mkdir(parents=True, exist_ok=True)
    numbers = tuple(map(int, version.split(".")[:2]))
    cuda = "" if numbers < (10,) else "-cu12" if numbers < (10, 13) else "-cu13"
    wanted = f"tensorrt{cuda}-bindings=={version}"
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
    subprocess.run([*pip, "--only-binary", ":all:", "--dest", str(out), wanted], check=True)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out)
    source = out / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _SYMBOLS))
    for library in _LIBRARIES:
        name = f"{library}.so.{numbers[0]}"
        flags = ("-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(out / name))
        subprocess.run(["gcc", *flags, str(source)], check=True)
    return out


def run(folder: Path, code: str, *arguments: str) -> str:
    """Run code after ``trt`` was imported from a folder that :func:`fetch` made."""
    return _python(_IMPORT + code, str(folder), *arguments)


def read_names(start: str, *arguments: str) -> dict[str, list[str]]:
    """Return the public names of each of ``CLASSES``.

    Args:
        start: Code that imports ``json``, and a module as ``trt``.
        arguments: Of the process that runs it.
    """
    code = (
        f"found = {{c: dir(getattr(trt, c)) for c in {CLASSES!r} if hasattr(trt, c)}}\n"
        "print(json.dumps(found))"
    )
    found = json.loads(_python(start + code, *arguments))
    return {one: [name for name in names if _matters(one, name)] for one, names in found.items()}


def main() -> None:
    """Write the names file."""
    folder = Path(sys.argv[1])
    found = {version: read_names(_IMPORT, str(fetch(version, folder))) for version in VERSIONS}
    found = {
        "8.5.2": _without(found["8.6.1"], NOT_IN_85),
        **found,
        "rtx": read_names("import json, tensorrt_rtx as trt\n"),
    }
    has: dict[str, list[str]] = {}
    for version, classes in found.items():
        for one, names in classes.items():
            for name in (one, *(f"{one}.{name}" for name in names)):
                has.setdefault(name, []).append(version)
    everywhere = sorted(name for name, versions in has.items() if len(versions) == len(found))
    some = {name: " ".join(has[name]) for name in sorted(has) if name not in everywhere}
    body = {"versions": list(found), "everywhere": everywhere, "in some": some}
    NAMES.write_text(json.dumps(body, indent=0) + "\n")


def _without(classes: dict[str, list[str]], gone: tuple[str, ...]) -> dict[str, list[str]]:
    return {c: [n for n in names if f"{c}.{n}" not in gone] for c, names in classes.items()}


def _matters(one: str, name: str) -> bool:
    """Omit private names, and the functions that add layers, which only the parser calls."""
    return name[0] != "_" and not (one == "INetworkDefinition" and name.startswith("add_"))


def _python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
