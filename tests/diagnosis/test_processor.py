"""Instruction sets and threads of a fake machine."""

from __future__ import annotations

import pytest

from cxredge.diagnosis import processor
from cxredge.diagnosis.finding import Status


class TestProcessor:
    @pytest.mark.parametrize(
        ("architecture", "cpuinfo", "status", "words"),
        [
            ("x86_64", "flags : avx2 avx512f avx512_vnni", Status.OK, "avx512_vnni"),
            ("x86_64", "flags : avx2 avx_vnni", Status.OK, "avx_vnni"),
            ("x86_64", "flags : avx2 avx512f", Status.WARN, "AVX2 without VNNI"),
            ("x86_64", "flags : sse4_2", Status.SKIP, "cannot be read"),
            ("aarch64", "Features : asimd asimddp i8mm", Status.OK, "asimddp, i8mm"),
            ("aarch64", "Features : asimd", Status.WARN, "without dot products"),
            # QEMU shows Arm programs the flags of its host.
            ("aarch64", "flags : avx2 avx512_vnni", Status.SKIP, "of another architecture"),
        ],
    )
    def test_int8(
        self, architecture: str, cpuinfo: str, status: Status, words: str, machine, monkeypatch
    ) -> None:
        monkeypatch.setattr("platform.machine", lambda: architecture)
        found = processor.int8(machine({"proc/cpuinfo": cpuinfo + "\n"}))
        assert found.status is status
        assert words in found.found

    def test_bfloat16(self, machine, monkeypatch) -> None:
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
        assert processor.bfloat16(machine({"proc/cpuinfo": "flags : amx_bf16"})).found == "amx_bf16"
        assert processor.bfloat16(machine({"proc/cpuinfo": "flags : avx2"})).status is Status.SKIP
        monkeypatch.setattr("platform.machine", lambda: "aarch64")
        assert processor.bfloat16(machine({"proc/cpuinfo": "Features : bf16"})).found == "bf16"
        of_the_host = machine({"proc/cpuinfo": "flags : avx512_bf16"})
        assert processor.bfloat16(of_the_host).status is Status.SKIP

    @pytest.mark.parametrize(
        "files",
        [
            {"sys/fs/cgroup/cpu.max": "250000 100000\n"},
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
        ],
    )
    def test_cpu_limit_of_a_container(self, files: dict[str, str], machine) -> None:
        assert processor.cpu_limit(machine(files)) == 2.5
        found = processor.threads(machine(files))
        assert found.status is Status.WARN
        assert "limited to 2.5" in found.found
        assert "bench --threads 2" in found.fix

    @pytest.mark.parametrize(
        "files",
        [
            {},
            {"sys/fs/cgroup/cpu.max": "max 100000\n"},
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
        ],
    )
    def test_no_limit(self, files: dict[str, str], machine) -> None:
        assert processor.cpu_limit(machine(files)) is None
        assert processor.threads(machine(files)).status is Status.OK

    @pytest.mark.parametrize(
        ("wanted", "status"), [("12", Status.WARN), ("6", Status.OK), ("2", Status.WARN)]
    )
    def test_openmp(self, wanted: str, status: Status, machine) -> None:
        here = machine(environment={"OMP_NUM_THREADS": wanted})
        assert processor.threads(here).status is status

    def test_invalid_number_of_openmp_threads(self, machine) -> None:
        here = machine(environment={"OMP_NUM_THREADS": "many"})
        assert processor.threads(here).status is Status.OK
