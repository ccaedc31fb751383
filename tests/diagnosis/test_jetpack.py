"""Board, JetPack and TensorRT of a fake machine."""

from __future__ import annotations

import pytest

from cxredge.diagnosis import jetpack
from cxredge.diagnosis.finding import Status
from tests.diagnosis.machines import NANO, PC_GPU
from tests.targets.boards import ORIN_NANO_SUPER, board


class TestJetPack:
    def test_known_board(self, machine) -> None:
        found = jetpack.board(machine(ORIN_NANO_SUPER))
        assert found.status is Status.OK
        assert "jetson-orin-nano, Jetson Linux 36.4.3 (JetPack 6.1 to 6.2.x)" in found.found

    def test_old_software(self, machine) -> None:
        found = jetpack.board(machine(NANO))
        assert found.status is Status.FAIL
        assert "TensorRT is 8.2.1" in found.found
        assert "trtexec" in found.fix

    def test_no_board(self, machine) -> None:
        assert jetpack.board(machine()).status is Status.SKIP

    def test_ambiguous_board(self, machine) -> None:
        found = jetpack.board(machine(board("tegra234", "p9999-0000")))
        assert found.status is Status.WARN
        assert "--target jetson-agx-orin" in found.fix

    def test_container_without_the_device_tree(self, machine) -> None:
        files = {".dockerenv": "", "proc/version": "Linux version 5.15.148-tegra (x)\n"}
        found = jetpack.board(machine(files))
        assert found.status is Status.WARN
        assert "cannot be read" in found.found
        assert "/proc/device-tree:/proc/device-tree:ro" in found.fix
        assert "jetson-orin-nano" in found.fix

    def test_board_without_release_file(self, machine) -> None:
        found = jetpack.board(machine(board("tegra234", "p3767-0005")))
        assert found.status is Status.WARN
        assert "release of Jetson Linux unknown" in found.found

    def test_tensorrt_installed(self, machine) -> None:
        here = machine(importable=lambda m: m == "tensorrt", packages={"tensorrt": "10.3.0"})
        assert jetpack.tensorrt(here).found == "10.3.0"
        rtx = machine(importable=lambda m: m == "tensorrt_rtx", packages={"tensorrt-rtx": "1.7.1"})
        assert jetpack.tensorrt(rtx).found == "TensorRT for RTX 1.7.1"

    @pytest.mark.parametrize(
        ("cause", "fix"),
        [
            ("libnvdla_compiler.so: cannot open shared object file", "nvidia-l4t-dla-compiler"),
            ("libnvinfer.so.10: cannot open shared object file", "sudo apt install nvidia-jetpack"),
        ],
    )
    def test_tensorrt_that_breaks_on_import(self, cause: str, fix: str, machine) -> None:
        here = machine(
            ORIN_NANO_SUPER,
            importable=lambda m: m == "tensorrt",
            why_import_fails=lambda m: cause,
            packages={"tensorrt": "10.3.0"},
        )
        found = jetpack.tensorrt(here)
        assert found.status is Status.WARN
        assert found.found == f"10.3.0, but it cannot be imported: {cause}"
        assert fix in found.fix

    @pytest.mark.parametrize(
        ("version", "status"),
        [
            ("10.3.0", Status.OK),
            ("10.7.0.post1", Status.OK),
            ("without a version", Status.OK),
            ("11.4.0.106", Status.WARN),
        ],
    )
    def test_tensorrt_that_hides_the_board_s_own(
        self, version: str, status: Status, machine
    ) -> None:
        here = machine(
            ORIN_NANO_SUPER,
            importable=lambda m: m == "tensorrt",
            packages={"tensorrt": version},
        )
        found = jetpack.tensorrt(here)
        assert found.status is status
        if version.startswith("10.7"):
            assert "which runs there instead of 10.3 of JetPack 6.1 to 6.2.x" in found.found
        if status is Status.WARN:
            assert "which hides 10.3 of JetPack 6.1 to 6.2.x" in found.found
            assert "pip uninstall -y tensorrt" in found.fix
            unknown = {k: v for k, v in ORIN_NANO_SUPER.items() if "nv_tegra_release" not in k}
            (here.root / "etc/nv_tegra_release").unlink()
            again = machine(unknown, importable=here.importable, packages=here.packages)
            assert jetpack.tensorrt(again).status is Status.OK

    def test_tensorrt_for_rtx_that_breaks_on_import(self, machine) -> None:
        here = machine(
            importable=lambda m: m == "tensorrt_rtx", why_import_fails=lambda m: "no libraries"
        )
        assert jetpack.tensorrt(here).fix == "pip install --force-reinstall tensorrt-rtx"

    BINDINGS = "usr/lib/python3.10/dist-packages/tensorrt/__init__.py"

    def test_tensorrt_outside_the_virtual_environment(self, machine) -> None:
        found = jetpack.tensorrt(machine({**ORIN_NANO_SUPER, self.BINDINGS: ""}))
        assert found.status is Status.WARN
        assert "/usr/bin/python3.10 -m venv --system-site-packages" in found.fix

    def test_tensorrt_outside_conda(self, machine) -> None:
        here = machine(
            {**ORIN_NANO_SUPER, self.BINDINGS: ""},
            virtual_environment=False,
            environment={"CONDA_PREFIX": "/opt/conda"},
        )
        assert jetpack.tensorrt(here).fix.startswith("Deactivate conda")

    def test_tensorrt_of_another_python(self, machine) -> None:
        here = machine({**ORIN_NANO_SUPER, self.BINDINGS: ""}, python=(3, 12, 1))
        found = jetpack.tensorrt(here)
        assert "for Python 3.10; this is Python 3.12" in found.found
        assert found.fix.startswith("python3.10 -m venv --system-site-packages")
        old = {self.BINDINGS.replace("3.10", "3.8"): ""}
        (here.root / self.BINDINGS).unlink()
        (here.root / self.BINDINGS).parent.rmdir()
        assert "trtexec" in jetpack.tensorrt(machine(old)).fix

    def test_tensorrt_missing(self, machine) -> None:
        assert jetpack.tensorrt(machine()).status is Status.SKIP
        assert "nvidia-jetpack" in jetpack.tensorrt(machine(ORIN_NANO_SUPER)).fix

    def test_tensorrt_missing_on_a_pc(self, machine) -> None:
        assert "cxredge[rtx]" in jetpack.tensorrt(machine(PC_GPU)).found
