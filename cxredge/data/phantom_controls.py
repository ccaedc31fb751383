"""Generated controls: pictures that show none of the phantoms' classes.

They have random streams of their own, so that the phantoms do not change with them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxredge.data.phantom_anatomy import Plane, X, Y, clouds, edge, ellipse, strokes, tree
from cxredge.data.phantom_exposure import expose
from cxredge.data.phantoms import fill_folder, render_phantom

_FIRST_PATIENT = 100_000
"""Number of the first patient with another finding: far from those of the classes."""
_STREAM = 9
_LEAST = 3


def write_phantom_controls(
    directory: Path,
    patients_per_class: int,
    size: int = 256,
    seed: int = 0,
    on_image: Callable[[], None] | None = None,
) -> int:
    """Write a folder per kind, such as ``directory/lateral/control-0003-1.png``, or nothing.

    Args:
        directory: Folder to write; it must be new, empty, or hold the same pictures already.
        patients_per_class: Number of patients of each class; each kind has a third of it.
        size: Height and width in pixels.
        seed: Seed of the whole collection.
        on_image: Called after every picture.

    Returns:
        The number of pictures.

    Raises:
        DataError: The folder holds something else.
    """
    each = max(_LEAST, patients_per_class // 3)

    def draw(folder: Path) -> int:
        for number in range(each * len(KINDS)):
            kind = list(KINDS)[number // each]
            (folder / kind).mkdir(exist_ok=True)
            picture = Image.fromarray(render_control(kind, number, size, seed))
            picture.save(folder / kind / f"control-{number:04d}-1.png", compress_level=1)
            if on_image is not None:
                on_image()
        return each * len(KINDS)

    return fill_folder(directory, list(KINDS), draw)


def render_control(kind: str, number: int, size: int = 256, seed: int = 0) -> NDArray[np.uint8]:
    """Draw one control, uint8 (size, size); the same arguments draw the same pixels.

    Args:
        kind: One of ``KINDS``.
        number: Number of the patient, 0 or more.
        size: Height and width in pixels, 32 or more.
        seed: Seed of the whole collection.
    """
    draw = KINDS[kind]
    if draw is None:
        return render_phantom("sars", _FIRST_PATIENT + number, 0, size, seed)
    film = draw(np.random.default_rng([seed, number, _STREAM]))
    position = np.random.default_rng([seed, number, _STREAM, 1])
    image = Image.fromarray(expose(film, position, np.random.default_rng([seed, number, 10])))
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))


def _lateral(rng: np.random.Generator) -> Plane:
    """Draw a chest from the side: the breastbone on the left of the image, the spine on the right.

    Returns:
        Attenuation, float32 (256, 256), about 0 to 1.2.
    """
    front, back = rng.uniform(-0.74, -0.62), rng.uniform(0.60, 0.72)
    inside = np.minimum(X - front, back - X)
    dome = rng.uniform(0.42, 0.58) + 0.45 * (X - 0.1) ** 2
    depth = np.minimum(np.minimum(inside - 0.10, dome - Y), Y + rng.uniform(0.72, 0.82))
    lung = edge(depth, 0.02)
    heart = ellipse(front + 0.42, rng.uniform(0.12, 0.24), rng.uniform(0.24, 0.32), 0.24)
    course = back - 0.16 - 0.10 * np.cos(1.6 * Y + rng.uniform(-0.3, 0.3))
    vertebrae = 0.75 + 0.25 * np.cos((Y + rng.uniform(0.0, 0.1)) * rng.uniform(28.0, 34.0))
    spine = np.exp(-(((X - course) / 0.11) ** 4)) * vertebrae
    vessels = strokes(tree(rng, 8, 0.36), 3, rng.uniform(0.06, 0.10))
    tissue = (0.35 + 0.25 * edge(Y - dome, 0.03)) * edge(inside, 0.03) + 0.30 * spine
    air = lung * (1.0 - 0.8 * heart) * (0.22 + 0.10 * np.clip(depth / 0.3, 0.0, 1.0))
    return np.asarray(tissue - air + vessels * lung + 0.05 * heart, np.float32)


def _limb(rng: np.random.Generator) -> Plane:
    """Draw a forearm or a lower leg: two long bones in soft tissue, and the joint above them.

    Returns:
        Attenuation, float32 (256, 256), about 0 to 1.2.
    """
    middle, half = rng.uniform(-0.12, 0.12), rng.uniform(0.34, 0.48)
    lean = rng.uniform(-0.15, 0.15) * Y
    across = X - middle - lean
    width = half * (1.0 + 0.18 * np.cos(2.2 * Y + rng.uniform(-0.5, 0.5)))
    tissue = 0.34 * edge(width - np.abs(across), 0.03)
    joint = rng.uniform(-0.55, -0.35)
    bones = np.zeros_like(tissue)
    for side, thick in ((-1.0, rng.uniform(0.10, 0.13)), (1.0, rng.uniform(0.06, 0.10))):
        flare = thick * (1.0 + 1.1 * np.exp(-(((Y - joint) / 0.16) ** 2)))
        offset = np.abs(across - side * half * rng.uniform(0.40, 0.50))
        shaft = edge(flare - offset, 0.012)
        marrow = 0.45 * edge(0.55 * flare - offset, 0.02)
        bones = np.maximum(bones, shaft * (1.0 - marrow) * edge(Y - joint, 0.015))
    above = edge(0.34 - np.abs(across), 0.02) * edge(joint - 0.05 - Y, 0.015)
    return np.asarray(tissue + 0.55 * np.maximum(bones, above) + 0.02 * clouds(rng, 30), np.float32)


KINDS: dict[str, Callable[[np.random.Generator], Plane] | None] = {
    "lateral": _lateral,
    "other body part": _limb,
    "other finding": None,
}
"""Kinds of controls; None for a frontal chest with another disease."""
