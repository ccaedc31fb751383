"""Image files as a camera, a tool or an accident writes them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from cxredge.data.manifest import Entry
from cxredge.vocabulary import Split

NOISE = np.random.default_rng(7).integers(0, 256, (48, 48), dtype=np.uint8)
GREY, GREY_ALPHA, RGB, PALETTE = 0, 4, 2, 3


def encode(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def save(path: Path, image: Image.Image, image_format: str = "PNG", **options: object) -> Path:
    path.write_bytes(encode(image, image_format, **options))
    return path


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def handmade_png(
    width: int, height: int, rows: bytes, depth: int = 8, colour: int = GREY, extra: bytes = b""
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def graded(grey: int, side: int = 32) -> Image.Image:
    """Return a gradient, which can be an X-ray, whose first quarter is one grey value."""
    values = np.tile(np.linspace(30, 220, side).astype(np.uint8), (side, 1))
    values[: side // 4, : side // 4] = grey
    return Image.fromarray(values)


def picture(path: Path, grey: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    graded(grey).save(path, "PNG")
    return path


def entry(path: Path, label: str = "normal", split: Split = Split.TRAIN, **more: str) -> Entry:
    return Entry(path=path, label=label, split=split, **{"patient": "p", "source": "s", **more})


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
