"""The result of ``cxredge quantize`` as text and as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxredge.artifacts.records import to_json
from cxredge.cli.gate import gate_text, with_paths
from cxredge.cli.output import Outcome
from cxredge.cli.text import share, table
from cxredge.errors import quoted
from cxredge.vocabulary import Dialect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxredge.artifacts.model_card import QuantizedCard
    from cxredge.data.manifest import Entry
    from cxredge.gate.gate import GateResult

_FLOAT_WEIGHTS = " (weights are float32 in the file, INT8 in an engine)"


def data_of(card: QuantizedCard, out: Path) -> dict[str, Any]:
    """Return the JSON value of ``--json``."""
    return {"model": str(out), "dialect": card.config.dialect.value, **to_json(card.facts)}


def outcome_of(card: QuantizedCard, entries: Sequence[Entry], out: Path) -> Outcome:
    """Return the result with the next step.

    Args:
        card: The INT8 model's card.
        entries: The images that were compared.
        out: The INT8 model's folder.
    """
    gate = card.facts.comparison
    data = {**data_of(card, out), "comparison": with_paths(to_json(gate), entries)}
    return Outcome(data, _text(data, gate, out), f"cxredge inspect {quoted(out)}")


def _text(data: Mapping[str, Any], gate: GateResult, out: Path) -> str:
    steps = [
        [
            s["step"],
            share(s["agreement"]),
            share(s["accuracy"]),
            f"{s['logit_error']:.4f}",
            f"{s['size_bytes'] / 1e6:.1f}",
            f"{s['latency_ms_here']:.1f}",
            f"{s['seconds']:.1f}",
        ]
        for s in data["steps"]
    ]
    header = [
        f"step, on {data['judged_on']} images", "agreement", "accuracy", "logit error", "MB",
        "ms here", "s",
    ]  # fmt: skip
    worst = min(
        (one for one in data["layers"] if one["snr_db"] is not None),
        key=lambda one: one["snr_db"],
        default=None,
    )
    mb, mb_fp32 = data["size_bytes"] / 1e6, data["size_bytes_fp32"] / 1e6
    verdict = "INT8 passes the gate."
    if not gate.passed:
        verdict = (
            f"INT8 does not pass the gate: {gate.refusal}. Use {data['recommended'].upper()} "
            "instead."
        )
    return "\n".join(
        [
            table(header, steps),
            _chosen_step(data),
            *(
                [
                    f"Noisiest layer: {worst['name']}, {worst['snr_db']:.1f} dB; all layers "
                    f"are in {out / 'quantization.json'}."
                ]
                if worst
                else []
            ),
            "",
            gate_text(data["comparison"], "INT8"),
            "",
            verdict,
            f"Accuracy FP32 {share(data['accuracy_fp32'])}, INT8 {share(data['accuracy_int8'])} "
            f"on {data['comparison']['images']} images; {mb_fp32:.1f} MB, {mb:.1f} MB"
            f"{_FLOAT_WEIGHTS if mb > mb_fp32 / 2 else ''}; {data['seconds']:.0f} s.",
            f"Wrote {out}",
        ]
    )


def _chosen_step(data: Mapping[str, Any]) -> str:
    fp32 = data["latency_ms_here_fp32"]
    text = (
        f"Chosen step: {data['chosen']}. FP32 takes {fp32:.1f} ms per image in ONNX Runtime on "
        "this machine; measure the latency of a device on the device."
    )
    step = next(one for one in data["steps"] if one["step"] == data["chosen"])
    if data["dialect"] == Dialect.CPU.value and step["latency_ms_here"] >= fp32:
        text += "\nINT8 is not faster than FP32 on this machine."
        if len(step["in_float"]) > len(data["steps"][0]["in_float"]):
            text += (
                " If slightly larger changes are acceptable, fewer layers stay in float: "
                "--aim-logit-error 0.05"
            )
    return text
