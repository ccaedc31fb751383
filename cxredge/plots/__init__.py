"""Small pictures as SVG text: they need no plotting library, scale on paper and carry no script.

Coordinates of the data are those of the caller; each function returns one ``<svg>`` element with
its own style, so that it can stand in a page or in a file. Ink, grid and series take the page's
``--ink``, ``--rule``, ``--paper`` and ``--series-0`` to ``--series-7`` where it sets them, so that
a dark page gets light text.
"""

from __future__ import annotations

from cxredge.plots.bars import heat_table, stacked_bar
from cxredge.plots.curves import Dot, Line, histogram, line_chart
from cxredge.plots.estimates import Estimate, estimate_chart
from cxredge.plots.frame import NAMESPACE, Axis

__all__ = [
    "NAMESPACE",
    "Axis",
    "Dot",
    "Estimate",
    "Line",
    "estimate_chart",
    "heat_table",
    "histogram",
    "line_chart",
    "stacked_bar",
]
