"""A few X-rays with what the bundle says of them."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from cxredge.bundle.bundle import read_golden
from cxredge.data.images import GreyImage
from cxredge.metrics.classification import softmax
from cxredge.report import numbers
from cxredge.report.page import Gallery, Missing, Section, Xray
from cxredge.report.reported_bundle import ReportedBundle

_MOST = 12
_MOST_PIXELS = 192
"""Side of an embedded picture: enough to recognise an image, little enough for many bundles."""


def xray_section(reported: ReportedBundle, pictures: bool) -> Section:
    """Show the golden images with the prediction of the precision that serves.

    Args:
        reported: Whose goldens.
        pictures: Whether the X-rays themselves are shown; they come from the data set.
    """
    title = "X-rays and predictions"
    if reported.bundle is None:
        return Section(title, (Missing("X-rays", "cxredge report BUNDLE --out report.html"),))
    golden = read_golden(reported.bundle)
    classes = reported.bundle.card.classifier.classes
    probabilities = softmax(golden.logits[reported.bundle.precision])
    xrays = tuple(
        Xray(
            png=png(pixels) if pictures else "",
            truth=classes[int(label)],
            predicted=classes[int(row.argmax())],
            probability=numbers.share(float(row.max())),
            wrong=int(row.argmax()) != int(label),
        )
        for pixels, label, row in zip(
            golden.pixels[:_MOST], golden.labels, probabilities, strict=False
        )
    )
    note = (
        "The bundle's golden images, as the network sees them: taken from each class in turn, in "
        "the order of the manifest, whatever the prediction. They are too few to tell how often "
        "it is right."
    )
    return Section(title, (Gallery("", xrays, note),))


def png(pixels: GreyImage) -> str:
    """Return uint8 (S, S) as a PNG in base64, of at most 192 pixels a side."""
    stream = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((_MOST_PIXELS, _MOST_PIXELS), Image.Resampling.LANCZOS)
    picture.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")
