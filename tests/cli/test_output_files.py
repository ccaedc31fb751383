"""``--out`` of commands that write one file: no folder is made unasked, no device is replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cxredge.artifacts.output_file import check_output_file
from cxredge.errors import CxredgeError
from tests.conftest import Run


@pytest.mark.parametrize(
    "command", ["predict", "evaluate", "bench", "report", "compare", "calibrate"]
)
def test_a_folder_is_not_made_unasked(
    command: str, built: Path, phantoms: Path, tmp_path: Path, cxredge: Run
) -> None:
    manifest = phantoms / "manifest.csv"
    name = {"report": "r.html", "compare": "c.html", "calibrate": "c.csv"}.get(command, "p.csv")
    arguments = {
        "predict": [built, phantoms / "images"],
        "evaluate": [built, manifest],
        "bench": [built, "--seconds", 0],
        "report": [built],
        "compare": [built, built],
        "calibrate": [manifest],
    }[command]
    folder = tmp_path / "not yet" / "there"
    ran = cxredge(command, *arguments, "--out", folder / name)
    assert ran.code == 1
    assert f"Cannot write {folder / name}: the folder {folder} does not exist." in ran.err
    assert f"Make it first: mkdir -p '{folder}'" in ran.err
    assert not list(tmp_path.iterdir())


def test_what_is_not_a_file_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_output_file(Path("new.csv"))
    Path("old.csv").touch()
    check_output_file(Path("old.csv"))
    os.mkfifo("pipe")
    Path("folder").mkdir()
    for name, words in [
        ("pipe", "is a pipe or a device"),
        ("/dev/null", "is a pipe or a device"),
        ("/dev/stdout", "is a pipe or a device"),
        ("folder", "it is a folder"),
        ("old.csv/p.csv", r"old\.csv is not a folder"),
    ]:
        with pytest.raises(CxredgeError, match=words):
            check_output_file(Path(name))


@pytest.mark.parametrize("command", ["evaluate", "bench", "sign"])
def test_a_bundle_that_cannot_be_written_to_is_refused_before_any_work(
    command: str,
    built: Path,
    phantoms: Path,
    tmp_path: Path,
    cxredge: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more: list[object] = [phantoms / "manifest.csv"] if command == "evaluate" else []
    if command == "sign":
        key = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
        from cryptography.hazmat.primitives import serialization as pem

        private = key.Ed25519PrivateKey.generate()
        text = private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
        (tmp_path / "key.pem").write_bytes(text)
        more = ["--key", tmp_path / "key.pem"]
    held = sorted(built.rglob("*"))
    real = os.access
    monkeypatch.setattr(
        os,
        "access",
        lambda path, mode: not (Path(path) == built and mode & os.W_OK) and real(path, mode),
    )
    ran = cxredge(command, built, *more)
    assert ran.code == 1
    assert f"{built} is not writable." in ran.err
    assert "--out FILE" in ran.err or "sign the copy" in ran.err
    assert sorted(built.rglob("*")) == held
