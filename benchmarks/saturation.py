"""INT8 on an x86 processor without VNNI, where INT8 accumulation may saturate.

    python benchmarks/saturation.py --fp32 FP32 --int8 INT8 --manifest MANIFEST
        --out benchmarks/results/saturation

Compares INT8 in ONNX Runtime with its defaults, in cxredge's sessions, which request accumulation
without saturation, and in OpenVINO with FP32 on the test images, and times them for single images
alternately. On other processors the first two are the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import read_card, tool_versions
from cxredge.artifacts.model_card import ExportedCard
from cxredge.artifacts.records import to_json
from cxredge.backends import installed_on_cpu, onnxruntime, open_session
from cxredge.backends.base import Logits, Session
from cxredge.backends.batched import infer_all
from cxredge.data.loading import LabelledImages, load_labelled
from cxredge.data.manifest import read_manifest
from cxredge.metrics.classification import wilson
from cxredge.metrics.latency import summarise, take_turns
from cxredge.progress import Silent
from cxredge.quantization.fp32_comparison import logit_error
from cxredge.telemetry.linux import may_saturate_here, read_machine
from cxredge.vocabulary import Split

REFERENCE = "FP32 in ONNX Runtime"
SECONDS = 5.0


def main() -> None:
    arguments = _arguments()
    classifier = read_card(arguments.fp32, ExportedCard).classifier
    images = load_labelled(
        read_manifest(arguments.manifest).of(Split.TEST),
        classifier.classes,
        classifier.input_size,
        Silent(),
    )
    with ExitStack() as opened:
        sessions = {
            name: opened.enter_context(session)
            for name, session in _sessions(
                arguments.fp32 / "model.onnx", arguments.int8 / "model.onnx"
            ).items()
        }
        found = {
            "machine": to_json(read_machine()),
            "may_saturate": may_saturate_here(),
            "tools": tool_versions("onnxruntime", "openvino", "numpy"),
            "network": classifier.network,
            "images": len(images.labels),
            "rows": _rows(sessions, images),
        }
    write_json(arguments.out.with_suffix(".json"), found)
    write_text(arguments.out.with_suffix(".md"), _page(found))


def _sessions(fp32: Path, int8: Path) -> dict[str, Session]:
    with patch.object(onnxruntime, "may_saturate_here", lambda: False):
        plain = open_session(int8)
    sessions = {
        REFERENCE: open_session(fp32),
        "INT8 in ONNX Runtime, default": plain,
        "INT8 in ONNX Runtime, without saturation": open_session(int8),
    }
    if "openvino" in installed_on_cpu():
        sessions["FP32 in OpenVINO"] = open_session(fp32, "openvino")
        sessions["INT8 in OpenVINO"] = open_session(int8, "openvino")
    return sessions


def _rows(sessions: Mapping[str, Session], images: LabelledImages) -> dict[str, dict[str, Any]]:
    logits = {name: infer_all(session, images.pixels) for name, session in sessions.items()}
    one = images.pixels[:1]
    taken = take_turns({name: partial(s.infer, one) for name, s in sessions.items()}, SECONDS)
    return {
        name: _against(logits[REFERENCE], logits[name], images)
        | {"latency_ms": summarise(taken[name]).to_json()}
        for name in sessions
    }


def _against(reference: Logits, logits: Logits, images: LabelledImages) -> dict[str, Any]:
    """Return a summary of a session's decisions."""
    decided, count = logits.argmax(axis=1), len(images.labels)
    agreed = int((decided == reference.argmax(axis=1)).sum())
    return {
        "agreement": agreed / count,
        "agreement_95": wilson(agreed, count),
        "accuracy": float(np.mean(decided == images.labels)),
        "logit_error": logit_error(reference, logits),
    }


def _page(found: Mapping[str, Any]) -> str:
    machine, rows = found["machine"], found["rows"]
    tools = ", ".join(f"{name} {version}" for name, version in found["tools"].items())
    lines = [
        "# INT8 sums on a processor without VNNI",
        "",
        f"{found['network']}, {found['images']} test images of patients that training never saw. "
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_flags'])}), "
        f"{machine['system']}. Versions: {tools}. Latency of one image on all cores: median and "
        "its 95% interval, all in turn. Sums may be cut off here: "
        f"{'yes' if found['may_saturate'] else 'no'}.",
        "",
        "| | agrees with FP32 (95%) | accuracy | logit error | ms |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        low, high = row["agreement_95"]
        ms = row["latency_ms"]
        lines.append(
            f"| {name} | {row['agreement']:.3f} ({low:.3f}-{high:.3f}) | {row['accuracy']:.3f} "
            f"| {row['logit_error']:.4f} | {ms['p50']:.2f} ({ms['p50_ci95'][0]:.2f}-"
            f"{ms['p50_ci95'][1]:.2f}) |"
        )
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fp32", type=Path, required=True)
    parser.add_argument("--int8", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
