"""All checks together: readiness of a machine, and the next step."""

from __future__ import annotations

from dataclasses import replace

from cxredge.cli.doctor import _step, _text
from cxredge.diagnosis import diagnose, examine
from cxredge.diagnosis.finding import Status
from tests.diagnosis.machines import CORE, GOVERNOR, NANO, memory
from tests.targets.boards import ORIN_NANO_SUPER


def test_every_check_runs_on_a_bare_machine_and_a_board(machine) -> None:
    for files in ({}, ORIN_NANO_SUPER, NANO):
        findings = examine(machine(files))
        names = [finding.name for finding in findings]
        assert len(names) == len(set(names))
        for finding in findings:
            assert bool(finding.fix) == (finding.status in (Status.WARN, Status.FAIL)), finding


def test_a_failure_makes_the_machine_unready(machine) -> None:
    assert diagnose(machine(memory(4_000_000))).ok
    found = diagnose(machine({**NANO, **memory(4_000_000)}))
    assert not found.ok
    assert found.target is None
    assert found.jetson is not None


def test_warnings_are_counted_at_the_end(machine) -> None:
    fine = {**memory(4_000_000), "sys/fs/cgroup/cpu.max": "max 100000\n"}
    assert _text(diagnose(machine(fine))).endswith("Ready to build and predict.")
    slow = {**fine, GOVERNOR: "schedutil\n"}
    text = _text(diagnose(machine(slow)))
    assert text.endswith("Ready to build and predict. 1 warning.")
    text = _text(diagnose(machine(slow, python=(3, 8, 10))))
    assert text.endswith("Not ready: 1 failure.")


def test_the_next_step_is_possible_on_this_machine(machine) -> None:
    """Without onnx a bundle cannot be built, but it can be deployed."""
    found = diagnose(machine(packages={**CORE, "onnx": "1.23.2"}))
    if target := found.target:
        assert _step(found) == f"cxredge build RUN --target {target} --out BUNDLE"
    found = diagnose(machine(packages=CORE, importable=lambda _: False))
    assert _step(replace(found, target="jetson-orin-nano")) == "cxredge deploy BUNDLE"
    assert _step(replace(found, target=None)) == ""


def test_command(cxredge) -> None:
    ran = cxredge("doctor", "--json")
    assert ran.code == 0
    assert {"name", "status", "found", "fix"} == set(ran.json["findings"][0])
    text = cxredge("doctor").out
    assert "Ready to build and predict." in text
