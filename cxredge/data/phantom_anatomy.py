"""Anatomy of a phantom: lungs, heart, ribs, spine and vessels, drawn from a seed.

Coordinates x and y range from -1 to 1, y downwards. As on a real radiograph, the patient's left,
with the heart, is on the image's right. ``u`` is ``abs(x)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Plane = NDArray[np.floating[Any]]  # One value per pixel; float32 in every record.

SIDE = 256  # Phantoms are drawn at this size, then resized: the cost does not depend on the size.
AXIS = np.linspace(-1.0, 1.0, SIDE, dtype=np.float32)
X, Y = AXIS[None, :], AXIS[:, None]
U, LEFT = np.abs(X), X > 0


@dataclass(frozen=True)
class Anatomy:
    """One patient's chest; the planes are float32 (256, 256) and read-only.

    Attributes:
        tissue: Attenuation of everything but air, about 0 to 1.2.
        air: Reduction of ``tissue`` by air-filled lung, 0 to about 0.5.
        lungs: Lung mask with soft edges, 0 to 1.
        outer: Half-width of the lungs at their widest.
        base: Height of the diaphragm's domes, left of the image first.
    """

    tissue: Plane
    air: Plane
    lungs: Plane
    outer: float
    base: tuple[float, float]


@lru_cache(maxsize=4)
def anatomy_of(seed: int, patient: int) -> Anatomy:
    """Draw the patient's healthy chest; cached for the exposures of one patient."""
    rng = np.random.default_rng([seed, patient, 0])
    outer, apex = rng.uniform(0.66, 0.76), rng.uniform(-0.80, -0.70)
    base = rng.uniform(0.40, 0.56)
    bases = (base, base + rng.uniform(0.03, 0.09))  # The liver lifts the patient's right dome.
    dome = (
        np.where(LEFT, np.float32(bases[1]), np.float32(bases[0]))
        + rng.uniform(1.2, 1.7) * (U - 0.36) ** 2
    )
    depth = _lung_depth(rng, outer, apex, dome)
    lungs = edge(depth, 0.012)
    heart = _heart(rng, bases[1])
    open_lungs = lungs * (1.0 - 0.88 * heart)  # The heart hides most of the lung behind it.
    bones = _ribs(rng, open_lungs, outer) + _spine(rng) + _clavicles(rng)
    vessels = strokes(tree(rng, 9, 0.42), 3, rng.uniform(0.06, 0.11))
    tissue = _body(rng, outer, dome) + _mediastinum(rng) + 0.07 * heart + bones
    tissue += (vessels + _hila()) * open_lungs
    air = open_lungs * (0.26 + 0.18 * np.sqrt(np.clip(depth / 0.22, 0.0, 1.0)))
    for plane in (tissue, air, lungs):
        plane.flags.writeable = False  # The cache shares it.
    return Anatomy(tissue, air, lungs, outer, bases)


def edge(distance: Plane, softness: float) -> Plane:
    """Convert a signed distance (positive inside) to a mask with a soft edge, 0 to 1."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / (2.0 * softness)), np.float32)


def ellipse(x: float, y: float, width: float, height: float, softness: float = 0.03) -> Plane:
    """Return the mask of an upright ellipse with the given half-axes, 0 to 1."""
    radius = np.sqrt(((X - x) / width) ** 2 + ((Y - y) / height) ** 2)
    return edge((1.0 - radius) * min(width, height), softness)


def _lung_depth(rng: np.random.Generator, outer: float, apex: float, dome: Plane) -> Plane:
    """Return the signed distance to the lungs' border, positive inside."""
    rise = np.clip((0.30 - Y) / (0.30 - apex), 0.0, 1.0)
    sides = (outer * rng.uniform(0.97, 1.03, 2)).astype(np.float32)
    widest = np.where(LEFT, sides[1], sides[0]) + 0.05 * np.maximum(Y - 0.3, 0.0)
    inner = rng.uniform(0.10, 0.13) + 0.03 * np.cos(3.0 * Y + rng.uniform(0.0, 6.0))
    top = rng.uniform(0.27, 0.32)  # Both borders meet above it, so that the apex is round.
    lateral = top + (widest - top) * np.sqrt(1.0 - rise ** rng.uniform(1.7, 2.3))
    medial = top - (top - inner) * np.sqrt(1.0 - rise**5)
    closed = np.minimum(np.minimum(lateral - U, U - medial), dome - Y)
    return np.asarray(np.minimum(closed, Y - apex), np.float32)


def _body(rng: np.random.Generator, outer: float, dome: Plane) -> Plane:
    """Draw the soft tissue: chest wall, shoulders, neck, abdomen and gastric bubble."""
    wall = outer + rng.uniform(0.12, 0.20) + 0.45 * edge(-0.42 - Y, 0.05)
    shoulder = -1.02 + 0.40 * np.clip((U - 0.22) / 0.75, 0.0, 1.0) ** 1.4
    chest = np.sqrt(np.clip(1.0 - (U / wall) ** 4, 0.0, 1.0))
    tissue = (0.18 + 0.42 * chest) * edge(wall - U, 0.02) * edge(Y - shoulder, 0.03)
    abdomen = 0.12 * edge(Y - dome, 0.03) * chest
    bubble = ellipse(rng.uniform(0.32, 0.42), rng.uniform(0.76, 0.84), 0.13, 0.07)
    return np.asarray(tissue + abdomen - 0.12 * bubble, np.float32)


def _heart(rng: np.random.Generator, base: float) -> Plane:
    """Return the mask of the heart and the aortic knob, 0 to 1."""
    size, low = rng.uniform(0.25, 0.34), base - rng.uniform(0.13, 0.18)
    lean = 0.40 * (Y - low)  # The apex of the heart points down and to the patient's left.
    radius = np.sqrt(((X - 0.11 - lean) / size) ** 2 + ((Y - low) / (size * 0.98)) ** 2)
    knob = ellipse(0.10, rng.uniform(-0.34, -0.26), rng.uniform(0.07, 0.11), 0.10, 0.014)
    return np.maximum(edge((1.0 - radius) * size, 0.016), knob)


def _mediastinum(rng: np.random.Generator) -> Plane:
    """Draw the great vessels, wider towards the heart, and the dark trachea with its fork."""
    width = rng.uniform(0.15, 0.19) + 0.03 * np.sin(2.5 * Y)
    trunk = np.exp(-((U / width) ** 4)) * edge(Y + 0.75, 0.12)
    fork = np.maximum(Y + 0.22, 0.0)  # Below it, the trachea divides into the main bronchi.
    trachea = np.exp(-(((np.abs(X + 0.01) - fork) / 0.04) ** 4)) * edge(-0.10 - Y, 0.03)
    return np.asarray(0.07 * trunk - 0.08 * trachea, np.float32)


def _hila() -> Plane:
    """Draw the haze where the vessels enter the lungs."""
    radius = ((U - 0.20) / 0.08) ** 2 + ((Y + 0.02) / 0.13) ** 2
    return np.asarray(0.10 * np.exp(-radius), np.float32)


def _ribs(rng: np.random.Generator, lungs: Plane, outer: float) -> Plane:
    """Draw the posterior ribs, arching down and outwards, and the fainter anterior ribs."""
    gap, start = rng.uniform(0.135, 0.175), rng.uniform(-0.1, 0.1)
    arch = rng.uniform(0.8, 1.2) * (U - 0.22) ** 2 * (1.0 - 0.4 * Y)
    phase = (Y - arch + start) / gap
    offset = phase - np.round(phase)
    back = np.exp(-((offset / 0.23) ** 4)) * (0.75 + 6.0 * offset**2)  # Brighter rims: cortex.
    slope = rng.uniform(0.45, 0.65)
    phase = (Y + slope * (U - 0.2) - 0.3 * (U - 0.2) ** 2 + start) / (1.15 * gap)
    front = np.exp(-(((phase - np.round(phase)) / 0.22) ** 4)) * edge(U - 0.34, 0.05)
    cage = edge(outer + 0.05 - U, 0.02) * edge(Y + 0.78, 0.04) * edge(0.75 - Y, 0.1)
    strength = rng.uniform(0.07, 0.11)
    return np.asarray(strength * cage * (back + 0.45 * front) * (0.35 + 0.65 * lungs), np.float32)


def _spine(rng: np.random.Generator) -> Plane:
    """Draw the vertebral column: a bright band with dark disc spaces."""
    gap = rng.uniform(0.12, 0.15)
    discs = 0.5 + 0.5 * np.cos(2.0 * np.pi * Y / gap)
    return np.asarray((0.07 - 0.035 * discs**6) * edge(0.085 - U, 0.012), np.float32)


def _clavicles(rng: np.random.Generator) -> Plane:
    """Draw two slender S-shaped bones from the sternum up to the shoulders."""
    height, slope = rng.uniform(-0.60, -0.52), rng.uniform(0.15, 0.35)
    course = height - slope * U + 0.035 * np.sin(7.0 * U)
    band = edge(0.030 - np.abs(Y - course), 0.008)
    return np.asarray(0.13 * band * edge(U - 0.07, 0.01) * edge(0.85 - U, 0.03), np.float32)


def tree(rng: np.random.Generator, mains: int, reach: float) -> list[NDArray[np.float64]]:
    """Draw branching lines from both hila outwards: vessels, or airways.

    Returns:
        Three orders of branches, each float64 of shape (lines, 7, 2) with x and y.
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


def strokes(orders: list[NDArray[np.float64]], width: int, strength: float) -> Plane:
    """Render the lines of a tree, thinner and fainter with each order; 0 to ``strength``."""
    image = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(image)
    for order, lines in reversed(list(enumerate(orders))):
        for line in (lines + 1.0) * (SIDE / 2):
            draw.line(line.ravel().tolist(), fill=255 - 65 * order, width=max(width - order, 1))
    soft = image.filter(ImageFilter.GaussianBlur(0.9))
    return np.asarray(np.asarray(soft) * np.float32(strength / 255.0), np.float32)


def clouds(rng: np.random.Generator, cells: int) -> Plane:
    """Return smooth noise with about ``cells`` blobs per side, mean 0 and deviation about 1."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), np.float32))
    fine = coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(np.asarray(fine) * np.float32(1.3), np.float32)
