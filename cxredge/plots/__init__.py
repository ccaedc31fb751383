"""Charts as SVG text, without a plotting library and without scripts.

Each function returns one ``<svg>`` element with its own style, for use in a page or as a file. If
the page defines the custom properties ``--ink``, ``--rule``, ``--paper``, ``--bars`` and
``--series-0`` to ``--series-7``, text, grid and series use these colours; a dark page defines light
ones.
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
