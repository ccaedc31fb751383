"""How processes of a training are found and started."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: E402
from torch.distributed.elastic.multiprocessing.errors import (  # noqa: E402
    ChildFailedError,
    ProcessFailure,
)

from cxredge.errors import CxredgeError  # noqa: E402
from cxredge.training.config import TrainingHardware  # noqa: E402
from cxredge.training.devices import require_processes  # noqa: E402
from cxredge.training.launch import (  # noqa: E402
    Launched,
    ProcessFailed,
    find_launched,
    require_one_process,
    resolve_devices,
    start_processes,
)

pytestmark = pytest.mark.train

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


def test_processes_of_torchrun_are_found() -> None:
    launched = find_launched(TORCHRUN)
    assert launched == Launched(rank=3, size=4, per_node=2, local_rank=1)
    assert launched.nodes == 2
    assert find_launched({}) is None
    assert find_launched({"WORLD_SIZE": "1", "RANK": "0"}) == Launched(0, 1, 1)


@pytest.mark.parametrize(
    "changed",
    [{"RANK": "4"}, {"WORLD_SIZE": "three"}, {"LOCAL_WORLD_SIZE": "3"}, {"LOCAL_RANK": "2"}],
)
def test_variables_that_contradict_each_other_are_refused(changed: dict[str, str]) -> None:
    name, value = next(iter(changed.items()))
    with pytest.raises(CxredgeError, match=f"do not describe .*{name}={value}"):
        find_launched({**TORCHRUN, **changed})


def test_processes_that_nobody_connects_are_refused() -> None:
    with pytest.raises(CxredgeError, match="LOCAL_RANK=unset"):
        find_launched({"RANK": "0", "WORLD_SIZE": "2"})
    for name, launcher in (("SLURM_STEP_NUM_TASKS", "srun"), ("OMPI_COMM_WORLD_SIZE", "mpirun")):
        with pytest.raises(CxredgeError, match=f"{launcher} started 2 processes"):
            find_launched({name: "2"})
        assert find_launched({name: "1"}) is None
        # One torchrun per node, which srun started.
        assert find_launched({name: "2", **TORCHRUN}) is not None


def test_numbers_of_devices_and_nodes_are_those_of_the_launcher() -> None:
    two_nodes = Launched(0, 4, 2)
    assert resolve_devices(None, None, None) == (1, 1)
    assert resolve_devices(3, 1, None) == (3, 1)
    assert resolve_devices(None, None, two_nodes) == (2, 2)
    assert resolve_devices(2, 2, two_nodes) == (2, 2)
    with pytest.raises(CxredgeError, match=r"--devices 1 --nodes 2: the launcher started 2 proc"):
        resolve_devices(1, None, two_nodes)
    with pytest.raises(CxredgeError, match=r"--nodes 4.*WORLD_SIZE=4"):
        resolve_devices(None, 4, two_nodes)
    with pytest.raises(CxredgeError, match="--nodes 2: this command starts processes on this mach"):
        resolve_devices(2, 2, None)


def test_a_training_needs_a_process_per_device(monkeypatch: pytest.MonkeyPatch) -> None:
    require_processes(TrainingHardware("cpu"))
    with pytest.raises(CxredgeError, match="on 2 devices was started as 1 process"):
        require_processes(TrainingHardware("cpu", devices=2))
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CxredgeError, match="on 1 device was started as 4 processes"):
        require_processes(TrainingHardware("cpu"))
    with pytest.raises(CxredgeError, match=r"Fine-tuning runs in one process, .* started 4"):
        require_one_process("Fine-tuning")


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was started, and in its first place the error with which that ends."""
    from torch.distributed.launcher import api

    started: list[Any] = [None]

    def launch(config: Any, executable: str) -> Any:
        def run(*arguments: str) -> None:
            started.append((config.nproc_per_node, config.max_restarts, executable, *arguments))
            if started[0]:
                raise started[0]

        return run

    monkeypatch.setattr(api, "elastic_launch", launch)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "10")
    return started


def test_the_command_is_started_in_every_process(launched: list[Any]) -> None:
    start_processes(2, ["train", "--devices", "2"])
    assert launched[1] == (2, 0, sys.executable, "-m", "cxredge", "train", "--devices", "2")
    names = [n for n in logging.root.manager.loggerDict if n.startswith("torch.distributed.elas")]
    assert names
    assert all(logging.getLogger(name).level == logging.CRITICAL for name in names)


@pytest.mark.parametrize(
    ("codes", "exit_code", "message", "first"),
    [
        ({0: 1, 1: -signal.SIGKILL}, 137, "device 1 of 2 was ended by SIGKILL", False),
        ({0: -signal.SIGSEGV, 1: -signal.SIGTERM}, 139, "device 0 of 2 was ended by SIGSEGV", True),
        ({1: 3, 0: -signal.SIGTERM}, 3, "", False),
    ],
)
def test_the_process_that_failed_is_named(
    launched: list[Any], codes: dict[int, int], exit_code: int, message: str, first: bool
) -> None:
    failures = {rank: ProcessFailure(rank, 1, code, "none") for rank, code in codes.items()}
    launched[0] = ChildFailedError("cxredge", failures)
    with pytest.raises(ProcessFailed) as caught:
        start_processes(2, [])
    assert caught.value.exit_code == exit_code
    assert message in caught.value.message
    assert bool(caught.value.message) is bool(message)
    assert caught.value.first is first


def test_signals_end_the_command(launched: list[Any]) -> None:
    launched[0] = SignalException("got", signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as caught:
        start_processes(2, [])
    assert caught.value.args == (signal.SIGTERM,)
