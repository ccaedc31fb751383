from pathlib import Path

import pytest

from cxredge.errors import CxredgeError
from cxredge.targets import registry
from cxredge.targets.detect import match_board, read_board
from cxredge.targets.registry import all_targets, find_target, is_here, target_of_this_machine
from tests.targets.boards import ORIN_NANO_SUPER, THOR, board, tree


def matched(root: Path) -> str | None:
    found = match_board(read_board(root), all_targets().values())
    return found.name if found else None


def test_orin_nano_is_read_from_its_files(tmp_path: Path) -> None:
    found = read_board(tree(tmp_path, ORIN_NANO_SUPER))
    assert found.model == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert found.compatible[1:] == ("nvidia,p3767-0005", "nvidia,tegra234")
    assert (found.soc, found.l4t, found.container) == ("nvidia,tegra234", "36.4.3", False)
    assert found.is_jetson
    assert matched(tmp_path) == "jetson-orin-nano"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (THOR, "jetson-thor"),
        (board("tegra234", "p3767-0000"), "jetson-orin-nx"),
        (board("tegra234", "p3767-0001"), "jetson-orin-nx"),
        (board("tegra234", "p3767-0003"), "jetson-orin-nano"),
        (board("tegra234", "p3767-0004"), "jetson-orin-nano"),
        (board("tegra234", "p3701-0005"), "jetson-agx-orin"),
        (board("tegra194", "p3668-0001"), "jetson-xavier-nx"),
        (board("tegra194", "p2888-0001"), "jetson-agx-xavier"),
        (board("tegra210", "p3448-0000"), "jetson-nano"),
        (board("tegra186", "p3310-1000"), "jetson-tx2"),
        (board("tegra186", "p3489-0888"), "jetson-tx2"),
        (board("tegra186", "p3636-0001"), "jetson-tx2"),
    ],
)
def test_modules(files: dict[str, str], name: str, tmp_path: Path) -> None:
    assert matched(tree(tmp_path, files)) == name


def test_every_board_is_detected_by_each_of_its_entries(tmp_path: Path) -> None:
    for target in all_targets().values():
        detection = target.detection
        if detection is None:
            continue
        for module in detection.modules:
            root = tree(tmp_path / module, board(detection.soc.removeprefix("nvidia,"), module))
            assert matched(root) == target.name
        for number, model in enumerate(detection.models):
            files = {"proc/device-tree/model": f"NVIDIA {model} Developer Kit\0"}
            assert matched(tree(tmp_path / f"{target.name}-{number}", files)) == target.name


def test_nx_is_distinguished_from_nano_by_its_name(tmp_path: Path) -> None:
    for model, name in (
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "jetson-orin-nx"),
        ("NVIDIA Jetson Xavier NX Developer Kit", "jetson-xavier-nx"),
        ("NVIDIA Jetson AGX Orin Developer Kit", "jetson-agx-orin"),
        ("NVIDIA Jetson Nano Developer Kit", "jetson-nano"),
    ):
        root = tree(tmp_path / name, {"proc/device-tree/model": model + "\0"})
        assert matched(root) == name


def test_an_unknown_module_with_a_chip_of_one_target(tmp_path: Path) -> None:
    assert matched(tree(tmp_path, board("tegra264", "p9999-0000"))) == "jetson-thor"


def test_an_unknown_module_with_a_chip_of_several_targets(tmp_path: Path) -> None:
    root = tree(tmp_path, board("tegra234", "p9999-0000"))
    with pytest.raises(CxredgeError, match=r"tegra234 that matches no target") as caught:
        matched(root)
    assert "--target jetson-agx-orin, or jetson-orin-nano, jetson-orin-nx" in caught.value.hint


def test_the_device_tree_of_sysfs_is_read_too(tmp_path: Path) -> None:
    files = {
        k.replace("proc/device-tree", "sys/firmware/devicetree/base"): v for k, v in THOR.items()
    }
    assert matched(tree(tmp_path, files)) == "jetson-thor"


def test_other_machines_are_no_board(tmp_path: Path) -> None:
    assert matched(tmp_path) is None
    raspberry = {
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
    }
    assert matched(tree(tmp_path, raspberry)) is None
    assert not read_board(tmp_path).is_jetson


def test_release_from_the_package_list(tmp_path: Path) -> None:
    status = (
        "Package: nvidia-l4t-camera\nVersion: 1.0\n\n"
        "Package: nvidia-l4t-core\nStatus: install ok installed\n"
        "Version: 36.4.3-20250107174145\n\nPackage: other\nVersion: 9.9\n"
    )
    assert read_board(tree(tmp_path, {"var/lib/dpkg/status": status})).l4t == "36.4.3"


def test_a_package_without_a_version_does_not_take_the_next_one(tmp_path: Path) -> None:
    status = "Package: nvidia-l4t-core\nStatus: deinstall\n\nPackage: other\nVersion: 9.9\n"
    assert read_board(tree(tmp_path, {"var/lib/dpkg/status": status})).l4t is None


@pytest.mark.parametrize(
    "files",
    [{".dockerenv": ""}, {"run/.containerenv": ""}, {"proc/1/cgroup": "0::/docker/8a1f\n"}],
)
def test_container_without_the_board_s_files(files: dict[str, str], tmp_path: Path) -> None:
    version = {"proc/version": "Linux version 5.15.148-tegra (oe-user@oe-host)\n"}
    found = read_board(tree(tmp_path, {**files, **version}))
    assert found.container
    assert found.tegra_kernel
    assert found.is_jetson
    assert found.soc is None


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "this_machine", lambda: "aarch64")


@pytest.mark.usefixtures("arm")
def test_here_is_the_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path, ORIN_NANO_SUPER)
    assert target_of_this_machine(root).name == "jetson-orin-nano"
    monkeypatch.setattr(registry, "ROOT", root)
    assert find_target("here").name == "jetson-orin-nano"
    here = {t.name for t in all_targets().values() if is_here(t)}
    assert here == {"cpu-arm", "jetson-orin-nano"}


@pytest.mark.usefixtures("arm")
def test_here_without_a_board_is_the_processor(tmp_path: Path) -> None:
    assert target_of_this_machine(tmp_path).name == "cpu-arm"
    words = "aarch64, without a known board in its device tree"
    assert registry.describe_this_machine(tmp_path) == words


@pytest.mark.usefixtures("arm")
@pytest.mark.parametrize(
    ("files", "words", "hint"),
    [
        (
            board("tegra210", "p3448-0000", (32, "7.1")),
            "TensorRT is 8.2.1",
            "On a workstation: cxredge build RUN --target jetson-nano --out BUNDLE. Then on the "
            "device: trtexec --onnx=BUNDLE/model-fp16-float-input.onnx --saveEngine=model.engine "
            "--fp16. Or serve on its processor: --target cpu-arm.",
        ),
        (
            board("tegra194", "p3668-0001", (35, "4.1")),
            "bindings for Python 3.8",
            "trtexec --onnx=BUNDLE/model-int8.onnx --saveEngine=model.engine --int8 --fp16. Or",
        ),
        (
            board("tegra234", "p3767-0005", (35, "6.5")),
            "bindings for Python 3.8",
            "Install JetPack 7.2.2 or newer 7.2.x. Or serve on its processor",
        ),
        (
            board("tegra194", "p2888-0001", (32, "7.1")),
            "TensorRT is 8.2.1",
            "Install JetPack 5.1.x. On a workstation: cxredge build RUN",
        ),
        (
            board("tegra234", "p3767-0005", (35, "1.0")),
            "TensorRT is 8.4.1",
            "Install JetPack 7.2.2 or newer 7.2.x. Or serve on its processor: --target cpu-arm.",
        ),
    ],
)
def test_old_software_is_refused_with_an_alternative(
    files: dict[str, str], words: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(CxredgeError, match=words) as caught:
        target_of_this_machine(tree(tmp_path, files))
    assert hint in caught.value.hint


@pytest.mark.usefixtures("arm")
def test_a_hidden_jetson_must_be_named(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/version": "Linux version 5.15.148-tegra (x)\n"})
    with pytest.raises(CxredgeError, match="a Jetson, but its device tree") as caught:
        target_of_this_machine(root)
    assert "--target cpu-arm" in caught.value.hint
    assert is_here(find_target("jetson-orin-nx"), root)
    assert is_here(find_target("cpu-arm"), root)
    assert not is_here(find_target("rtx"), root)


@pytest.mark.usefixtures("arm")
def test_software_newer_than_the_table_is_supported(tmp_path: Path) -> None:
    root = tree(tmp_path, board("tegra234", "p3767-0005", (40, "1.0")))
    assert target_of_this_machine(root).name == "jetson-orin-nano"


@pytest.mark.usefixtures("arm")
def test_the_named_board_of_several_is_accepted(tmp_path: Path) -> None:
    root = tree(tmp_path, board("tegra234", "p9999-0000"))
    assert is_here(find_target("jetson-orin-nx"), root)
    assert not is_here(find_target("jetson-thor"), root)


def test_rtx_is_here_if_the_driver_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "this_machine", lambda: "x86_64")
    rtx = find_target("rtx")
    assert not is_here(rtx, tmp_path)
    assert is_here(rtx, tree(tmp_path, {"proc/driver/nvidia/version": "NVRM version: 580\n"}))
