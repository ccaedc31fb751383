"""Agreement of INT8 with FP32, image by image: cxredge, ONNX Runtime's quantizer and NNCF.

    python benchmarks/int8_fidelity.py --case NAME=MODEL,CALIBRATION,MANIFEST ... \
        --nncf PYTHON --work WORK --out benchmarks/results/int8_fidelity

A case is an FP32 model folder, a calibration list, the manifest whose test split is compared, and
optionally the run from which weights may be fine-tuned. Every model is built in a separate process
(its time and peak memory are reported) from the same calibration images, and evaluated by ONNX
Runtime on the same test images; the models of cxredge also with near ties decided by FP32, as in a
bundle. PYTHON is an interpreter with nncf, which may be in another environment; without it, NNCF is
left out. Resumes an unfinished run: models in WORK are not built again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# Before the import: loading ONNX Runtime would start its telemetry.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime as ort

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import read_card, tool_versions
from cxredge.artifacts.model_card import ExportedCard
from cxredge.artifacts.records import to_json
from cxredge.backends.batched import infer_file
from cxredge.data.images import GreyImage
from cxredge.data.loading import LabelledImages, load_labelled
from cxredge.data.manifest import read_manifest
from cxredge.gate.gate import GateLimits, Validation, compare
from cxredge.metrics.near_ties import decided_again
from cxredge.progress import Silent
from cxredge.quantization.calibration_set import read_calibration
from cxredge.telemetry.linux import read_machine
from cxredge.vocabulary import Split

HERE = Path(__file__).parent
TRT, CPU = "tensorrt", "cpu"
METHODS = {
    "cxredge, TensorRT dialect": (TRT, "cxredge"),
    "cxredge, TensorRT dialect, effort extensive": (TRT, "cxredge:extensive"),
    "onnxruntime MinMax, symmetric": (TRT, "ort:minmax"),
    "onnxruntime Percentile, symmetric": (TRT, "ort:percentile"),
    "onnxruntime Entropy, symmetric": (TRT, "ort:entropy"),
    "cxredge, CPU dialect": (CPU, "cxredge"),
    "cxredge, CPU dialect, effort extensive": (CPU, "cxredge:extensive"),
    "onnxruntime MinMax": (CPU, "ort:minmax"),
    "NNCF, fast bias correction": (CPU, "nncf:fast"),
    "NNCF, full bias correction": (CPU, "nncf:full"),
}
"""Dialect and quantizer of each method. NNCF's activations are uint8, which TensorRT refuses."""
CASCADE = ", FP32 for near ties"


@dataclass(frozen=True)
class Case:
    """One network on one data set."""

    name: str
    model: Path
    calibration: Path
    manifest: Path
    run: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Case:
        """Read ``NAME=MODEL,CALIBRATION,MANIFEST[,RUN]``."""
        name, rest = text.split("=", 1)
        return cls(name, *map(Path, rest.split(",")))


@dataclass(frozen=True)
class Seen:
    """The images of a split and FP32's logits, float32 (N, classes)."""

    images: LabelledImages
    fp32: np.ndarray


def main() -> None:
    arguments = _arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "machine": to_json(read_machine()),
        "tools": tool_versions("onnx", "onnxruntime", "numpy"),
        "cases": {},
    }
    if arguments.nncf:
        found["tools"]["nncf"] = _nncf_version(arguments.nncf)
    for text in arguments.case:
        case = Case.parse(text)
        found["cases"][case.name] = _measure_case(case, arguments)
        write_json(arguments.out.with_suffix(".json"), found)
    write_text(arguments.out.with_suffix(".md"), _page(found))


def _measure_case(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    card = read_card(case.model, ExportedCard)
    manifest, size = read_manifest(case.manifest), card.classifier.input_size
    classes, fp32 = card.classifier.classes, case.model / "model.onnx"

    @cache
    def see(split: Split) -> Seen:
        images = load_labelled(manifest.of(split), classes, size, Silent())
        return Seen(images, infer_file(fp32, images.pixels))

    pixels = arguments.work / f"{case.name}-calibration.npy"
    listed = read_calibration(case.calibration)
    np.save(pixels, load_labelled(listed.of(Split.TRAIN), classes, size, Silent()).pixels)
    rows = {}
    for method in METHODS:
        made = _make(case, method, pixels, arguments)
        if made is None:
            continue
        if "gate" not in made:
            made |= _judge(Path(made["model"]), see(Split.TEST), see(Split.VAL), classes)
            write_json(_folder(case, method, arguments).with_suffix(".json"), made)
        row = {key: value for key, value in made.items() if key not in ("model", "with_fp32")}
        rows[method] = row
        if METHODS[method][1].startswith("cxredge"):
            rows[method + CASCADE] = {**row, "gate": made["with_fp32"]}
        print(case.name, method, _cells(row), flush=True)
    calibration_images = len(listed.entries)
    return {"network": card.classifier.network, "calibration": calibration_images, "rows": rows}


def _judge(model: Path, held_out: Seen, validation: Seen, classes: Sequence[str]) -> dict[str, Any]:
    """Compare a model in ONNX Runtime with FP32; without fusions if it fails with them."""
    infer, note = infer_file, ""
    try:
        infer(model, held_out.images.pixels[:1])
    except Exception as error:  # ONNX Runtime's own, which share no base
        infer, note = _infer_unfused, str(error).strip().splitlines()[0]
    logits = infer(model, held_out.images.pixels)
    seen = infer(model, validation.images.pixels)

    def compared(logits: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
        on_validation = Validation(validation.fp32, seen, validation.images.labels, 0.9)
        labels, patients = held_out.images.labels, held_out.images.patients
        found: dict[str, Any] = to_json(
            compare(held_out.fp32, logits, labels, patients, GateLimits(), classes, on_validation)
        )
        return found

    gate = compared(logits, seen)
    margin = gate["near_ties"]["margin"]
    again = compared(
        decided_again(held_out.fp32, logits, margin), decided_again(validation.fp32, seen, margin)
    )
    with_fp32 = {**again, "near_ties": gate["near_ties"], "cascade": True}
    return {"gate": gate, "with_fp32": with_fp32, "runs_unfused_only": note}


def _infer_unfused(model: Path, pixels: GreyImage) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": one[None, None]})[0] for one in pixels])


def _folder(case: Case, method: str, arguments: argparse.Namespace) -> Path:
    dialect, how = METHODS[method]
    return arguments.work / f"{case.name}-{dialect}-{how.replace(':', '-')}"


def _make(
    case: Case, method: str, pixels: Path, arguments: argparse.Namespace
) -> dict[str, Any] | None:
    """Build one INT8 model in a separate process; None if its quantizer is not available."""
    dialect, how = METHODS[method]
    folder = _folder(case, method, arguments)
    model, record = folder / "model.onnx", folder.with_suffix(".json")
    fp32 = case.model / "model.onnx"
    if record.is_file():
        made: dict[str, Any] = json.loads(record.read_text())
        return made
    if how in arguments.skip:
        return None
    if how.startswith("cxredge"):
        command = [
            sys.executable, "-m", "cxredge", "quantize", case.model, "--calibration",
            case.calibration, "--evaluate", case.manifest, "--dialect", dialect, "--out", folder,
            "-q", "--effort", how.partition(":")[2] or "default",
            *(["--fine-tune", case.run] if case.run else []),
        ]  # fmt: skip
    elif how.startswith("nncf:"):
        if not arguments.nncf:
            return None
        folder.mkdir(exist_ok=True)
        command = [arguments.nncf, HERE / "nncf_model.py", fp32, pixels, model, how[5:]]
    else:
        folder.mkdir(exist_ok=True)
        command = [sys.executable, HERE / "ort_model.py", fp32, pixels, model, dialect, how[4:]]
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{case.name}: {method} failed")
    made = {
        "model": str(model),
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_mb": round(usage.ru_maxrss / 1024),
        "size_bytes": model.stat().st_size,
    }
    write_json(record, made)
    return made


def _nncf_version(python: str) -> str:
    code = "from importlib.metadata import version; print(version('nncf'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _cells(row: dict[str, Any]) -> list[str]:
    gate = row["gate"]
    checks = {(c["measure"], c["class_name"]): c for c in gate["checks"]}
    auroc = [c["difference"] for c in gate["checks"] if c["measure"] == "auroc"]
    sensitivity = checks[("sensitivity", None)]["difference"]
    low, high = gate["accuracy_difference_ci95"]
    least, most = gate["agreement_ci95"]
    difference = gate["accuracy"] - gate["accuracy_fp32"]
    worst = max((value for value in auroc if value is not None), key=abs)
    return [
        f"{gate['agreement']:.3f} ({least:.3f}-{most:.3f})",
        f"{100 * gate['near_ties']['share']:.1f}" if gate["cascade"] else "0",
        str(len(gate["flipped"])),
        f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})",
        f"{worst:+.4f}",
        f"{100 * sensitivity:+.1f}",
        f"{checks[('calibration_error', None)]['difference']:+.3f}",
        f"{gate['logit_error']:.3f}",
        f"{row['size_bytes'] / 1e6:.1f}",
        f"{row['processor_seconds']:.0f}",
        f"{row['peak_rss_mb'] / 1000:.1f}",
    ]


def _page(found: dict[str, Any]) -> str:
    machine = found["machine"]
    header = [
        "method", "agreement with FP32 (95%)", "decided by FP32, %", "flipped",
        "accuracy, points (95%, paired)", "AUROC, largest change of a class",
        "sensitivity, points", "calibration error", "logit error", "MB", "processor s", "peak GB",
    ]  # fmt: skip
    lines = [
        "# INT8 against FP32, ours and others'",
        "",
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_flags'])}), "
        f"{machine['system']}. Versions: "
        f"{', '.join(f'{name} {version}' for name, version in found['tools'].items())}. Changes "
        "are INT8 minus FP32 on the same test images, all run by ONNX Runtime; the intervals "
        "resample patients. Processor seconds (of all cores) and memory are those of the whole "
        "process, which for cxredge also evaluates every step of its search. *FP32 for near ties*: "
        "FP32 decides the images whose first two logits lie no further apart than INT8 raised the "
        "first class in any validation image (as a bundle does); size, time and memory are of the "
        "INT8 model.",
    ]
    for name, case in found["cases"].items():
        for dialect, title in ((TRT, "TensorRT's dialect"), (CPU, "CPU")):
            rows = {
                m: r
                for m, r in case["rows"].items()
                if METHODS[m.removesuffix(CASCADE)][0] == dialect
            }
            gate = next(iter(rows.values()))["gate"]
            lines += [
                "",
                f"## {name}, {title}: {gate['images']} test images of {gate['patients']} patients, "
                f"FP32 accuracy {gate['accuracy_fp32']:.3f}, {case['calibration']} calibration "
                "images",
                "",
                f"| {' | '.join(header)} |",
                "|" + "---|" * len(header),
                *(f"| {' | '.join([method, *_cells(row)])} |" for method, row in rows.items()),
            ]
            notes = {m: row["runs_unfused_only"] for m, row in rows.items()}
            lines += [
                f"\nONNX Runtime runs the model of *{method}* without its fusions only, in float "
                f"arithmetic. With them: {note}"
                for method, note in notes.items()
                if note
            ]
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", required=True, help="NAME=MODEL,LIST,DATA[,RUN]")
    parser.add_argument("--nncf", help="Python interpreter with nncf")
    parser.add_argument(
        "--skip", nargs="*", default=[], help="methods to skip, such as ort:entropy, nncf:full"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the models")
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    return parser.parse_args()


if __name__ == "__main__":
    main()
