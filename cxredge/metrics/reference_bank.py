"""Bank of training images, and the distance of a further image from its neighbours in it.

The features of an image are compared with those of training images along the principal axes of the
latter; what lies off the axes adds to the distance. The distance is that from the k-th nearest
neighbour (Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest Neighbors"). X-rays of
one class form several groups, by hospital and device: on CXR B, neighbours told adults of another
hospital from the classes better than class means with a common covariance did, see
``benchmarks/familiarity.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxredge.metrics.classification import Floats, Ints

Float32s = npt.NDArray[np.float32]

MAX_VECTORS, MAX_AXES, NEIGHBOUR = 256, 32, 5
"""Size of a bank: with 32 axes and 1,536 features, the bank of MobileNet V1 has 0.23 MB."""
_SMALLEST_SCALE = 1e-3
"""Smallest standard deviation of a feature, as a share of that of its layer: a feature that is
constant on training images would otherwise decide alone."""


@dataclass(frozen=True)
class ReferenceBank:
    """Features of M training images on k axes.

    Attributes:
        offset: float32 (F,), mean of the features.
        scale: float32 (F,), their standard deviation, divided by the weight of their layer.
        axes: float32 (F, k), orthonormal columns: the principal axes of the scaled features.
        vectors: float32 (M, k), scaled features of the images along the axes.
        neighbour: Rank of the neighbour that the distance is measured from, from 1 to M.
    """

    offset: Float32s
    scale: Float32s
    axes: Float32s
    vectors: Float32s
    neighbour: int

    def distances(self, features: Floats) -> Floats:
        """Return the distance of each image, float (N,), of float (N, F) features.

        It is divided by the square root of F, so that networks are comparable.
        """
        scaled = (features - self.offset) / self.scale
        along = scaled @ self.axes
        rest = np.maximum((scaled**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        squares = ((along[:, None] - self.vectors) ** 2).sum(axis=2)
        nearest = np.partition(squares, self.neighbour - 1, axis=1)[:, self.neighbour - 1]
        found: Floats = np.sqrt((nearest + rest) / features.shape[1])
        return found


def fit_bank(
    features: Floats, labels: Ints, widths: Sequence[int], max_axes: int = MAX_AXES
) -> ReferenceBank:
    """Fit the axes to all images, and keep some images of every class.

    All layers have the same weight. Otherwise the last one decides, which has the most features and
    is the least sensitive to how an X-ray was taken.

    Args:
        features: float (N, F) of training images; the first ones of each class are kept.
        labels: int (N,).
        widths: Number of features of each layer; their sum is F.
        max_axes: Largest number of axes.
    """
    found = features.astype(np.float64)
    offset = found.mean(axis=0)
    layers = np.split(found, np.cumsum(widths)[:-1], axis=1)
    scale = np.concatenate([_scale(layer) for layer in layers])
    scale *= np.sqrt(np.repeat(widths, widths) * len(widths) / len(scale))
    scaled = (found - offset) / scale
    axes = np.linalg.svd(scaled, full_matrices=False)[2][:max_axes].T
    classes = np.unique(labels)
    share = MAX_VECTORS // len(classes) or 1
    kept = np.concatenate([np.flatnonzero(labels == label)[:share] for label in classes])
    vectors = (scaled @ axes)[kept]
    return ReferenceBank(
        offset=offset.astype(np.float32),
        scale=scale.astype(np.float32),
        axes=axes.astype(np.float32),
        vectors=vectors.astype(np.float32),
        neighbour=min(NEIGHBOUR, len(vectors)),
    )


def _scale(features: Floats) -> Floats:
    """Return the standard deviation of a layer's features, float (F,)."""
    found: Floats = np.maximum(features.std(axis=0), _SMALLEST_SCALE * (features.std() or 1.0))
    return found
