"""Generated chest radiographs, to try the toolkit without any patient's image.

A phantom is a drawing, not a simulation: good enough for a network to learn from, and of no
diagnostic value. Positions are in a frame where x and y run from -1 to 1, y downwards; as on a
real film, the patient's left, with the heart, is on the image's right. ``u`` is ``abs(x)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from cxredge.errors import DataError

LABELS = ("bacterial", "covid19", "normal", "viral")
ALL_LABELS = ("bacterial", "covid19", "normal", "sars", "viral")

Plane = NDArray[np.floating[Any]]  # One value per pixel; float32 wherever it is kept.

_SIDE = 256  # Every phantom is drawn at this size, then resized: the cost does not depend on size.
_MIN_SIZE = 32
_AXIS = np.linspace(-1.0, 1.0, _SIDE, dtype=np.float32)
_X, _Y = _AXIS[None, :], _AXIS[:, None]
_U, _LEFT = np.abs(_X), _X > 0

# One round of file kinds; the counter runs on over the classes, so a kind never tells the label.
_RARE_KINDS = {2: "jpeg", 4: "grey16", 6: "rgb", 8: "cropped", 10: "jpeg"}  # Else plain grey.
_ROUND = 13


@dataclass(frozen=True)
class _Anatomy:
    """One patient's chest; the planes are float32 (256, 256) and read-only.

    Attributes:
        tissue: Attenuation of everything but air, about 0 to 1.2.
        air: What air-filled lung takes off ``tissue``, 0 to about 0.5.
        lungs: Lung mask with soft edges, 0 to 1.
        outer: Half-width of the lungs at their widest.
        base: Height of the diaphragm's domes, image left then image right.
    """

    tissue: Plane
    air: Plane
    lungs: Plane
    outer: float
    base: tuple[float, float]


def render_phantom(
    label: str, patient: int, exposure: int, size: int = 256, seed: int = 0
) -> NDArray[np.uint8]:
    """Draw one radiograph; the same arguments give the same pixels.

    The anatomy follows from ``seed`` and ``patient`` alone. The exposure changes the technique
    (position, brightness, contrast, noise) and, a little, the course of the disease.

    Args:
        label: One of ``ALL_LABELS``.
        patient: Patient's number, 0 or more.
        exposure: Number of the patient's image, 0 or more.
        size: Height and width in pixels, 32 or more.
        seed: Seed of the whole collection, 0 or more.

    Returns:
        uint8 array of shape (size, size), 0 (dark) to 255 (bright).

    Raises:
        DataError: The label is unknown, the size too small or a number negative.
    """
    _check(label, size, min(patient, exposure, seed))
    anatomy = _anatomy(seed, patient)
    shot = np.random.default_rng([seed, patient, 2, exposure])
    course = float(shot.uniform(0.85, 1.15))
    disease = np.random.default_rng([seed, patient, 1, ALL_LABELS.index(label)])
    density = np.clip(_DISEASES[label](disease, anatomy, course), 0.0, 0.95)
    film = anatomy.tissue - anatomy.air * (1.0 - density)
    image = Image.fromarray(_expose(film, shot))
    if size != _SIDE:
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _check(label: str, size: int, least_number: int) -> None:
    if label not in ALL_LABELS:
        raise DataError(f"No phantom has the label {label!r}.", f"Use one of {ALL_LABELS}.")
    if size < _MIN_SIZE:
        raise DataError(
            f"A phantom of {size} pixels is too small.", f"Ask for {_MIN_SIZE} or more."
        )
    if least_number < 0:
        raise DataError(f"Patient, exposure or seed is {least_number}.", "Give 0 or more.")


@lru_cache(maxsize=4)
def _anatomy(seed: int, patient: int) -> _Anatomy:
    """Draw the patient's healthy chest; cached because exposures of one patient come in a row."""
    rng = np.random.default_rng([seed, patient, 0])
    outer, apex = rng.uniform(0.66, 0.76), rng.uniform(-0.80, -0.70)
    base = rng.uniform(0.40, 0.56)
    bases = (base, base + rng.uniform(0.03, 0.09))  # The liver lifts the patient's right dome.
    dome = (
        np.where(_LEFT, np.float32(bases[1]), np.float32(bases[0]))
        + rng.uniform(1.2, 1.7) * (_U - 0.36) ** 2
    )
    depth = _lung_depth(rng, outer, apex, dome)
    lungs = _edge(depth, 0.012)
    heart = _heart(rng, bases[1])
    open_lungs = lungs * (1.0 - 0.88 * heart)  # The heart hides most of the lung behind it.
    bones = _ribs(rng, open_lungs, outer) + _spine(rng) + _clavicles(rng)
    vessels = _strokes(_tree(rng, 9, 0.42), 3, rng.uniform(0.06, 0.11))
    tissue = _body(rng, outer, dome) + _mediastinum(rng) + 0.07 * heart + bones
    tissue += (vessels + _hila()) * open_lungs
    air = open_lungs * (0.26 + 0.18 * np.sqrt(np.clip(depth / 0.22, 0.0, 1.0)))
    for plane in (tissue, air, lungs):
        plane.flags.writeable = False  # Shared by the cache.
    return _Anatomy(tissue, air, lungs, outer, bases)


def _edge(distance: Plane, softness: float) -> Plane:
    """Turn a signed distance (positive inside) into a mask with a soft edge, 0 to 1."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / (2.0 * softness)), np.float32)


def _ellipse(x: float, y: float, width: float, height: float, softness: float = 0.03) -> Plane:
    """Mask of an upright ellipse given by its half-axes, 0 to 1."""
    radius = np.sqrt(((_X - x) / width) ** 2 + ((_Y - y) / height) ** 2)
    return _edge((1.0 - radius) * min(width, height), softness)


def _lung_depth(rng: np.random.Generator, outer: float, apex: float, dome: Plane) -> Plane:
    """Signed distance to the lungs' border, positive inside."""
    rise = np.clip((0.30 - _Y) / (0.30 - apex), 0.0, 1.0)
    sides = (outer * rng.uniform(0.97, 1.03, 2)).astype(np.float32)
    widest = np.where(_LEFT, sides[1], sides[0]) + 0.05 * np.maximum(_Y - 0.3, 0.0)
    inner = rng.uniform(0.10, 0.13) + 0.03 * np.cos(3.0 * _Y + rng.uniform(0.0, 6.0))
    top = rng.uniform(0.27, 0.32)  # Both borders meet above here, so that the apex is round.
    lateral = top + (widest - top) * np.sqrt(1.0 - rise ** rng.uniform(1.7, 2.3))
    medial = top - (top - inner) * np.sqrt(1.0 - rise**5)
    closed = np.minimum(np.minimum(lateral - _U, _U - medial), dome - _Y)
    return np.asarray(np.minimum(closed, _Y - apex), np.float32)


def _body(rng: np.random.Generator, outer: float, dome: Plane) -> Plane:
    """Soft tissue: chest wall, shoulders, neck, abdomen and the stomach's bubble."""
    wall = outer + rng.uniform(0.12, 0.20) + 0.45 * _edge(-0.42 - _Y, 0.05)
    shoulder = -1.02 + 0.40 * np.clip((_U - 0.22) / 0.75, 0.0, 1.0) ** 1.4
    chest = np.sqrt(np.clip(1.0 - (_U / wall) ** 4, 0.0, 1.0))
    tissue = (0.18 + 0.42 * chest) * _edge(wall - _U, 0.02) * _edge(_Y - shoulder, 0.03)
    abdomen = 0.12 * _edge(_Y - dome, 0.03) * chest
    bubble = _ellipse(rng.uniform(0.32, 0.42), rng.uniform(0.76, 0.84), 0.13, 0.07)
    return np.asarray(tissue + abdomen - 0.12 * bubble, np.float32)


def _heart(rng: np.random.Generator, base: float) -> Plane:
    """Mask of the heart and the aortic knob, 0 to 1."""
    size, low = rng.uniform(0.25, 0.34), base - rng.uniform(0.13, 0.18)
    lean = 0.40 * (_Y - low)  # The tip of the heart points down and to the patient's left.
    radius = np.sqrt(((_X - 0.11 - lean) / size) ** 2 + ((_Y - low) / (size * 0.98)) ** 2)
    knob = _ellipse(0.10, rng.uniform(-0.34, -0.26), rng.uniform(0.07, 0.11), 0.10, 0.014)
    return np.maximum(_edge((1.0 - radius) * size, 0.016), knob)


def _mediastinum(rng: np.random.Generator) -> Plane:
    """Great vessels, wider towards the heart, and the dark windpipe with its fork."""
    width = rng.uniform(0.15, 0.19) + 0.03 * np.sin(2.5 * _Y)
    trunk = np.exp(-((_U / width) ** 4)) * _edge(_Y + 0.75, 0.12)
    fork = np.maximum(_Y + 0.22, 0.0)  # Below here the windpipe parts into the two main bronchi.
    windpipe = np.exp(-(((np.abs(_X + 0.01) - fork) / 0.04) ** 4)) * _edge(-0.10 - _Y, 0.03)
    return np.asarray(0.07 * trunk - 0.08 * windpipe, np.float32)


def _hila() -> Plane:
    """Haze where the vessels enter the lungs."""
    radius = ((_U - 0.20) / 0.08) ** 2 + ((_Y + 0.02) / 0.13) ** 2
    return np.asarray(0.10 * np.exp(-radius), np.float32)


def _ribs(rng: np.random.Generator, lungs: Plane, outer: float) -> Plane:
    """Back ribs arching down and outwards, and fainter front ribs running the other way."""
    gap, start = rng.uniform(0.135, 0.175), rng.uniform(-0.1, 0.1)
    arch = rng.uniform(0.8, 1.2) * (_U - 0.22) ** 2 * (1.0 - 0.4 * _Y)
    phase = (_Y - arch + start) / gap
    offset = phase - np.round(phase)
    back = np.exp(-((offset / 0.23) ** 4)) * (0.75 + 6.0 * offset**2)  # Cortex: brighter rims.
    slope = rng.uniform(0.45, 0.65)
    phase = (_Y + slope * (_U - 0.2) - 0.3 * (_U - 0.2) ** 2 + start) / (1.15 * gap)
    front = np.exp(-(((phase - np.round(phase)) / 0.22) ** 4)) * _edge(_U - 0.34, 0.05)
    cage = _edge(outer + 0.05 - _U, 0.02) * _edge(_Y + 0.78, 0.04) * _edge(0.75 - _Y, 0.1)
    strength = rng.uniform(0.07, 0.11)
    return np.asarray(strength * cage * (back + 0.45 * front) * (0.35 + 0.65 * lungs), np.float32)


def _spine(rng: np.random.Generator) -> Plane:
    """Vertebral column: a bright band with a dark disc space at each step."""
    gap = rng.uniform(0.12, 0.15)
    discs = 0.5 + 0.5 * np.cos(2.0 * np.pi * _Y / gap)
    return np.asarray((0.07 - 0.035 * discs**6) * _edge(0.085 - _U, 0.012), np.float32)


def _clavicles(rng: np.random.Generator) -> Plane:
    """Two slender S-shaped bones from the breastbone up to the shoulders."""
    height, slope = rng.uniform(-0.60, -0.52), rng.uniform(0.15, 0.35)
    course = height - slope * _U + 0.035 * np.sin(7.0 * _U)
    band = _edge(0.030 - np.abs(_Y - course), 0.008)
    return np.asarray(0.13 * band * _edge(_U - 0.07, 0.01) * _edge(0.85 - _U, 0.03), np.float32)


def _tree(rng: np.random.Generator, mains: int, reach: float) -> list[NDArray[np.float64]]:
    """Branching lines from both hila outwards: vessels, or airways.

    Returns:
        Stems, twigs and their twigs, each float64 of shape (lines, 7, 2) holding x and y.
    """
    side = np.repeat([-1.0, 1.0], mains)
    angle = np.tile(np.linspace(-1.35, 1.45, mains), 2) + rng.normal(0.0, 0.12, 2 * mains)
    start = np.stack([side * 0.17, rng.normal(-0.02, 0.03, side.size)], axis=1)
    orders = []
    for shorter in (1.0, 0.55, 0.35):
        length = reach * shorter * rng.uniform(0.6, 1.2, side.size)
        bend = angle[:, None] + np.cumsum(rng.normal(0.0, 0.13, (side.size, 6)), axis=1)
        steps = np.stack([side[:, None] * np.cos(bend), np.sin(bend)], axis=2)
        path = np.cumsum(steps * length[:, None, None] / 6.0, axis=1) + start[:, None]
        orders.append(np.concatenate([start[:, None], path], axis=1))
        start = np.concatenate([orders[-1][:, knot] for knot in (2, 4, 6)])
        angle = np.tile(bend[:, -1], 3) + rng.choice([-0.6, 0.6], 3 * side.size)
        side = np.tile(side, 3)
    return orders


def _strokes(orders: list[NDArray[np.float64]], width: int, strength: float) -> Plane:
    """Draw the lines of a tree, thinner and fainter from order to order; 0 to ``strength``."""
    image = Image.new("L", (_SIDE, _SIDE))
    draw = ImageDraw.Draw(image)
    for order, lines in reversed(list(enumerate(orders))):
        for line in (lines + 1.0) * (_SIDE / 2):
            draw.line(line.ravel().tolist(), fill=255 - 65 * order, width=max(width - order, 1))
    soft = image.filter(ImageFilter.GaussianBlur(0.9))
    return np.asarray(np.asarray(soft) * np.float32(strength / 255.0), np.float32)


def _clouds(rng: np.random.Generator, cells: int) -> Plane:
    """Smooth noise with about ``cells`` blobs a side, mean 0 and deviation about 1."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), np.float32))
    fine = coarse.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    return np.asarray(np.asarray(fine) * np.float32(1.3), np.float32)


def _healthy(rng: np.random.Generator, anatomy: _Anatomy, course: float) -> Plane:
    return np.zeros_like(anatomy.lungs)


def _lobar(rng: np.random.Generator, anatomy: _Anatomy, course: float) -> Plane:
    """One dense lobe in one lung, crossed by air-filled bronchi that stay dark."""
    right = int(rng.integers(2))
    x = (2 * right - 1) * rng.uniform(0.34, 0.48)
    y = rng.choice([-0.38, 0.05, anatomy.base[right] - 0.18]) + rng.normal(0.0, 0.04)
    size = rng.uniform(0.22, 0.34) * course
    radius = np.sqrt(((_X - x) / 1.25) ** 2 + (_Y - y) ** 2) + 0.035 * _clouds(rng, 9)
    lobe = _edge(size - radius, 0.025) * rng.uniform(0.32, 0.92) * course
    bronchi = _strokes(_tree(rng, 8, 0.45)[:2], 3, 0.6)
    return np.asarray(lobe * (1.0 - bronchi), np.float32)


def _interstitial(rng: np.random.Generator, anatomy: _Anatomy, course: float) -> Plane:
    """Streaks from both hila and a fine net over both lungs."""
    grade = rng.uniform(0.38, 1.2) * course
    streaks = _strokes(_tree(rng, 14, 0.50), 3, 0.45)
    net = np.exp(-((_clouds(rng, 44) / 0.35) ** 2)) * np.clip(0.6 + 0.4 * _clouds(rng, 5), 0, 1)
    near = np.exp(-(((_U - 0.2) / 0.35) ** 2) - ((_Y - 0.05) / 0.45) ** 2)
    return np.asarray(grade * (streaks + (0.30 * net + 0.20) * (0.3 + 0.7 * near)), np.float32)


def _patches(
    rng: np.random.Generator, anatomy: _Anatomy, sides: NDArray[np.int64], grades: Plane
) -> Plane:
    """Hazy patches against the chest wall of the lower zones, one per entry of ``sides``."""
    haze = np.zeros_like(anatomy.lungs)
    ragged = 0.30 * _clouds(rng, 12)
    for side, grade in zip(sides.tolist(), grades.tolist(), strict=True):
        x = (2 * side - 1) * (anatomy.outer - rng.uniform(0.04, 0.16))
        y = anatomy.base[side] + rng.uniform(-0.50, 0.08)
        wide, high = rng.uniform(0.14, 0.22), rng.uniform(0.15, 0.26)
        radius = ((_X - x) / wide) ** 2 + ((_Y - y) / high) ** 2
        haze = np.maximum(haze, grade * np.exp(-(np.clip(radius + ragged, 0.0, None) ** 1.5)))
    return np.asarray(haze, np.float32)


def _ground_glass(rng: np.random.Generator, anatomy: _Anatomy, course: float) -> Plane:
    """Several faint patches in both lungs (COVID-19)."""
    sides = np.arange(rng.integers(4, 8)) % 2
    grades = rng.uniform(0.7, 1.2, sides.size) * rng.uniform(0.28, 0.72) * course
    return _patches(rng, anatomy, sides, grades)


def _patchy(rng: np.random.Generator, anatomy: _Anatomy, course: float) -> Plane:
    """One to three denser patches, mostly in one lung (SARS)."""
    sides = np.full(rng.integers(1, 4), rng.integers(2))
    if sides.size == 3:
        sides[2] = 1 - sides[2]
    grades = rng.uniform(0.8, 1.2, sides.size) * rng.uniform(0.65, 0.9) * course
    return _patches(rng, anatomy, sides, grades)


_DISEASES: dict[str, Callable[[np.random.Generator, _Anatomy, float], Plane]] = {
    "bacterial": _lobar,
    "covid19": _ground_glass,
    "normal": _healthy,
    "sars": _patchy,
    "viral": _interstitial,
}


def _expose(film: Plane, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Place the patient, expose and add grain; uint8 (256, 256)."""
    zoom, turn = rng.uniform(0.90, 0.96), rng.normal(0.0, 0.015)
    half = _SIDE / 2
    shift = half * (1.0 - zoom) + rng.uniform(-3.0, 3.0, 2)
    matrix = (zoom, turn, shift[0] - turn * half, -turn, zoom, shift[1] + turn * half)
    placed = Image.fromarray(film.astype(np.float32)).transform(
        (_SIDE, _SIDE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    contrast, brightness = rng.uniform(0.85, 1.15), rng.normal(0.0, 0.03)
    tone = np.clip(0.5 + contrast * (np.asarray(placed) - 0.47) + brightness, 0.0, 1.0)
    grain = rng.standard_normal((_SIDE, _SIDE), np.float32) * np.float32(rng.uniform(0.010, 0.022))
    return np.asarray(np.clip((tone + grain) * 255.0, 0.0, 255.0), np.uint8)


def write_phantoms(
    directory: Path,
    patients_per_class: int = 40,
    size: int = 256,
    seed: int = 0,
    labels: Sequence[str] = LABELS,
    on_image: Callable[[], None] | None = None,
) -> int:
    """Write a folder per class, such as ``directory/viral/patient-0007-1.png``.

    A patient has 1 to 3 exposures and one label; the name up to the last dash is the patient.
    The file kinds are mixed, for the readers: 8-bit grey, 16-bit and RGB PNG, JPEG, not square.

    Args:
        directory: Folder to write; it must be new or empty.
        patients_per_class: Patients of each label, 1 or more.
        size: Height and width in pixels, 32 or more.
        seed: Seed of the whole collection, 0 or more.
        labels: Classes to write, out of ``ALL_LABELS``.
        on_image: Called after every image, for a progress bar.

    Returns:
        The number of images written.

    Raises:
        DataError: The folder is not empty, a label unknown, or a number out of its range.
    """
    _check_request(directory, patients_per_class, size, seed, labels)
    written = 0
    for number in range(patients_per_class * len(labels)):
        folder = directory / labels[number // patients_per_class]
        folder.mkdir(parents=True, exist_ok=True)
        exposures = int(np.random.default_rng([seed, number, 3]).integers(1, 4))
        for exposure in range(exposures):
            pixels = render_phantom(folder.name, number, exposure, size, seed)
            stem = folder / f"patient-{number:04d}-{exposure + 1}"
            _save(pixels, stem, _RARE_KINDS.get(written % _ROUND, "grey"))
            written += 1
            if on_image is not None:
                on_image()
    return written


def _check_request(
    directory: Path, patients: int, size: int, seed: int, labels: Sequence[str]
) -> None:
    for label in labels:
        _check(label, size, seed)
    if patients < 1 or len(set(labels)) != len(labels) or not labels:
        raise DataError(
            f"Cannot write {patients} patients of each of {tuple(labels)}.",
            "Ask for 1 patient or more, and for each label once.",
        )
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise DataError(
            f"{directory} exists and is not an empty folder.", "Give a new folder, or empty it."
        )


def _save(pixels: NDArray[np.uint8], stem: Path, kind: str) -> None:
    """Write one image as ``kind``; quick compression, as the files are grainy anyway."""
    if kind == "jpeg":
        Image.fromarray(pixels).save(stem.with_name(stem.name + ".jpg"), quality=90)
        return
    image = Image.fromarray(pixels)
    if kind == "grey16":
        image = Image.fromarray(pixels.astype(np.uint16) * np.uint16(257))
    elif kind == "rgb":
        image = image.convert("RGB")
    elif kind == "cropped":
        cut = pixels.shape[0] // 16
        image = image.crop((0, cut, pixels.shape[1], pixels.shape[0] - cut))
    image.save(stem.with_name(stem.name + ".png"), compress_level=1)
