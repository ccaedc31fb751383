"""The golden images with their predictions."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from cxredge.bundle.bundle import read_golden
from cxredge.bundle.layout import GOLDEN_NAME
from cxredge.data.images import GreyImage
from cxredge.metrics.classification import softmax
from cxredge.report import numbers
from cxredge.report.blocks import Gallery, Missing, Section, Sentences, Xray
from cxredge.report.reported_bundle import ReportedBundle

_MAX_IMAGES = 12
_MAX_PIXELS = 192
"""Side of an embedded picture: recognisable, and small enough for reports of many bundles."""


_SHOWN = "They are X-rays of the data set: treat this page like them. --no-images leaves them out."


def xray_section(reported: ReportedBundle, pictures: bool) -> Section:
    """Show the golden images with the predictions of the precision that serves.

    Args:
        reported: The bundle.
        pictures: Whether to show the X-rays; they come from the data set.
    """
    title = "X-rays and predictions"
    if reported.bundle is None:
        return Section(title, (Missing("X-rays", "cxredge report BUNDLE --out report.html"),))
    if not (reported.bundle.path / GOLDEN_NAME).exists():
        line = "The golden images were deleted from this bundle."
        return Section(title, (Sentences("", (line,)),))
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
            golden.pixels[:_MAX_IMAGES], golden.labels, probabilities, strict=False
        )
    )
    note = (
        "The bundle's golden images, as the network receives them. They were taken from each class "
        "in turn, in the order of the manifest, regardless of the prediction. They are too few to "
        "estimate the accuracy. "
        + (_SHOWN if pictures else "Their pictures were left out of this report.")
    )
    return Section(title, (Gallery("", xrays, note),))


def png(pixels: GreyImage, side: int = _MAX_PIXELS) -> str:
    """Return uint8 (S, S) pixels as a PNG in base64, at most ``side`` pixels wide and high."""
    stream = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    picture.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")
