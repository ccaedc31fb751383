"""Bringing a bundle to a device: again, from a medium that is read-only, to a disk that is full."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cxredge.artifacts.card import read_card
from cxredge.bundle import delivery
from cxredge.bundle.archive import write_archive
from cxredge.bundle.card import BundleCard
from cxredge.targets import registry
from tests.conftest import Ran, Run


@pytest.fixture
def packed(bundle: Path) -> Path:
    path = bundle.with_name("mine.tar")
    write_archive(bundle, path)
    return path


def finished(ran: Ran, folder: Path) -> Ran:
    assert ran.code == 0, ran.err
    assert ran.json["bundle"] == str(folder)
    assert ran.json["finished_here"] is True
    assert (folder / "passport.json").is_file()
    return ran


def test_an_archive_is_unpacked_beside_itself_and_finished(packed: Path, cxredge: Run) -> None:
    folder = packed.with_name("mine")
    assert "Unpacked" in finished(cxredge("deploy", packed, "--json"), folder).err
    kept = (folder / "model-fp32.onnx").stat().st_mtime_ns
    (folder / "results").mkdir()
    again = finished(cxredge("deploy", packed, "--json"), folder)
    assert "holds the same bundle already" in again.err
    assert (folder / "model-fp32.onnx").stat().st_mtime_ns == kept
    assert (folder / "results").is_dir(), "what was made there is kept"


def test_a_damaged_folder_is_unpacked_again(packed: Path, cxredge: Run) -> None:
    folder = packed.with_name("mine")
    finished(cxredge("deploy", packed, "--json"), folder)
    (folder / "model-fp32.onnx").write_bytes(b"damaged")
    assert "Unpacked" in finished(cxredge("deploy", packed, "--json"), folder).err


def test_a_folder_is_copied_without_what_another_device_added(
    bundle: Path, tmp_path: Path, cxredge: Run
) -> None:
    (bundle / "model-int8.plan").write_bytes(b"of another device")
    out = tmp_path / "out"
    assert "Copied" in finished(cxredge("deploy", bundle, "--out", out, "--json"), out).err
    names = {path.name for path in out.iterdir()}
    assert names == {"card.json", "passport.json", *read_card(bundle, BundleCard).files}
    assert "already" in finished(cxredge("deploy", bundle, "--out", out, "--json"), out).err
    assert finished(cxredge("deploy", bundle, "--out", bundle, "--json"), bundle)


def test_a_medium_that_is_read_only_is_said(
    bundle: Path, tmp_path: Path, cxredge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != bundle or mode == os.R_OK)
    before = sorted(bundle.iterdir())
    refused = cxredge("deploy", bundle)
    assert refused.code == 1
    assert f"{bundle} cannot be written to" in refused.err
    assert f"cxredge deploy {bundle} --out" in refused.err
    assert sorted(bundle.iterdir()) == before
    finished(cxredge("deploy", bundle, "--out", tmp_path / "out", "--json"), tmp_path / "out")


def test_an_archive_beside_which_nothing_can_be_written(
    packed: Path, cxredge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("cxredge.bundle.archive.atomic_folder", refuse)
    refused = cxredge("deploy", packed)
    assert refused.code == 1
    assert "is not writable (Read-only file system)" in refused.err
    assert "--out" in refused.err


def test_a_full_disk_says_how_much_is_needed(
    packed: Path, bundle: Path, tmp_path: Path, cxredge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000))
    for source in (packed, bundle):
        refused = cxredge("deploy", source, "--out", tmp_path / "disk" / "out")
        assert refused.code == 1
        assert "There is no room for the bundle out: it needs up to" in refused.err
        assert "1.0 kB are free" in refused.err
    assert not (tmp_path / "disk").exists()


def test_a_run_or_a_model_is_never_replaced_by_a_bundle(
    packed: Path, model: Path, tmp_path: Path, cxredge: Run
) -> None:
    kept = Path(shutil.copytree(model, tmp_path / "kept"))
    refused = cxredge("deploy", packed, "--out", kept)
    assert refused.code == 1
    assert "holds a model, not a bundle" in refused.err
    assert (kept / "model.onnx").is_file()
    # Nor by one that is made here, of itself least of all, and not by its INT8.
    refused = cxredge("build", kept, "--target", "jetson-orin-nano", "--out", kept)
    assert refused.code == 1
    assert "holds a model, not a bundle" in refused.err
    manifest = kept / "manifest.csv"
    refused = cxredge(
        "quantize", kept, "--dialect", "cpu", "--out", kept, "--calibration", manifest,
        "--evaluate", manifest,
    )  # fmt: skip
    assert refused.code == 2
    assert "is the model to quantize" in refused.err
    assert (kept / "model.onnx").read_bytes() == (model / "model.onnx").read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    assert cxredge("deploy", packed, "--out", other).code == 1
    assert (other / "thesis.txt").is_file()


def test_nothing_is_unpacked_on_another_machine(
    packed: Path, cxredge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "this_machine", lambda: "riscv64")
    refused = cxredge("deploy", packed)
    assert refused.code == 1
    assert "this machine is riscv64" in refused.err
    assert not packed.with_name("mine").exists()


def test_an_archive_without_an_ending_needs_a_folder(packed: Path, cxredge: Run) -> None:
    plain = packed.rename(packed.with_name("plain"))
    refused = cxredge("deploy", plain)
    assert refused.code == 1
    assert "--out" in refused.err
    assert plain.is_file()


def test_options_of_another_command_are_refused(bundle: Path, model: Path, cxredge: Run) -> None:
    ran = cxredge("build", bundle, "--target", "cpu-arm", "--effort", "quick", "--out", bundle)
    assert ran.code == 2
    assert f"{bundle} is already a bundle" in ran.err
    assert f"cxredge deploy {bundle}" in ran.err
    ran = cxredge("deploy", bundle, "--target", "cpu-arm")
    assert ran.code == 2
    assert "No such option: --target" in ran.err
    ran = cxredge("build", model, "--public-key", "key.pem")
    assert ran.code == 2
    assert "No such option: --public-key" in ran.err
    ran = cxredge("deploy", model)
    assert ran.code == 1
    assert f"{model} is a cxredge model; expected a bundle." in ran.err
    copy = bundle.with_name("copy")
    ran = cxredge("deploy", bundle, "--batch", "1,4", "--out", copy)
    assert ran.code == 2
    assert "are for TensorRT engines" in ran.err
    assert not copy.exists()


def test_what_is_copied_is_checked(bundle: Path, tmp_path: Path, cxredge: Run) -> None:
    (bundle / "model-int8.onnx").write_bytes(b"damaged")
    refused = cxredge("deploy", bundle, "--out", tmp_path / "out")
    assert refused.code == 1
    assert "is damaged" in refused.err
    assert not (tmp_path / "out").exists()
    assert delivery.read_delivered(bundle).kind.value == "bundle"


def test_a_bundle_that_no_device_can_finish_does_not_replace_another(
    bundle: Path, tmp_path: Path, cxredge: Run
) -> None:
    pytest.importorskip("onnx")
    from benchmarks.campaign.tampered import bind

    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    (other / "golden.npz").write_bytes(b"no arrays")
    bind(other)
    works = Path(shutil.copytree(bundle, tmp_path / "works"))
    held = (works / "card.json").read_bytes()
    for source in (other, tmp_path / "other.tar"):
        if source.suffix:
            write_archive(other, source)
        for out in (works, tmp_path / "new"):
            refused = cxredge("deploy", source, "--out", out)
            assert refused.code == 1
            assert f"Error: {source}/golden.npz cannot be read" in refused.err
    assert (works / "card.json").read_bytes() == held
    assert {p.name for p in tmp_path.iterdir()} == {"bundle", "other", "other.tar", "works"}


def test_build_is_another_name_of_deploy_for_a_bundle(bundle: Path, cxredge: Run) -> None:
    note = f"'cxredge build BUNDLE' is an alias of: cxredge deploy {bundle}"
    ran = cxredge("build", bundle, "--json")
    assert ran.code == 0, ran.err
    assert ran.err.count(note) == 1
    deployed = cxredge("deploy", bundle, "--json")
    assert deployed.code == 0, deployed.err
    assert note not in deployed.err
    assert deployed.json.keys() == ran.json.keys()
    assert cxredge("build", bundle, "-q").err == ""
