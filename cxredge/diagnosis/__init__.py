"""This machine: what is here, what is missing, and how to get it. One module for each kind."""

from __future__ import annotations

from typing import Any

from cxredge.artifacts.records import to_json
from cxredge.diagnosis import capacity, clocks, cuda, jetpack, processor, software
from cxredge.diagnosis.finding import Finding, Status
from cxredge.diagnosis.surroundings import Surroundings
from cxredge.errors import CxredgeError
from cxredge.targets.registry import target_of_this_machine
from cxredge.telemetry.jetson import read_jetson

_CHECKS = (
    software.python,
    software.packages,
    software.onnx,
    software.onnxruntime_loads,
    software.one_onnxruntime,
    software.openvino_loads,
    software.numpy_of_tensorrt,
    capacity.memory,
    capacity.swap,
    capacity.shared_memory,
    capacity.disk,
    processor.int8,
    processor.bfloat16,
    processor.threads,
    clocks.governor,
    jetpack.board,
    jetpack.tensorrt,
    cuda.gpu,
    cuda.versions,
    cuda.memory_layer,
    clocks.gpu,
    clocks.mode,
    clocks.throttling,
)


def examine(here: Surroundings) -> list[Finding]:
    """Run every check."""
    return [*(check(here) for check in _CHECKS), *software.extras(here)]


def diagnose(here: Surroundings | None = None) -> dict[str, Any]:
    """Look at this machine.

    Args:
        here: What is looked at; this process on this machine where None.

    Returns:
        ``ok``, whether building and predicting can work here; ``target``, the one that fits, or
        None; ``machine``, ``state``, ``jetson`` (None elsewhere) and ``findings``.
    """
    here = here or Surroundings()
    findings = examine(here)
    try:
        target = target_of_this_machine(here.root).name
    except CxredgeError:
        # The check of the board says why.
        target = None
    return {
        "ok": all(finding.status is not Status.FAIL for finding in findings),
        "target": target,
        "machine": to_json(here.machine),
        "state": to_json(here.state),
        "jetson": to_json(read_jetson(here.root)) if here.board.is_jetson else None,
        "findings": [finding.to_json() for finding in findings],
    }
