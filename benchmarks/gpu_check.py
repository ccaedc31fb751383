"""All checks and measurements that require an NVIDIA GPU, in one run.

    python benchmarks/gpu_check.py BUNDLE --out benchmarks/results

BUNDLE has INT8 in TensorRT's dialect (``cxredge build ... --target rtx``). Checks the memory
libraries (installs PyCUDA if it is missing), builds and runs the engines of each installed
TensorRT, compares the golden images with those of the machine that built the bundle, times every
mode of execution, profiles the layers, and times all precisions alternately, together with ONNX
Runtime's CUDA provider if it is installed. Writes OUT/<gpu>.json. Without a GPU, reports what is
missing and exits with 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.backends.base import Logits
from cxredge.backends.cuda.driver import read_gpu
from cxredge.backends.tensorrt.api import Flavour, installed_versions, load_api
from cxredge.backends.tensorrt.builder import build_engine
from cxredge.backends.tensorrt.job import typing_of
from cxredge.backends.tensorrt.layers import profile_layers
from cxredge.backends.tensorrt.session import SessionOptions, TensorRTSession, Transfer
from cxredge.backends.tensorrt.settings import EngineConfig, Typing
from cxredge.bundle.bundle import Bundle, open_bundle, read_golden
from cxredge.bundle.layout import engine_source, model_name
from cxredge.bundle.replay import MAX_PROBABILITY_DIFFERENCE
from cxredge.data.images import GreyImage
from cxredge.errors import CxredgeError
from cxredge.metrics.classification import softmax
from cxredge.metrics.latency import interleave, summarise
from cxredge.telemetry.linux import read_machine
from cxredge.vocabulary import INPUT_NAME, OUTPUT_NAME, Precision

BATCHES = (1, 8)
PRECISIONS = (Precision.FP32, Precision.FP16, Precision.INT8)
WARM_UP, ROUNDS = 50, 500
_ROOT = Path(__file__).parents[1]
_CUDA_COMPILERS = ("/usr/local/cuda/bin", "/usr/local/cuda-13/bin", "/usr/local/cuda-12/bin")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, default=_ROOT / "benchmarks/results")
    arguments = parser.parse_args()
    try:
        gpu = read_gpu()
    except CxredgeError as error:
        print(f"gpu_check: no GPU. {error}", file=sys.stderr)
        return 1
    try:
        bundle = open_bundle(arguments.bundle)
    except CxredgeError as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return 1
    found: dict[str, Any] = {
        "schema": "cxredge.gpu-check/1",
        "gpu": to_json(gpu),
        "machine": to_json(read_machine()),
        "network": bundle.card.classifier.network,
        "pycuda": install_pycuda(),
        "tools": tool_versions("numpy", "onnxruntime-gpu", "pycuda", "cuda-bindings"),
        "memory_contract": memory_contract(),
        "engines": {},
        "in_turn": {},
    }
    name = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    for flavour, version in installed_versions().items():
        print(f"{flavour.product} {version}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            plans = {p: Path(folder) / f"{p.value}.plan" for p in buildable(bundle, flavour)}
            found["engines"][flavour.value] = check_engines(bundle, flavour, plans)
            found["in_turn"][flavour.value] = attempt(lambda p=plans: time_in_turn(bundle, p))
    found["onnxruntime_cuda"] = attempt(lambda: check_onnxruntime(bundle))
    write_json(arguments.out / f"{name}.json", found)
    print(arguments.out / f"{name}.json")
    return 0 if passed(found) else 1


def attempt(work: Callable[[], Any]) -> Any:
    """Return the result of a step, or its error: one failure must not hide the other results."""
    try:
        return work()
    except CxredgeError as error:
        return {"failed": str(error)}


def passed(found: dict[str, Any]) -> bool:
    """Return whether every check passed."""
    engines = [one for by_precision in found["engines"].values() for one in by_precision.values()]
    return found["memory_contract"]["passed"] and bool(engines) and all(
        one.get("golden", {}).get("passed") for one in engines
    )  # fmt: skip


def install_pycuda() -> dict[str, Any]:
    """Install PyCUDA if it is missing; it has no wheels and is compiled with CUDA's nvcc."""
    if importlib.util.find_spec("pycuda"):
        return {"installed": True, "built": False}
    paths = os.pathsep.join([os.environ.get("PATH", ""), *_CUDA_COMPILERS])
    if shutil.which("nvcc", path=paths) is None:
        return {"installed": False, "why": "nvcc was not found: install CUDA's compiler"}
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "pycuda")
    done = subprocess.run(
        pip, env={**os.environ, "PATH": paths}, capture_output=True, text=True, check=False
    )
    importlib.invalidate_caches()
    why = {} if done.returncode == 0 else {"why": done.stderr[-1000:]}
    return {"installed": done.returncode == 0, "built": True, **why}


def memory_contract() -> dict[str, Any]:
    """Run the tests of both memory libraries on the real GPU."""
    tests = (sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/backends/test_cuda.py")
    done = subprocess.run(tests, cwd=_ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    skipped = [line for line in lines if line.startswith("SKIPPED")]
    return {
        "passed": done.returncode == 0 and bool(lines) and " passed" in lines[-1],
        "summary": lines[-1] if lines else done.stderr[-500:],
        "skipped": skipped,
    }


def buildable(bundle: Bundle, flavour: Flavour) -> list[Precision]:
    """Return the precisions for which the bundle has a file; FP16 may be derived from FP32."""
    typed = typing_of(load_api(flavour)) is Typing.STRONG
    held = bundle.card.files
    return [p for p in PRECISIONS if engine_source(p, typed, held) in held]


def check_engines(
    bundle: Bundle, flavour: Flavour, plans: Mapping[Precision, Path]
) -> dict[str, Any]:
    """Build, compare and time the engine of each precision."""
    return {
        precision.value: attempt(partial(check_engine, bundle, flavour, precision, plan))
        for precision, plan in plans.items()
    }


def check_engine(
    bundle: Bundle, flavour: Flavour, precision: Precision, plan: Path
) -> dict[str, Any]:
    """Return an engine's properties, its results on the golden images, and its speed."""
    typing = typing_of(load_api(flavour))
    settings = EngineConfig(precision, typing=typing, batches=BATCHES, flavour=flavour)
    name = engine_source(precision, typing is Typing.STRONG, bundle.card.files)
    facts = build_engine(bundle.path / name, plan, settings)
    golden = read_golden(bundle)
    expected = golden.logits.get(precision, golden.logits[Precision.FP32])
    with TensorRTSession(plan) as session:
        one_by_one = np.concatenate([session.infer(image[None]) for image in golden.pixels])
        together = session.infer(golden.pixels)
    limit = MAX_PROBABILITY_DIFFERENCE[precision]
    profile = profile_layers(plan, golden.pixels[:1])
    return {
        "facts": to_json(facts),
        "golden": {
            "batch_1": compare(one_by_one, expected),
            f"batch_{BATCHES[-1]}": compare(together, expected),
            "against_fp32": compare(one_by_one, golden.logits[Precision.FP32]),
            "limit": limit,
            "passed": all(
                compare(logits, expected)["probability"] <= limit
                for logits in (one_by_one, together)
            ),
        },
        "ways": time_ways(plan, golden.pixels),
        "layers_ms": [asdict(layer) for layer in profile],
    }


def compare(logits: Logits, expected: Logits) -> dict[str, Any]:
    """Return the largest differences of logits and probabilities, and the changed decisions."""
    return {
        "logit": float(np.abs(logits - expected).max()),
        "probability": float(np.abs(softmax(logits) - softmax(expected)).max()),
        "classes_changed": int((logits.argmax(axis=1) != expected.argmax(axis=1)).sum()),
    }


def time_ways(plan: Path, pixels: GreyImage) -> list[dict[str, Any]]:
    """Time copies against mapped memory and graphs against plain calls, by batch size and library.

    Modes of one batch size are timed alternately, so that other load affects all of them equally.
    """
    results = []
    for batch in BATCHES:
        images = np.resize(pixels, (batch, *pixels.shape[1:]))
        sessions: dict[str, TensorRTSession] = {}
        for library, transfer, graphs in product(
            ("pycuda", "cuda-python"), Transfer, (True, False)
        ):
            options = SessionOptions(transfer, graphs, library)
            opened = attempt(lambda o=options: TensorRTSession(plan, o))
            name = f"{library}, {transfer.value}, {'graph' if graphs else 'calls'}"
            if isinstance(opened, TensorRTSession):
                sessions[name] = opened
            else:
                results.append({"batch": batch, "way": name, **opened})
        try:
            calls = {n: partial(session.infer, images) for n, session in sessions.items()}
            taken = interleave(calls, WARM_UP, ROUNDS) if calls else {}
            for name, session in sessions.items():
                results.append({
                    "batch": batch,
                    "way": name,
                    "latency_ms": summarise(taken[name]).to_json(),
                    **asdict(session.circumstances()),
                })  # fmt: skip
        finally:
            # The newest first: PyCUDA keeps its contexts on a stack.
            for session in reversed(list(sessions.values())):
                session.close()
    return results


def time_in_turn(bundle: Bundle, plans: Mapping[Precision, Path]) -> dict[str, Any]:
    """Time the engines of all precisions and ONNX Runtime's CUDA provider alternately."""
    pixels = read_golden(bundle).pixels
    found: dict[str, Any] = {}
    with ExitStack() as opened:
        infer: dict[str, Callable[[GreyImage], Logits]] = {
            precision.value: opened.enter_context(TensorRTSession(plan)).infer
            for precision, plan in plans.items()
            if plan.exists()
        }
        cuda = open_onnxruntime(bundle)
        if callable(cuda):
            infer["onnxruntime fp32"] = cuda
        for batch in BATCHES:
            images = np.resize(pixels, (batch, *pixels.shape[1:]))
            calls = {name: partial(run, images) for name, run in infer.items()}
            taken = interleave(calls, WARM_UP, ROUNDS) if calls else {}
            latencies = {name: summarise(ms) for name, ms in taken.items()}
            reference = latencies.get(Precision.FP32.value)
            found[f"batch_{batch}"] = {
                name: {
                    **latency.to_json(),
                    "times_as_fast_as_fp32": reference and round(reference.p50 / latency.p50, 3),
                }
                for name, latency in latencies.items()
            }
    return found


def check_onnxruntime(bundle: Bundle) -> dict[str, Any]:
    """Return the results of FP32 on the golden images with ONNX Runtime's CUDA provider."""
    infer = open_onnxruntime(bundle)
    if isinstance(infer, str):
        return {"skipped": infer}
    golden = read_golden(bundle)
    return {"golden": compare(infer(golden.pixels), golden.logits[Precision.FP32])}


def open_onnxruntime(bundle: Bundle) -> Callable[[GreyImage], Logits] | str:
    """Return a function that runs FP32 in ONNX Runtime's CUDA provider, or why there is none."""
    import onnxruntime

    provider = "CUDAExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        return "onnxruntime-gpu is not installed"
    path = str(bundle.path / model_name(Precision.FP32))
    session = onnxruntime.InferenceSession(path, providers=[provider])
    if session.get_providers()[0] != provider:
        return "ONNX Runtime fell back to the CPU: see its messages"

    def infer(images: GreyImage) -> Logits:
        logits: Logits = session.run([OUTPUT_NAME], {INPUT_NAME: images[:, None]})[0]
        return logits

    return infer


if __name__ == "__main__":
    sys.exit(main())
