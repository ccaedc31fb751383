"""One exposure of a phantom: anatomy, disease, position and technique."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxredge.data.phantom_anatomy import SIDE, Anatomy, Plane, anatomy_of
from cxredge.data.phantom_diseases import DISEASES

LABELS = ("bacterial", "covid19", "normal", "viral")
ALL_LABELS = ("bacterial", "covid19", "normal", "sars", "viral")

Matrix = tuple[float, float, float, float, float, float]
"""Affine matrix, as Pillow takes it."""


@dataclass(frozen=True)
class Shot:
    """What one exposure shows.

    Attributes:
        anatomy: The healthy chest.
        density: Density of the disease, 0 to 0.95; float32 (256, 256).
        position: Matrix of the patient's position.
        technique: Source of contrast, brightness and grain.
    """

    anatomy: Anatomy
    density: Plane
    position: Matrix
    technique: np.random.Generator


def shot_of(label: str, patient: int, exposure: int, seed: int) -> Shot:
    """Return what an exposure shows.

    Args:
        label: One of ``ALL_LABELS``.
        patient: Number of the patient, 0 or more.
        exposure: Number of the patient's image, 0 or more.
        seed: Seed of the whole collection, 0 or more.
    """
    anatomy = anatomy_of(seed, patient)
    technique = np.random.default_rng([seed, patient, 2, exposure])
    course = float(technique.uniform(0.85, 1.15))
    disease = np.random.default_rng([seed, patient, 1, ALL_LABELS.index(label)])
    density = np.clip(DISEASES[label](disease, anatomy, course), 0.0, 0.95)
    position = _position(np.random.default_rng([seed, patient, 4]), technique)
    return Shot(anatomy, density, position, technique)


def _position(patient: np.random.Generator, rng: np.random.Generator) -> Matrix:
    """Position the patient, similarly in each exposure.

    Positions differ enough between patients for a perceptual hash to separate them.
    """
    zoom = patient.uniform(0.87, 0.96) + rng.uniform(-0.02, 0.02)
    turn = patient.normal(0.0, 0.035) + rng.normal(0.0, 0.02)
    half = SIDE / 2
    shift = half * (1.0 - zoom) + patient.uniform(-7.0, 7.0, 2) + rng.uniform(-4.0, 4.0, 2)
    return (zoom, turn, shift[0] - turn * half, -turn, zoom, shift[1] + turn * half)


def place(plane: Plane, position: Matrix) -> Plane:
    """Return a plane in the patient's position, float32 (256, 256)."""
    placed = Image.fromarray(plane.astype(np.float32)).transform(
        (SIDE, SIDE), Image.Transform.AFFINE, position, Image.Resampling.BILINEAR
    )
    return np.asarray(placed)


def develop(placed: Plane, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Expose a film and add grain; uint8 (256, 256)."""
    contrast, brightness = rng.uniform(0.85, 1.15), rng.normal(0.0, 0.03)
    tone = np.clip(0.5 + contrast * (placed - 0.47) + brightness, 0.0, 1.0)
    grain = rng.standard_normal((SIDE, SIDE), np.float32) * np.float32(rng.uniform(0.010, 0.022))
    return np.asarray(np.clip((tone + grain) * 255.0, 0.0, 255.0), np.uint8)


def expose(
    film: Plane, patient: np.random.Generator, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Position the patient, similarly in each exposure, expose and add grain.

    Args:
        film: Attenuation, float32 (256, 256), about 0 to 1.2.
        patient: Source of what the exposures of a patient share.
        rng: Source of what differs between them.

    Returns:
        uint8 (256, 256).
    """
    return develop(place(film, _position(patient, rng)), rng)
