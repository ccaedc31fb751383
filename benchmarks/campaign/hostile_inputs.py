"""Hostile inputs for ``predict``: what is no file, small files of much work, lies in headers."""

from __future__ import annotations

import io
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

SIDE = 8000  # 64 million pixels, the most that are decoded
_PNG = b"\x89PNG\r\n\x1a\n"
_GREY = ("ok", "implausible", "not_scaled")  # read; a plain picture may be refused as no X-ray
_RNG = np.random.default_rng(24)
_NOISE = _RNG.integers(0, 256, (96, 96), np.uint8)


@dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        group: Kind of input, one row of the table.
        name: Name of the file.
        statuses: Status of each expected row; a tuple of alternatives counts for every row.
        make: Writes the input at a path.
        rows: Number of rows; 0 if the command refuses the input.
    """

    group: str
    name: str
    statuses: tuple[str, ...]
    make: Callable[[Path], object]
    rows: int = 1


def cases() -> list[Case]:
    """Return all inputs."""
    return [*_no_files(), *_png(), *_jpeg(), *_dicom(), *_zip(), *_names(), *_folders()]


def _no_files() -> list[Case]:
    group = "pipes, devices, sockets, endless files"
    unreadable, endless = ("unreadable",), ("empty", "unreadable", "too_large")
    links = {"zero": "/dev/zero", "tty": "/dev/tty", "full": "/dev/full"}
    found = [
        Case(group, f"pipe{end}", unreadable, os.mkfifo) for end in (".png", ".zip", ".dcm", "")
    ]
    found += [
        Case(group, f"{name}{end}", unreadable, _link(target))
        for name, target in links.items()
        for end in (".png", ".zip", ".dcm", "")
    ]
    found += [
        Case(group, f"{name}.png", endless, _link(f"/proc/{path}"))
        for name, path in {"kmsg": "kmsg", "memory": "self/mem", "pages": "self/pagemap"}.items()
    ]
    found += [
        Case(group, "socket.png", unreadable, _socket),
        Case(group, "sparse.png", ("too_large",), _sparse(_PNG, 2**41)),
        Case(group, "sparse.zip", ("unreadable", "too_large"), _sparse(b"PK\3\4", 2**41)),
        Case(
            group,
            "sparse.dcm",
            ("truncated", "bad_header", "too_large"),
            _sparse(_PREAMBLE, 600_000_000),
        ),
    ]
    return found


def _png() -> list[Case]:
    group, large = "PNG", ("too_large", *_GREY)
    bomb = zlib.compress(bytes(200_000_000))
    text = _chunk(b"zTXt", b"k\0\0" + bomb)
    profile = _chunk(b"iCCP", b"k\0\0" + bomb)
    damaged = ("unreadable", "truncated")
    many = b"".join(_chunk(b"tEXt", b"k%d\0v" % number) for number in range(150_000))
    return [
        Case(group, "text.png", damaged, _bytes(_png_of(64, 64, extra=text))),
        Case(group, "profile.png", (*damaged, *large), _bytes(_png_of(64, 64, extra=profile))),
        Case(group, "texts.png", (*damaged, *large), _bytes(_png_of(64, 64, extra=many))),
        Case(group, "beyond.png", ("truncated", *large), _bytes(_png_of(64, 64, data=bomb))),
        Case(group, "size.png", ("too_large",), _bytes(_png_of(2**31 - 1, 2**31 - 1, data=b"x"))),
        Case(group, "60000.png", ("too_large",), _bytes(_png_of(60_000, 60_000, data=bomb))),
        Case(group, "grey8.png", large, lambda path: path.write_bytes(_png_of(SIDE, SIDE))),
        Case(group, "grey16.png", large, lambda path: path.write_bytes(_png_of(SIDE, SIDE, 16))),
        Case(group, "rgba16.png", large, lambda path: path.write_bytes(_png_of(SIDE, SIDE, 16, 6))),
        Case(group, "wide.png", large, lambda path: path.write_bytes(_png_of(1_999_999, 32))),
    ]


def _jpeg() -> list[Case]:
    group = "JPEG"
    noise = _encode(Image.fromarray(_NOISE))
    segment = b"\xff\xe1\xff\xff" + b"Exif\0\0MM\0*\0\0\0\x08\xff\xff".ljust(65533, b"A")
    wrong = ("truncated", "unreadable", "implausible")
    return [
        Case(group, "header65500.jpg", ("too_large",), _bytes(_resized(noise, 65_500))),
        Case(group, "header8000.jpg", wrong, _bytes(_resized(noise, SIDE))),
        Case(group, "progressive.jpg", _GREY, lambda path: path.write_bytes(_progressive())),
        Case(group, "scans.jpg", ("unsupported",), lambda p: p.write_bytes(_scans(_progressive()))),
        Case(group, "exif.jpg", _GREY, _bytes(noise[:2] + 200 * segment + noise[2:])),
        Case(group, "cut.jpg", wrong, _bytes(noise[: len(noise) // 3])),
    ]


def _dicom() -> list[Case]:
    group = "DICOM"
    wrong = ("truncated", "bad_header", "unsupported", "no_pixels", "too_large")
    noise = _encode(Image.fromarray(_NOISE))
    pieces = [noise[start : start + 2] for start in range(0, len(noise), 2)]
    plane = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x40" * 600_000
    return [
        Case(group, "deflated3g", ("too_large",), _bytes(_deflated(3_000))),
        Case(group, "deflated600", ("too_large",), _bytes(_deflated(600))),
        Case(group, "deflated200", (*_GREY, *wrong), _bytes(_deflated(200))),
        Case(group, "rows65535", ("too_large",), _bytes(_dicom_of(Rows=65_535, Columns=65_535))),
        Case(group, "rows0", ("too_small", "bad_header"), _bytes(_dicom_of(Rows=0, Columns=0))),
        Case(group, "longer", wrong, _bytes(_dicom_of(Rows=192, Columns=192))),
        Case(group, "cut", wrong, _bytes(_dicom_of()[:-3000])),
        Case(group, "nested", (*wrong, *_GREY), _bytes(_nested(4_000))),
        Case(group, "fragments", wrong, _bytes(_jpeg_dicom([b""] * 1_000_000))),
        Case(group, "pieces", (*wrong, *_GREY), _bytes(_jpeg_dicom(pieces))),
        Case(group, "scans", ("unsupported", "bad_header"), _bytes(_jpeg_dicom([_scans(noise)]))),
        Case(group, "rle", (*wrong, *_GREY), _bytes(_compressed(RLELossless, [plane], SIDE))),
    ]


def _zip() -> list[Case]:
    group = "zip archives"
    damaged = ("truncated", "unreadable")
    inner = _png_of(64, 64)
    zeros = _PNG + bytes(100_000_000)
    good = _archive({"a.png": zeros})
    names = ("../a.png", "/etc/a.png", "a\\..\\b.png", "\x1b[31m.png", "n" * 60_000 + ".png")
    same, many = dict.fromkeys(names, inner), {f"{number}.txt": b"" for number in range(60_000)}
    packed = _archive({"a.png": inner}, zipfile.ZIP_LZMA)
    return [
        Case(group, "zeros.zip", damaged, _bytes(good)),
        Case(group, "three.zip", damaged, _bytes(_archive({f"{n}.png": zeros for n in "abc"})), 3),
        Case(group, "shared.zip", damaged, _bytes(_shared(good, 300)), 300),
        Case(group, "size.zip", (*damaged, "too_small"), _bytes(_stated(good, 300))),
        Case(group, "large.zip", ("too_large",), _bytes(_stated(good, 2**32 - 2))),
        Case(group, "method.zip", ("unsupported",), _bytes(packed)),
        Case(group, "nested.zip", ("nested_archive",), _bytes(_archive({"a.zip": good}))),
        Case(group, "names.zip", (*_GREY, *damaged), _bytes(_archive(same)), len(names)),
        Case(group, "cut.zip", damaged, _bytes(good[:5000])),
        Case(group, "noise.zip", damaged, _bytes(_RNG.bytes(5000))),
        Case(group, "empty.zip", ("empty", *damaged), _bytes(b"")),
        Case(group, "members.zip", (), _bytes(_archive(many)), 0),
    ]


def _names() -> list[Case]:
    names = [b"\x1b[2J\x07.png", b"l\xe9on.png", b"new\nline.png", b"=cmd|x!A0.png", b"@SUM(1).png"]
    names += ["\u202egnp.png".encode(), b"a\rb.png", b'"a,b".png', b"n" * 250 + b".png"]
    return [
        Case("file names", os.fsdecode(name), ("unreadable",), _bytes(b"no image"))
        for name in names
    ]


def _folders() -> list[Case]:
    group = "folders and links"
    return [
        Case(group, "loop.png", ("unreadable",), _link("loop.png"), 0),
        Case(group, "nowhere.png", ("missing",), _link("nowhere"), 0),
        Case(group, "text.png", ("unreadable",), _link("/etc/passwd")),
        Case(group, "self", ("unreadable",), _self_link),
        Case(group, "deep", _GREY, _deep),
    ]


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _link(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def _sparse(head: bytes, size: int) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        with path.open("wb") as stream:
            stream.write(head)
            stream.truncate(size)

    return make


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the path of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)


def _self_link(path: Path) -> None:
    path.mkdir()
    (path / "a").symlink_to(".")
    (path / "x.png").write_bytes(b"no image")


def _deep(path: Path) -> None:
    folder = path
    for number in range(15):
        folder = folder / (f"{number}" + "x" * 200)
    folder.mkdir(parents=True)
    Image.fromarray(_NOISE).save(folder / "a.png")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png_of(
    width: int,
    height: int,
    depth: int = 8,
    colour: int = 0,
    data: bytes | None = None,
    extra: bytes = b"",
) -> bytes:
    if data is None:
        row = b"\0" + b"\x90" * (width * depth // 8 * (4 if colour == 6 else 1))
        packer = zlib.compressobj(1)
        data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0)
    return _PNG + _chunk(b"IHDR", head) + extra + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _encode(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


def _progressive() -> bytes:
    return _encode(Image.new("L", (SIDE, SIDE), 90), progressive=True, quality=1)


def _resized(jpeg: bytes, side: int) -> bytes:
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + struct.pack(">2H", side, side) + jpeg[place + 4 :]


def _scans(jpeg: bytes) -> bytes:
    return jpeg[:-2] + jpeg[jpeg.rindex(b"\xff\xda") : -2] * 500 + jpeg[-2:]


_PREAMBLE = bytes(128) + b"DICM"


def _dicom_of(syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    kind = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = kind
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    usual = {
        "Modality": "DX", "PresentationIntentType": "FOR PRESENTATION", "ViewPosition": "PA",
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "Rows": 96,
        "Columns": 96, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7,
        "PixelRepresentation": 0, "PixelData": _NOISE.tobytes(),
    }  # fmt: skip
    for name, value in (usual | attributes).items():
        setattr(dataset, name, value)
    dataset["PixelData"].is_undefined_length = "PixelData" in attributes
    dataset["PixelData"].VR = "OB"
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _compressed(syntax: str, frames: list[bytes], side: int) -> bytes:
    return _dicom_of(syntax, Rows=side, Columns=side, PixelData=encapsulate(frames))


def _jpeg_dicom(fragments: list[bytes]) -> bytes:
    items = b"".join(
        b"\xfe\xff\x00\xe0" + struct.pack("<I", len(piece)) + piece for piece in fragments
    )
    table = b"\xfe\xff\x00\xe0\0\0\0\0"
    return _dicom_of(JPEGBaseline8Bit, PixelData=table + items)


def _deflated(megabytes: int) -> bytes:
    """Return a deflated data set with zeros after the pixels."""
    plain = _dicom_of()
    start = plain.index(b"\x08\x00\x16\x00UI")
    meta = _dicom_of(DeflatedExplicitVRLittleEndian)
    end = 132 + 12 + struct.unpack_from("<I", meta, 140)[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(plain[start:])
    body += b"".join(packer.compress(bytes(1_000_000)) for _ in range(megabytes))
    return meta[:end] + body + packer.flush()


def _nested(depth: int) -> bytes:
    """Return a file with a sequence in a sequence in a sequence."""
    begin = (
        struct.pack("<2H", 0x28, 0x3010) + b"SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\0\xe0" + b"\xff" * 4
    )
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    plain = _dicom_of()
    place = plain.index(b"\xe0\x7f\x10\x00")
    return plain[:place] + begin * depth + end * depth + plain[place:]


def _archive(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _shared(archive: bytes, entries: int) -> bytes:
    """Return an archive with many entries over the data of one."""
    begin, end = archive.index(b"PK\1\2"), archive.index(b"PK\5\6")
    size = (end - begin) * entries
    counts = struct.pack("<2H2IH", entries, entries, size, begin, 0)
    return archive[:begin] + archive[begin:end] * entries + archive[end : end + 8] + counts


def _stated(archive: bytes, size: int) -> bytes:
    """Return an archive whose first entry states another size."""
    place = archive.index(b"PK\1\2") + 24
    return archive[:place] + struct.pack("<I", size) + archive[place + 4 :]
