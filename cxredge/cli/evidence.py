"""Where the evidence for decisions lies, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cxredge.cli.text import share, table

if TYPE_CHECKING:
    from cxredge.results.evaluation import Evaluation
    from cxredge.results.map_evidence import BorderEvidence


def evidence_lines(found: Evaluation) -> list[str]:
    """Return what heatmaps show, as lines; none without heatmaps."""
    lines = []
    if (agreement := found.heatmaps_fp32) is not None:
        lines.append(
            f"Heatmaps: their mean correlation with FP32's is {agreement.correlation:.3f}; in "
            f"{share(agreement.peaks_kept)} of {agreement.images} images the strongest cell moves "
            "by at most one cell."
        )
    if found.border_evidence:
        lines += ["", _border(found.border_evidence), ""]
    return lines


def _border(rows: Sequence[BorderEvidence]) -> str:
    cells = [[row.label, row.source, row.images, share(row.share, row.share_ci95)] for row in rows]
    heading = (
        "Evidence for the decided class in the outer eighth of the picture (a uniform heatmap: "
        f"{share(rows[0].uniform)}):"
    )
    return f"{heading}\n{table(['class', 'source', 'images', 'in the border'], cells)}"
