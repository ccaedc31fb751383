"""A file to a grey square: what a device does first with every X-ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.data.images import load_grey
from cxredge.data.phantoms import render_phantom

KINDS = {
    "png-1024": ("png", 1024, "L"),
    "png-1024-16-bit": ("png", 1024, "I;16"),
    "png-1024-rgb": ("png", 1024, "RGB"),
    "jpeg-2048": ("jpg", 2048, "L"),
    "jpeg-1024-rgb": ("jpg", 1024, "RGB"),
    "jpeg-224": ("jpg", 224, "L"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_phantom(benchmark, kind: str, tmp_path: Path) -> None:
    ending, side, mode = KINDS[kind]
    path, grey = tmp_path / f"image.{ending}", render_phantom("viral", 1, 0, side)
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(grey).convert(mode).save(path)
    assert benchmark(load_grey, path, 224).shape == (224, 224)


def test_images(benchmark, images: list[Path], size: int) -> None:
    """Some of the images of ``--images``, or of the phantoms of the collection."""
    some = images[:: max(1, len(images) // 20)][:20]
    squares = benchmark(lambda: [load_grey(path, size) for path in some])
    benchmark.extra_info["images"] = len(some)
    assert {square.shape for square in squares} == {(size, size)}
