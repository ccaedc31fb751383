"""Class activation maps: their place, agreement of two precisions, border share, deletion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxredge.metrics.classification import Floats, Ints
from cxredge.metrics.number_types import Count, Difference, Positive, Share

BORDER = 0.125
"""Width of the border of a picture, as a share of its side."""
UNIFORM_BORDER_SHARE = 1 - (1 - 2 * BORDER) ** 2
"""Share of the picture that is border, and so of the mass of a uniform map there."""

_FINE = 112
"""Side of the picture on which shares of a map's mass are measured."""

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class MapGrid:
    """Where the cells of a map lie: cell (i, j) is centred on one pixel of the network's input.

    Attributes:
        size: Height and width of the input in pixels.
        stride: Distance of the centres of neighbouring cells in pixels.
        top: Row of the centre of the first cell, from 0.
        left: Column of the centre of the first cell, from 0.
    """

    size: Count
    stride: Positive
    top: float
    left: float

    @classmethod
    def even(cls, size: int, cells: int) -> MapGrid:
        """Return the grid of cells that divide the picture evenly."""
        stride = size / cells
        return cls(size, stride, (stride - 1) / 2, (stride - 1) / 2)

    def weights(self, cells: int, pixels: int, first: float) -> Floats:
        """Return the weights of bilinear interpolation along one axis.

        Beyond the centres of the outer cells, their values continue.

        Args:
            cells: Number of cells.
            pixels: Number of pixels of the picture, whatever its size.
            first: Centre of the first cell: ``top`` or ``left``.

        Returns:
            float64 (pixels, cells); rows have a sum of 1.
        """
        at = (np.arange(pixels) + 0.5) * self.size / pixels - 0.5
        place = np.clip((at - first) / self.stride, 0, cells - 1)
        near = np.abs(place[:, None] - np.arange(cells))
        found: Floats = np.maximum(1 - near, 0)
        return found

    def upsample(self, maps: Floats, height: int, width: int) -> Floats:
        """Interpolate maps, float (..., h, w), bilinearly to a picture of any size."""
        rows = self.weights(maps.shape[-2], height, self.top)
        columns = self.weights(maps.shape[-1], width, self.left)
        found: Floats = rows @ maps @ columns.T
        return found


@dataclass(frozen=True)
class MapFidelity:
    """Agreement of a reduced precision's maps with FP32's, for the class that FP32 decided.

    Attributes:
        images: Number of images compared.
        correlation: Mean over the images of the correlation of the two maps; an image whose map is
            constant in one precision alone counts as 0.
        peaks_kept: Share of images whose strongest cell moves by at most one cell in each
            direction.
    """

    images: Count
    correlation: Difference
    peaks_kept: Share


def measure_map_fidelity(reference: Floats, candidate: Floats, decided: Ints) -> MapFidelity:
    """Compare the maps of two precisions on the same images.

    Args:
        reference: float (N, classes, h, w), maps of FP32.
        candidate: float (N, classes, h, w).
        decided: int (N,), the class that FP32 decided for each image.
    """
    index = np.arange(len(decided))
    one, other = reference[index, decided], candidate[index, decided]
    rows, columns = (np.abs(a - b) for a, b in zip(_peaks(one), _peaks(other), strict=True))
    return MapFidelity(
        images=len(decided),
        correlation=float(_correlations(one, other).mean()),
        peaks_kept=float((np.maximum(rows, columns) <= 1).mean()),
    )


def border_shares(maps: Floats, grid: MapGrid, border: float = BORDER) -> Floats:
    """Return the share of each map's positive mass in the border of the picture.

    A uniform map has :data:`UNIFORM_BORDER_SHARE`.

    Args:
        maps: float (N, h, w).
        grid: Where the cells lie.
        border: Width of the border, as a share of the side.

    Returns:
        float (N,); NaN for a map that is nowhere positive.
    """
    positive = np.maximum(grid.upsample(maps.astype(np.float64), _FINE, _FINE), 0)
    edge = round(border * _FINE)
    inner = positive[:, edge : _FINE - edge, edge : _FINE - edge].sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = 1 - inner / positive.sum(axis=(1, 2))
    return found


@dataclass(frozen=True)
class DeletionCurve:
    """Mean probability of a class while parts of the images are removed.

    Attributes:
        shares: Share of the picture that is removed, from 0 to 1.
        by_map: Mean probability if the parts that the map names are removed first.
        at_random: Mean probability if parts of the same size are removed in random order.
    """

    shares: tuple[float, ...]
    by_map: tuple[float, ...]
    at_random: tuple[float, ...]

    @property
    def area_between(self) -> float:
        """Area between the curves: positive if the map names what the decision rests on."""
        gap = np.subtract(self.at_random, self.by_map)
        steps = np.diff(self.shares)
        return float((steps * (gap[1:] + gap[:-1]) / 2).sum())


@dataclass(frozen=True)
class Deletions:
    """Probabilities of images while parts of them are removed; see :class:`DeletionCurve`.

    Attributes:
        shares: Share of the picture that is removed, from 0 to 1.
        by_map: float (shares, N).
        at_random: float (shares, N).
    """

    shares: tuple[float, ...]
    by_map: Floats
    at_random: Floats

    def mean(self, chosen: npt.NDArray[np.bool_] | None = None) -> DeletionCurve:
        """Return the mean curve of some images, bool (N,), or of all."""
        kept = np.ones(self.by_map.shape[1], np.bool_) if chosen is None else chosen
        by_map, at_random = (
            tuple(found[:, kept].mean(axis=1).tolist()) for found in (self.by_map, self.at_random)
        )
        return DeletionCurve(self.shares, by_map, at_random)


def delete_patches(
    images: Images,
    maps: Floats,
    grid: MapGrid,
    fills: Images,
    probability: Callable[[Images], Floats],
    shares: Sequence[float],
    patches: int = 14,
    seed: int = 0,
) -> Deletions:
    """Remove square patches of images, those with the highest mean in the upsampled map first.

    It is the deletion of Petsiuk et al. 2018, "RISE", with patches instead of pixels.

    Args:
        images: uint8 (N, S, S).
        maps: float (N, h, w), map of the class of each image.
        grid: Where the cells of the maps lie.
        fills: uint8 (N, S, S), what is shown where a patch is removed.
        probability: Returns the probability of the class of each image, float (N,).
        shares: Shares of the patches to remove, from 0 to 1.
        patches: Number of patches along a side; it divides S.
        seed: Seed of the random order.
    """
    side, cells = images.shape[1] // patches, patches * patches
    height, width = images.shape[1:]
    fine = grid.upsample(maps.astype(np.float64), height, width)
    means = fine.reshape(-1, patches, side, patches, side).mean(axis=(2, 4)).reshape(-1, cells)
    rng = np.random.default_rng(seed)
    orders = (
        np.argsort(-means, axis=1, kind="stable"),
        np.stack([rng.permutation(cells) for _ in images]),
    )
    counts = [round(share * cells) for share in shares]
    found = [
        np.stack(
            [
                probability(np.where(_covered(order[:, :count], patches, side), fills, images))
                for count in counts
            ]
        )
        for order in orders
    ]
    return Deletions(tuple(count / cells for count in counts), found[0], found[1])


def _peaks(maps: Floats) -> tuple[Ints, Ints]:
    """Return row and column of each map's strongest cell."""
    rows, columns = np.unravel_index(maps.reshape(len(maps), -1).argmax(axis=1), maps.shape[1:])
    return rows, columns


def _correlations(one: Floats, other: Floats) -> Floats:
    """Return the correlation of each pair of maps; 1 for two constant ones, 0 for one of them."""
    flat = [maps.reshape(len(maps), -1).astype(np.float64) for maps in (one, other)]
    a, b = (maps - maps.mean(axis=1, keepdims=True) for maps in flat)
    sizes = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    product = sizes[0] * sizes[1]
    both_constant = (sizes[0] == 0) & (sizes[1] == 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(product > 0, (a * b).sum(axis=1) / product, both_constant * 1.0)
    bounded: Floats = np.clip(found, -1.0, 1.0)
    return bounded


def _covered(chosen: Ints, patches: int, side: int) -> npt.NDArray[np.bool_]:
    """Return the pixels of the chosen patches of each image, bool (N, S, S)."""
    mask = np.zeros((len(chosen), patches * patches), np.bool_)
    np.put_along_axis(mask, chosen, True, axis=1)
    square = mask.reshape(-1, patches, patches)
    found: npt.NDArray[np.bool_] = square.repeat(side, axis=1).repeat(side, axis=2)
    return found
