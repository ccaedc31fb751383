"""Heatmaps of an evaluation: evidence in the border of the pictures, and agreement with FP32.

A network that has learnt the disease looks at the lungs. Marks, tubes, collimation and the position
of the patient, which tell the source of an X-ray, are often in the border.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from cxredge.backends.base import Outputs
from cxredge.bundle.bundle import Bundle
from cxredge.data.manifest import Entry
from cxredge.metrics.bootstrap import bootstrap
from cxredge.metrics.classification import Floats, Ints
from cxredge.metrics.maps import (
    UNIFORM_BORDER_SHARE,
    MapFidelity,
    border_shares,
    measure_map_fidelity,
)
from cxredge.results.map_evidence import BorderEvidence


def border_evidence(
    bundle: Bundle, entries: Sequence[Entry], outputs: Outputs
) -> tuple[BorderEvidence, ...]:
    """Return the share of the evidence in the border by class and source; empty without maps.

    Args:
        bundle: The bundle that computed the outputs.
        entries: The images.
        outputs: Their outputs.
    """
    grid = bundle.card.facts.map_grid
    if outputs.maps is None or grid is None:
        return ()
    decided = outputs.logits.argmax(axis=1)
    shares = border_shares(outputs.maps[np.arange(len(decided)), decided], grid)
    by_group: dict[tuple[str, str], list[int]] = {}
    for index, entry in enumerate(entries):
        if np.isfinite(shares[index]):
            by_group.setdefault((entry.label, entry.source), []).append(index)
    found = []
    for (label, source), indices in sorted(by_group.items()):
        values = shares[indices]
        patients = [entries[index].patient for index in indices]
        low, high = bootstrap(partial(_mean, values), patients)
        found.append(
            BorderEvidence(
                label=label,
                source=source,
                images=len(indices),
                share=float(values.mean()),
                share_ci95=(low, high),
                uniform=UNIFORM_BORDER_SHARE,
            )
        )
    return tuple(found)


def map_fidelity(fp32: Outputs, outputs: Outputs) -> MapFidelity | None:
    """Compare maps with FP32's for the class that FP32 decides; None without maps."""
    if fp32.maps is None or outputs.maps is None:
        return None
    return measure_map_fidelity(fp32.maps, outputs.maps, fp32.logits.argmax(axis=1))


def _mean(values: Floats, drawn: Ints) -> float:
    return float(values[drawn].mean())
