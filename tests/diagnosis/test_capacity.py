"""Memory, swap and disk of a fake machine: enough, scarce, limited, unknown."""

from __future__ import annotations

import pytest

from cxredge.diagnosis import capacity
from cxredge.diagnosis.finding import Status
from tests.diagnosis.machines import memory
from tests.targets.boards import ORIN_NANO_SUPER


class TestCapacity:
    def test_memory(self, machine) -> None:
        assert capacity.memory(machine()).status is Status.SKIP
        assert capacity.memory(machine(memory(4_000_000))).status is Status.OK
        assert capacity.memory(machine(memory(500_000))).status is Status.FAIL

    def test_memory_for_building_an_engine(self, machine) -> None:
        found = capacity.memory(machine({**ORIN_NANO_SUPER, **memory(2_000_000)}))
        assert found.status is Status.WARN
        assert "sudo init 3" in found.fix

    @pytest.mark.parametrize(
        "path", ["sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"]
    )
    def test_memory_limit_of_a_container(self, path: str, machine) -> None:
        found = capacity.memory(machine({**memory(6_000_000), path: "800000000\n"}))
        assert found.status is Status.FAIL
        assert "limited to 800 MB" in found.found

    def test_without_a_limit(self, machine) -> None:
        files = {**memory(6_000_000), "sys/fs/cgroup/memory.max": "max\n"}
        assert capacity.memory(machine(files)).found == "6144 MB free"
        huge = {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}
        del files["sys/fs/cgroup/memory.max"]
        (machine().root / "sys/fs/cgroup/memory.max").unlink()
        assert capacity.memory(machine({**files, **huge})).found == "6144 MB free"

    def test_swap_for_a_small_board(self, machine) -> None:
        header = "Filename Type Size Used Priority\n"
        files = {**ORIN_NANO_SUPER, **memory(3_000_000), "proc/swaps": header}
        found = capacity.swap(machine(files))
        assert found.status is Status.WARN
        assert "mkswap" in found.fix
        files["proc/swaps"] += "/swapfile file 8388604 0 -2\n"
        assert capacity.swap(machine(files)).found == "8590 MB"
        assert capacity.swap(machine(files)).status is Status.OK

    def test_swap_is_not_required_on_a_pc(self, machine) -> None:
        files = {**memory(3_000_000), "proc/swaps": "Filename Type Size Used Priority\n"}
        assert capacity.swap(machine(files)).status is Status.OK
        assert capacity.swap(machine()).status is Status.OK

    def test_shared_memory(self, machine) -> None:
        assert capacity.shared_memory(machine(free_mb=lambda _: 4000.0)).status is Status.OK
        assert capacity.shared_memory(machine(free_mb=lambda _: None)).status is Status.SKIP
        found = capacity.shared_memory(machine({".dockerenv": ""}, free_mb=lambda _: 64.0))
        assert found.status is Status.WARN
        assert "--ipc=host" in found.fix

    def test_disk(self, machine) -> None:
        assert capacity.disk(machine()).status is Status.OK
        assert capacity.disk(machine(free_mb=lambda _: 900.0)).status is Status.WARN
        assert capacity.disk(machine(free_mb=lambda _: None)).status is Status.FAIL
