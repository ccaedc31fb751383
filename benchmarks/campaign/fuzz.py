"""Mutated DICOM, PNG, JPEG and zip files: one row for each image, no traceback."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from benchmarks.campaign.child import run_limited, small_bundle
from benchmarks.campaign.section import Section
from tests.dicom_files import dicom

FILES = 10_000
SEEDS = (1, 2)
SECONDS = 1800
MEMORY_MB = 6000
COLUMNS = (
    "seed",
    "files",
    "rows",
    "files without a row",
    "ended",
    "seconds",
    "peak MB",
    "statuses",
)
_EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\1")


def run(scratch: Path) -> Section:
    bundle = small_bundle(scratch)
    rows = tuple(_run(seed, bundle, scratch) for seed in SEEDS)
    notes = (
        f"{FILES} files per run, each a valid file changed in 1 to 50 places: bytes replaced, "
        "inserted, deleted, repeated, replaced by extremes or by a part of another file, and cut. "
        f"One process predicts them all within {MEMORY_MB} MB of address space. A zip archive has "
        "a row for each image in it, or one if it cannot be opened.",
    )
    return Section("Mutated images", COLUMNS, rows, notes)


def _run(seed: int, bundle: Path, scratch: Path) -> tuple[str, ...]:
    folder, out = scratch / f"fuzz-{seed}", scratch / f"fuzz-{seed}.jsonl"
    write_files(folder, FILES, seed)
    ended = run_limited(
        "predict", bundle, folder, "--out", out, "--json", seconds=SECONDS, memory_mb=MEMORY_MB
    )
    found = [json.loads(line) for line in out.open()] if out.exists() else []
    paths = Counter(row["path"] for row in found)
    missing = [path for path in folder.iterdir() if paths[str(path)] != 1 and path.suffix != ".zip"]
    statuses = Counter(row["status"] for row in found)
    shutil.rmtree(folder)
    return (
        str(seed), str(FILES), str(len(found)), str(len(missing)), ended.outcome.value,
        f"{ended.seconds:.0f}", f"{ended.peak_mb:.0f}",
        ", ".join(f"{count} {name}" for name, count in sorted(statuses.items())),
    )  # fmt: skip


def write_files(folder: Path, count: int, seed: int) -> None:
    """Write mutated files, the same for the same seed."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    originals = list(_originals(rng))
    for number in range(count):
        kind, content = originals[number % len(originals)]
        other = originals[int(rng.integers(len(originals)))][1]
        (folder / f"{number:05}.{kind}").write_bytes(mutate(content, other, rng))


def mutate(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with 1 to 50 changes, many of them near its beginning."""
    data = bytearray(content)
    for _ in range(int(rng.choice((1, 1, 2, 3, 10, 50)))):
        reach = min(len(data), int(rng.choice((48, 512, 2**30))))
        place = int(rng.integers(reach + 1))
        length = int(rng.choice((1, 2, 4, 32, 200)))
        end = place + length
        kind = int(rng.integers(7))
        if kind == 0:
            data[place : place + 1] = rng.bytes(1)
        elif kind == 1:
            data[place:place] = rng.bytes(length)
        elif kind == 2:
            del data[place:end]
        elif kind == 3:
            data[place:place] = data[place:end] * int(rng.integers(1, 5))
        elif kind == 4:
            data[place : place + 4] = _EXTREMES[int(rng.integers(len(_EXTREMES)))]
        elif kind == 5:
            start = int(rng.integers(len(other)))
            data[place:end] = other[start : start + length]
        elif rng.random() < 0.1:
            del data[place:]
    return bytes(data)


def _originals(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    # A gradient with some noise: noise alone is refused as no X-ray.
    rising = np.linspace(200, 3600, 80 * 72).reshape(80, 72)
    deep = (rising + rng.integers(-200, 200, (80, 72))).astype(np.uint16)
    grey = (deep // 16).astype(np.uint8)
    image = Image.fromarray(grey)
    pictures = {
        "png": [image, image.convert("P"), image.convert("RGBA"), Image.fromarray(deep * 16)],
        "jpg": [image, image.convert("RGB"), image.convert("CMYK")],
    }
    made = []
    for kind, images in pictures.items():
        for number, picture in enumerate(images):
            stream = io.BytesIO()
            options = {"progressive": True} if kind == "jpg" and number == 1 else {}
            picture.save(stream, "PNG" if kind == "png" else "JPEG", **options)
            made.append((kind, stream.getvalue()))
    for syntax in (
        ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian,
        RLELossless, JPEG2000Lossless,
    ):  # fmt: skip
        made.append(
            ("dcm", dicom(deep, syntax, BitsStored=12, WindowCenter=2000, WindowWidth=3000))
        )
    made.append(("dcm", dicom(grey, JPEGBaseline8Bit)))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (kind, content) in enumerate(made):
            # A fixed date: the same seed gives the same bytes.
            archive.writestr(zipfile.ZipInfo(f"{number}.{kind}"), content, zipfile.ZIP_DEFLATED)
    yield from [*made, ("zip", stream.getvalue())]
