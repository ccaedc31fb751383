"""Image decoders: time per image, and whether the pixels stay the same.

    python benchmarks/decoders.py --cohen DIR --kermany DIR --work WORK \
        --out benchmarks/results/decoders

Each decoder converts the bytes of a file to a grey array in its fastest way (JPEGs at the reduced
size that :func:`cxredge.data.images.load_grey` uses, if the decoder supports it). For each image,
the decoders run in random order. Their output passes through the remaining preprocessing and is
compared with ``load_grey``. Decoders that are not installed are skipped and listed.
"""

from __future__ import annotations

import argparse
import importlib
import io
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from image_sets import SETS, add_arguments, make_set
from PIL import Image

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.data.images import load_grey
from cxredge.telemetry.linux import read_machine

Decode = Callable[[bytes], np.ndarray]
SIDE, IMAGES = 224, 100
REFERENCE = "Pillow"


def _fraction(content: bytes) -> int:
    """Return the largest divisor of a JPEG's sides that keeps them as long as the result's."""
    with Image.open(io.BytesIO(content)) as image:
        shortest = min(image.size) // SIDE
    return next((part for part in (8, 4, 2) if part <= shortest), 1)


def _pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        image.draft("L", (SIDE, SIDE))
        return np.asarray(image.convert("L"))


def _opencv(cv2: Any, content: bytes) -> np.ndarray:
    flag = cv2.IMREAD_GRAYSCALE
    if content.startswith(b"\xff\xd8") and (part := _fraction(content)) > 1:
        flag = getattr(cv2, f"IMREAD_REDUCED_GRAYSCALE_{part}")
    return cv2.imdecode(np.frombuffer(content, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)


def _torchvision(module: Any, content: bytes) -> np.ndarray:
    import torch

    data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return module.decode_image(data, mode=module.ImageReadMode.GRAY)[0].numpy()


def _simplejpeg(module: Any, content: bytes) -> np.ndarray:
    return module.decode_jpeg(
        content, colorspace="GRAY", min_height=SIDE, min_width=SIDE, min_factor=_fraction(content)
    )[..., 0]


def _turbojpeg(module: Any, content: bytes) -> np.ndarray:
    return _turbo_library(module).decode(
        content, pixel_format=module.TJPF_GRAY, scaling_factor=(1, _fraction(content))
    )[..., 0]


@cache
def _turbo_library(module: Any) -> Any:
    return module.TurboJPEG()


def _imagecodecs(module: Any, content: bytes) -> np.ndarray:
    if content.startswith(b"\xff\xd8"):
        return module.jpeg8_decode(content, outcolorspace="GRAYSCALE").squeeze()
    return _grey(module.png_decode(content))


def _spng(module: Any, content: bytes) -> np.ndarray:
    return _grey(module.spng_decode(content))


def _grey(values: np.ndarray) -> np.ndarray:
    return values if values.ndim == 2 else np.asarray(Image.fromarray(values).convert("L"))


# Name, package, module, function, and the files that it can read.
DECODERS = (
    (REFERENCE, "pillow", "PIL", lambda _, content: _pillow(content), ("png", "jpeg")),
    ("OpenCV", "opencv-python-headless", "cv2", _opencv, ("png", "jpeg")),
    ("torchvision", "torchvision", "torchvision.io", _torchvision, ("png", "jpeg")),
    ("simplejpeg", "simplejpeg", "simplejpeg", _simplejpeg, ("jpeg",)),
    ("PyTurboJPEG", "PyTurboJPEG", "turbojpeg", _turbojpeg, ("jpeg",)),
    ("imagecodecs", "imagecodecs", "imagecodecs", _imagecodecs, ("png", "jpeg")),
    ("imagecodecs, spng", "imagecodecs", "imagecodecs", _spng, ("png",)),
)


def main() -> None:
    arguments = _arguments()
    decoders, missing = _installed()
    found: dict[str, Any] = {
        "machine": to_json(read_machine()),
        "tools": tool_versions("numpy", *dict.fromkeys(d[1] for d in DECODERS)),
        "not_installed": missing,
        "sets": {},
    }
    for name in arguments.sets:
        paths = sorted(make_set(name, arguments).iterdir())
        readers = {n: decode for n, (decode, kinds) in decoders.items() if name.startswith(kinds)}
        found["sets"][name] = _measure(paths[:: len(paths) // IMAGES], readers, arguments.rounds)
        print(*_rows(found["sets"][name]), sep="\n", flush=True)
    write_json(arguments.out.with_suffix(".json"), found)
    write_text(arguments.out.with_suffix(".md"), _page(found))


def _installed() -> tuple[dict[str, tuple[Decode, tuple[str, ...]]], list[str]]:
    decoders, missing = {}, []
    for name, package, module, decode, kinds in DECODERS:
        try:
            metadata.version(package)
            decoders[name] = (partial(decode, importlib.import_module(module)), kinds)
        except ImportError:
            missing.append(name)
    return decoders, missing


def _measure(paths: Sequence[Path], readers: dict[str, Decode], rounds: int) -> dict[str, Any]:
    contents = [path.read_bytes() for path in paths]
    ours = [load_grey(path, SIDE) for path in paths]
    theirs = {name: [_square(decode, c) for c in contents] for name, decode in readers.items()}
    common = [c for c, made in zip(contents, zip(*theirs.values(), strict=True), strict=True)
              if all(square is not None for square in made)]  # fmt: skip
    times = _times_ms(common, readers, rounds)
    return {
        name: {"ms": times[name], "timed": len(common), **_compare(theirs[name], ours)}
        for name in readers
    }


def _times_ms(
    contents: Sequence[bytes], readers: dict[str, Decode], rounds: int
) -> dict[str, list[float]]:
    """Return the mean processor time per image in milliseconds by decoder, one value per round."""
    order, taken = random.Random(0), {name: [0.0] * (rounds + 1) for name in readers}
    for number in range(rounds + 1):
        for content in contents:
            for name in order.sample(list(readers), len(readers)):
                start = time.process_time()
                readers[name](content)
                taken[name][number] += 1000 * (time.process_time() - start) / len(contents)
    return {name: values[1:] for name, values in taken.items()}


def _square(decode: Decode, content: bytes) -> np.ndarray | None:
    """Return the preprocessed pixels of a decoder; None if it refuses the file."""
    try:
        grey = Image.fromarray(np.ascontiguousarray(decode(content)))
    except Exception:  # each library has its own
        return None
    if grey.size != (SIDE, SIDE):
        grey = grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(grey)


def _compare(theirs: Sequence[np.ndarray | None], ours: Sequence[np.ndarray]) -> dict[str, int]:
    differences = [
        np.abs(a.astype(int) - b.astype(int))
        for a, b in zip(theirs, ours, strict=True)
        if a is not None
    ]
    return {
        "images": len(ours),
        "refused": len(ours) - len(differences),
        "identical": sum(not difference.any() for difference in differences),
        "largest_difference": int(max((d.max() for d in differences), default=0)),
    }


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def _rows(measured: dict[str, Any]) -> list[str]:
    base, rows = measured[REFERENCE]["ms"], []
    for name, one in measured.items():
        ratios = [ours / theirs for ours, theirs in zip(base, one["ms"], strict=True)]
        cells = [
            name,
            _spread(one["ms"]),
            _spread(ratios),
            f"{one['identical']} of {one['images']}",
            str(one["refused"]),
            str(one["largest_difference"]),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _page(found: dict[str, Any]) -> str:
    machine = found["machine"]
    lines = [
        "# Decoders",
        "",
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_flags'])}), "
        f"{machine['system']}. Versions: "
        f"{', '.join(f'{name} {version}' for name, version in found['tools'].items())}. Bytes in "
        f"memory to a grey array, processor time; medians and ranges over rounds of {IMAGES} "
        "images (fewer where a decoder refuses some), all decoders in random order at each image. "
        "*Identical* counts images whose square, made of what the decoder gave, is that of "
        "`load_grey` to the last bit; the largest difference is in grey values of 255.",
    ]
    if found["not_installed"]:
        lines += ["", f"Not installed, so not measured: {', '.join(found['not_installed'])}."]
    for name, measured in found["sets"].items():
        lines += [
            "",
            f"## {SETS[name]}",
            "",
            "| decoder | ms an image | times as fast as Pillow | identical | refused "
            "| largest difference |",
            "|---|---|---|---|---|---|",
            *_rows(measured),
        ]
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    parser.add_argument("--rounds", type=int, default=5)
    add_arguments(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
