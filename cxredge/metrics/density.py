"""Density of feature vectors: one normal distribution per class, with a common covariance.

The covariance is of low rank plus a multiple of the identity (Tipping and Bishop 1999,
"Probabilistic Principal Component Analysis"), which a few hundred images determine and a small
device evaluates with two matrix products. The distance of an image is that of Mahalanobis from the
nearest class (Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution
Samples").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxredge.metrics.classification import Floats, Ints

Float32s = npt.NDArray[np.float32]

_SMALLEST_SCALE = 1e-3
"""Smallest standard deviation of a feature, as a share of that of all features: a feature that is
constant on training images would otherwise decide alone."""
_SMALLEST_VARIANCE = 1e-3


@dataclass(frozen=True)
class Density:
    """A fitted density of F features on k axes.

    Attributes:
        offset: float32 (F,), mean of the features.
        scale: float32 (F,), their standard deviation.
        axes: float32 (F, k), orthonormal columns: the principal axes of the scaled features.
        whitening: float32 (k, k): makes the features of one class uncorrelated along the axes, with
            a variance of 1.
        centres: float32 (classes, k), whitened means of the classes.
        rest_weight: Inverse variance of the scaled features in each direction off the axes.
    """

    offset: Float32s
    scale: Float32s
    axes: Float32s
    whitening: Float32s
    centres: Float32s
    rest_weight: float

    def distances(self, features: Floats) -> Floats:
        """Return the distance of each image, float (N,), of float (N, F) features.

        It is the Mahalanobis distance from the nearest class, divided by the square root of F:
        about 1 for images like those of the fit.
        """
        centred = (features - self.offset) / self.scale
        along = centred @ self.axes
        rest = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        apart = (along @ self.whitening)[:, None] - self.centres
        nearest = (apart**2).sum(axis=2).min(axis=1)
        found: Floats = np.sqrt((nearest + rest * self.rest_weight) / features.shape[1])
        return found


def fit_density(features: Floats, labels: Ints, axes: int = 32) -> Density:
    """Fit a density.

    Args:
        features: float (N, F) of training images.
        labels: int (N,).
        axes: Largest number of axes.
    """
    found = features.astype(np.float64)
    offset = found.mean(axis=0)
    scale = np.maximum(found.std(axis=0), _SMALLEST_SCALE * (found.std() or 1.0))
    scaled = (found - offset) / scale
    count = min(axes, *scaled.shape)
    basis = np.linalg.svd(scaled, full_matrices=False)[2][:count].T
    along = scaled @ basis
    rest = (scaled**2).sum() - (along**2).sum()
    directions = max(scaled.shape[1] - count, 1) * len(scaled)
    classes = np.unique(labels)
    means = np.stack([along[labels == label].mean(axis=0) for label in classes])
    within = along - means[np.searchsorted(classes, labels)]
    values, vectors = np.linalg.eigh(within.T @ within / len(within))
    floor = rest / directions
    whitening = vectors / np.sqrt(np.maximum(values, floor) + _SMALLEST_VARIANCE)
    return Density(
        offset=offset.astype(np.float32),
        scale=scale.astype(np.float32),
        axes=basis.astype(np.float32),
        whitening=whitening.astype(np.float32),
        centres=(means @ whitening).astype(np.float32),
        rest_weight=float(1 / (floor + _SMALLEST_VARIANCE)),
    )
