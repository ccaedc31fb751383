"""Diagnosis of this machine: what is missing and how to fix it, and inspection of files."""

from __future__ import annotations

from dataclasses import dataclass

from cxredge.diagnosis import capacity, clocks, cuda, jetpack, processor, software
from cxredge.diagnosis.finding import Finding, Status
from cxredge.diagnosis.surroundings import Surroundings
from cxredge.errors import CxredgeError
from cxredge.targets.registry import target_of_this_machine
from cxredge.telemetry.jetson import JetsonState, read_jetson
from cxredge.telemetry.linux import Machine, MachineState

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


@dataclass(frozen=True)
class Diagnosis:
    """Diagnosis of a machine.

    Attributes:
        ok: Whether building and predicting can work.
        target: Name of the machine's target, or None if none fits.
        machine: Facts about the machine.
        state: Its current state.
        jetson: State of the board, or None off a Jetson.
        findings: Findings of all checks.
    """

    ok: bool
    target: str | None
    machine: Machine
    state: MachineState
    jetson: JetsonState | None
    findings: tuple[Finding, ...]


def examine(here: Surroundings) -> tuple[Finding, ...]:
    """Run every check."""
    return (*(check(here) for check in _CHECKS), *software.extras(here))


def diagnose(here: Surroundings | None = None) -> Diagnosis:
    """Examine a machine.

    Args:
        here: The machine; None for this process on this machine.
    """
    here = here or Surroundings()
    findings = examine(here)
    try:
        target = target_of_this_machine(here.root).name
    except CxredgeError:
        # The check of the board reports why.
        target = None
    return Diagnosis(
        ok=all(finding.status is not Status.FAIL for finding in findings),
        target=target,
        machine=here.machine,
        state=here.state,
        jetson=read_jetson(here.root) if here.board.is_jetson else None,
        findings=findings,
    )
