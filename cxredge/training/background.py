"""Weights that make the classes alike in what lies around the lungs.

Where most images of a class come from one machine, its letters, borders and sharpness tell the
class, and a network learns them. Here a linear model that sees no lung states how probable the
class of each image is from those alone. The inverse of that probability is the image's weight, as
in survey statistics (inverse probability weighting: Horvitz and Thompson 1952; in causal inference
Rosenbaum and Rubin 1983): images whose class cannot be guessed from their background count more.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F

from cxredge.data.images import GreyImage

_SIDE = 32
_RING = 3
"""Width in cells, of 32, of the border that shows no lung."""
_BANDS = 8
_LOWEST, _HIGHEST = 0.1, 0.5
"""Spatial frequencies, in cycles per pixel, in which machines and file processing differ."""
_COARSE = 0.05
_PERCENTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_FOLDS = 5
_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Of the squared weights of the model; the best is chosen by cross-validation."""
_MAX_WEIGHT = 10.0
_BATCH = 256


def background_weights(
    pixels: GreyImage, labels: torch.Tensor, patients: Sequence[str]
) -> torch.Tensor:
    """Return float32 (N,), the weights of images; those of each class add up to the same.

    Args:
        pixels: uint8 (N, S, S).
        labels: int64 (N,), classes of the images.
        patients: Patient of each image: a model is not asked about patients that it was fitted to.
    """
    classes = int(labels.max()) + 1
    features = _standardised(_features(pixels))
    folds = torch.tensor([zlib.crc32(patient.encode()) % _FOLDS for patient in patients])
    guessing = torch.full((len(labels),), 1 / classes, dtype=torch.float64)
    found = (_held_out(features, labels, folds, penalty) for penalty in _PENALTIES)
    # The likeliest of them is calibrated; a penalty that is too low makes the model too sure.
    probabilities = max((guessing, *found), key=lambda one: _likelihood(one, labels))
    # Without a limit a few images would outweigh all others.
    weights = (1 / (classes * probabilities)).clamp(max=_MAX_WEIGHT)
    totals = torch.zeros(classes, dtype=torch.float64).index_add(0, labels, weights)
    return (weights / totals[labels] * len(labels) / classes).float()


def _held_out(
    features: torch.Tensor, labels: torch.Tensor, folds: torch.Tensor, penalty: float
) -> torch.Tensor:
    """Return float64 (N,), the probability of each image's class from models of other folds."""
    classes = int(labels.max()) + 1
    found = torch.full((len(labels),), 1 / classes, dtype=torch.float64)
    for fold in range(_FOLDS):
        held = folds == fold
        known = torch.bincount(labels[~held], minlength=classes)
        if held.any() and known.min() > 0:
            model = _fit(features[~held], labels[~held], classes, penalty)
            answers = (features[held] @ model[:-1] + model[-1]).softmax(dim=1)
            found[held] = answers.gather(1, labels[held, None])[:, 0]
    return found


def _likelihood(probabilities: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the mean logarithm of the probabilities, with classes of equal weight."""
    counts = torch.bincount(labels)[labels]
    return float((probabilities.clamp(min=1e-9).log() / counts).sum())


def _features(pixels: GreyImage) -> torch.Tensor:
    """Return float64 (N, features): border, sharpness by frequency, grey-value statistics."""
    parts = torch.split(torch.from_numpy(pixels), _BATCH)
    return torch.cat([_features_of(part.float() / 255) for part in parts]).double()


def _features_of(images: torch.Tensor) -> torch.Tensor:
    """Return the features of float32 (n, S, S) in [0, 1]."""
    border = torch.ones(_SIDE, _SIDE, dtype=torch.bool)
    border[_RING:-_RING, _RING:-_RING] = False
    small = F.adaptive_avg_pool2d(images[:, None], _SIDE)[:, 0]
    flat = images.flatten(1)
    statistics = torch.quantile(flat, torch.tensor(_PERCENTILES), dim=1).T
    deviation = flat.std(dim=1, keepdim=True)
    return torch.cat([small[:, border], _spectrum(images), statistics, deviation], dim=1)


def _spectrum(images: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of the power in bands of frequency, relative to the coarse ones."""
    side = images.shape[-1]
    power = torch.fft.rfft2(images - images.mean(dim=(1, 2), keepdim=True)).abs() ** 2
    rows, columns = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]
    radius = torch.hypot(rows, columns)
    edges = torch.linspace(_LOWEST, _HIGHEST, _BANDS + 1)
    bands = [
        power[:, (radius >= low) & (radius < high)].mean(dim=1) for low, high in pairwise(edges)
    ]
    coarse = power[:, (radius > 0) & (radius < _COARSE)].mean(dim=1)
    found: torch.Tensor = (torch.stack(bands, dim=1) + 1e-6).log() - (coarse[:, None] + 1e-6).log()
    return found


def _standardised(features: torch.Tensor) -> torch.Tensor:
    return (features - features.mean(dim=0)) / (features.std(dim=0) + 1e-6)


def _fit(
    features: torch.Tensor, labels: torch.Tensor, classes: int, penalty: float
) -> torch.Tensor:
    """Fit a logistic regression with classes of equal weight.

    Returns:
        float64 (features + 1, classes); the last row is the bias.
    """
    model = torch.zeros(features.shape[1] + 1, classes, dtype=torch.float64, requires_grad=True)
    shares = 1 / torch.bincount(labels, minlength=classes)[labels] / classes
    optimizer: Any = torch.optim.LBFGS([model], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        errors = F.cross_entropy(features @ model[:-1] + model[-1], labels, reduction="none")
        value = (errors * shares).sum() + penalty * (model[:-1] ** 2).sum()
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)
    return model.detach()
