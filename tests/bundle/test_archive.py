"""Archives: the same bytes each time, and nothing of a hostile one on the disk."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cxredge.artifacts.card import read_card
from cxredge.artifacts.hashing import sha256_of_json
from cxredge.bundle import archive
from cxredge.bundle.archive import archive_of, check_archive, is_archive, unpack, write_archive
from cxredge.bundle.card import BundleCard
from cxredge.errors import ArtifactError, CxredgeError
from tests.conftest import Run


@pytest.fixture(scope="module")
def packed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a bundle. Shared: copy it before changing it."""
    path = tmp_path_factory.mktemp("packed") / "bundle.tar"
    write_archive(built, path)
    return path


def members(path: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def repacked(path: Path, out: Path, *files: tuple[tarfile.TarInfo, bytes]) -> Path:
    """Write the members of an archive and others after them."""
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as tar:
        for header, content in (*members(path), *files):
            tar.addfile(header, io.BytesIO(content))
    return out


def header(name: str, kind: bytes = tarfile.REGTYPE, **more: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for key, value in more.items():
        setattr(made, key, value)
    return made


def with_card(path: Path, out: Path, files: dict[str, bytes]) -> Path:
    """Write an archive whose card lists other files besides, and is true to itself."""
    first, *others = members(path)
    card = json.loads(first[1])
    card["files"] |= {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    del card["card_sha256"]
    text = json.dumps({**card, "card_sha256": sha256_of_json(card)}).encode()
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as tar:
        added = [(header(name, size=len(content)), content) for name, content in files.items()]
        for member, content in ((header("card.json", size=len(text)), text), *others, *added):
            tar.addfile(member, io.BytesIO(content))
    return out


def refused(path: Path, tmp_path: Path) -> str:
    """Return why an archive is refused, after seeing that nothing of it is left anywhere."""
    outside = tmp_path / "outside"
    outside.mkdir(exist_ok=True)
    before = sorted(p for p in tmp_path.rglob("*"))
    with pytest.raises(ArtifactError) as why:
        unpack(path, outside / "bundle")
    with pytest.raises(ArtifactError, match=re.escape(why.value.message)):
        check_archive(path)
    assert sorted(p for p in tmp_path.rglob("*")) == before
    return why.value.message


def test_same_bundle_same_bytes(packed: Path, built: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(built, tmp_path / "copy"))
    for number, path in enumerate(sorted(copied.rglob("*"))):
        os.utime(path, (number, number))
        path.chmod(0o700)
    (copied / "model-int8.plan").write_bytes(b"of a device")
    write_archive(copied, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == packed.read_bytes()
    names = [member.name for member, _ in members(packed)]
    assert names == ["card.json", *sorted(read_card(built, BundleCard).files)]
    assert {(m.mtime, m.mode, m.uid, m.gid, m.uname) for m, _ in members(packed)} == {
        (0, 0o644, 0, 0, "")
    }


def test_what_was_packed_is_unpacked(packed: Path, built: Path, tmp_path: Path) -> None:
    unpack(packed, tmp_path / "out")
    for name in ("card.json", *read_card(built, BundleCard).files):
        assert (tmp_path / "out" / name).read_bytes() == (built / name).read_bytes()
    assert not (tmp_path / "out/passport.json").exists()
    assert check_archive(packed) == read_card(built, BundleCard)


@pytest.mark.parametrize(
    "hostile",
    [
        header("../escaped"),
        header("/tmp/escaped"),
        header("model-fp32.onnx/../../escaped"),
        header("passport.json"),
        header("model-fp32.onnx"),
        header("card.json"),
        header("a\nb\x1b[31m"),  # and it is no word to the terminal
    ],
    ids=lambda member: member.name,
)
def test_names_that_the_card_does_not_list_are_refused(
    hostile: tarfile.TarInfo, packed: Path, tmp_path: Path
) -> None:
    path = repacked(packed, tmp_path / "hostile.tar", (hostile, b""))
    assert f"holds {hostile.name!r}, which its card does not list or which came before" in refused(
        path, tmp_path
    )


@pytest.mark.parametrize(
    "name",
    ["../escaped", "/escaped", "a/../../escaped", "..", "a//b", "./a", "a\\b", "card.sig"],
)
def test_names_that_lead_elsewhere_are_refused_though_the_card_lists_them(
    name: str, packed: Path, tmp_path: Path
) -> None:
    path = with_card(packed, tmp_path / "hostile.tar", {name: b"x"})
    assert "which is not a valid file name" in refused(path, tmp_path)


@pytest.mark.parametrize(
    "hostile",
    [
        header("model-int8.onnx", tarfile.SYMTYPE, linkname="/etc/passwd"),
        header("model-int8.onnx", tarfile.LNKTYPE, linkname="../secret"),
        header("model-int8.onnx", tarfile.CHRTYPE, devmajor=1, devminor=5),
        header("model-int8.onnx", tarfile.FIFOTYPE),
        header("flipped", tarfile.DIRTYPE),
        header("model-int8.onnx", tarfile.GNUTYPE_SPARSE),
        header("././@LongLink", tarfile.GNUTYPE_LONGNAME),
        header("pax", tarfile.XHDTYPE),
        header("pax", tarfile.XGLTYPE),
    ],
    ids=lambda member: repr(member.type),
)
def test_all_but_plain_files_are_refused(
    hostile: tarfile.TarInfo, packed: Path, tmp_path: Path
) -> None:
    path = tmp_path / "hostile.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, content in members(packed)[:2]:
            tar.addfile(member, io.BytesIO(content))
        tar.addfile(hostile)
    assert "is not a plain file" in refused(path, tmp_path)


def change(content: bytes, offset: int) -> bytes:
    return content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: change(content, len(content) // 2), "is damaged"),
        (lambda content: change(content, 600), "not"),
        (lambda content: change(content, 3), "cut off or damaged"),
        (lambda content: content[: len(content) // 2], "cut off"),
        (lambda content: content[:512], "cut off"),
        (lambda content: content[:700], "cut off"),
    ],
    ids=["content", "card", "header", "half", "first header", "half a card"],
)
def test_damage_is_found(
    damage: Callable[[bytes], bytes], message: str, packed: Path, tmp_path: Path
) -> None:
    path = tmp_path / "damaged.tar"
    path.write_bytes(damage(packed.read_bytes()))
    assert message in refused(path, tmp_path)


def test_a_missing_file_is_named(packed: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "short.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, content in members(packed)[:-1]:
            tar.addfile(member, io.BytesIO(content))
    assert f"lacks {members(packed)[-1][0].name}" in refused(tmp_path / "short.tar", tmp_path)


@pytest.mark.parametrize("name", ["model-int8.plan", "tensorrt-10.3.0-sm8.7-orin.cache"])
def test_what_a_device_makes_is_refused_in_a_package(
    name: str, packed: Path, tmp_path: Path, cxredge: Run
) -> None:
    """An engine of a stranger may carry code, and would be taken for one that was built here."""
    path = with_card(packed, tmp_path / "hostile.tar", {name: b"engine"})
    ran = cxredge("verify", path)
    assert ran.code == 1
    assert f"lists {name}, which only a device makes" in ran.err


@pytest.mark.parametrize(("limit", "value"), [("MAX_FILES", 3), ("MAX_BYTES", 10_000)])
def test_limits_hold(limit: str, value: int, packed: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(archive, limit, value)
    assert "no bundle is that large" in refused(packed, tmp_path)


@pytest.mark.parametrize(
    ("stated", "message"), [(1 << 60, "no bundle is that large"), (-1, "is not a plain file")]
)
def test_a_size_that_is_a_lie_reads_no_further(
    stated: int, message: str, packed: Path, tmp_path: Path
) -> None:
    """A header may state more bytes than any disk has; GNU's numbers may even be negative."""
    first, second = members(packed)[:2]
    raw = bytearray(second[0].tobuf(tarfile.USTAR_FORMAT))
    raw[124:136] = stated.to_bytes(12, "big", signed=True)
    raw[124] = 0x80 if stated > 0 else 0xFF
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    card = first[1] + bytes(-len(first[1]) % 512)
    path = tmp_path / "lie.tar"
    path.write_bytes(first[0].tobuf(tarfile.USTAR_FORMAT) + card + raw + bytes(1024))
    assert message in refused(path, tmp_path)


def test_other_tars_are_no_archives(tmp_path: Path) -> None:
    path = tmp_path / "other.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(header("readme.txt"))
    assert is_archive(path)
    assert "does not begin with a bundle's card.json" in refused(path, tmp_path)
    (tmp_path / "text").write_text("ustar")
    assert not is_archive(tmp_path / "text")


def test_a_full_disk_is_said_before_and_in_the_middle(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(CxredgeError, match=r"needs up to 0\.\d MB, and 1\.0 kB are free in") as why:
        unpack(packed, tmp_path / "out" / "bundle")
    assert "--out" in why.value.hint
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "_checked", full)
    with pytest.raises(CxredgeError, match="There is no room for the bundle"):
        unpack(packed, tmp_path / "out" / "bundle")
    assert list((tmp_path / "out").iterdir()) == []


def test_commands_on_an_archive(packed: Path, tmp_path: Path, cxredge: Run) -> None:
    short = cxredge("inspect", packed).out
    for words in ("next: on the device: cxredge deploy", "files match their hashes", "tried:"):
        assert words in short
    path = Path(shutil.copy(packed, tmp_path / "mine.tar"))
    found = cxredge("inspect", path, "--json").json
    assert (found["kind"], found["signed"], found["bundle"]["kind"]) == ("archive", False, "bundle")
    verified = cxredge("verify", path, "--json")
    assert verified.code == 0, verified.err
    assert verified.json["passed"] is True
    for command in (
        ["predict", path, tmp_path, "--out", tmp_path / "p.csv"],
        ["evaluate", path, tmp_path / "m.csv"],
        ["bench", path],
        ["compare", path, path],
        ["report", path, "--out", tmp_path / "r.html"],
    ):
        ran = cxredge(*command)
        assert ran.code == 1, command
        assert f"{path} is a bundle's archive" in ran.err, command
        assert f"cxredge deploy {path}" in ran.err
    assert list(tmp_path.iterdir()) == [path]


def test_build_packs_an_archive(
    cxredge: Run, model: Path, calibration: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    arguments = ["build", model, "--precision", "fp32", "--out", out, "--archive", "--json"]
    ran = cxredge(*arguments)
    assert ran.code == 0, ran.err
    assert ran.json["archive"] == str(archive_of(out)) == str(tmp_path / "bundle.tar")
    first = archive_of(out).read_bytes()
    archive_of(out).unlink()
    assert cxredge(*arguments).code == 0, "up to date, and packed again"
    assert archive_of(out).read_bytes() == first
