"""The templates in a bundle that tell upside down and inverted X-rays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cxredge.bundle.arrays import describe, read_arrays, require
from cxredge.bundle.card import BundleCard
from cxredge.bundle.layout import ORIENTATION_NAME
from cxredge.metrics.orientation import GRID, OrientationTemplates


def write_orientation(folder: Path, templates: OrientationTemplates) -> None:
    """Write the templates to a bundle's folder."""
    np.savez(folder / ORIENTATION_NAME, kept=templates.kept, turned=templates.turned)


def read_orientation(folder: Path, card: BundleCard) -> OrientationTemplates | None:
    """Return the templates of a bundle; None if its card lists none.

    Raises:
        ArtifactError: The file is damaged, or holds something else.
    """
    if ORIENTATION_NAME not in card.files:
        return None
    path = folder / ORIENTATION_NAME
    arrays = read_arrays(path)
    require(arrays.keys() == {"kept", "turned"}, path, "kept and turned", ", ".join(arrays))
    shape = (GRID, GRID)
    for name, array in arrays.items():
        require(
            array.dtype == np.float32 and array.shape == shape and bool(np.isfinite(array).all()),
            path, f"{name} float32 {shape} of finite numbers", describe(array),
        )  # fmt: skip
    return OrientationTemplates(arrays["kept"], arrays["turned"])
