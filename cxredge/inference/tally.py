"""The summary of a prediction run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxredge.errors import CxredgeError
from cxredge.inference.answers import OK, UNFAMILIAR
from cxredge.inference.predictions_file import cautions_in
from cxredge.inference.row_formats import Values
from cxredge.inference.rows import RowGroup
from cxredge.vocabulary import Precision

STAGES = ("read", "decode", "preprocess", "infer", "write")


@dataclass
class Tally:
    """Summary of a prediction run.

    Attributes:
        images: Rows in the file, including those of an interrupted run that was resumed.
        resumed: Rows among them from before.
        finished_before: The file was finished when ``--resume`` was given; nothing was predicted.
        replaced: An earlier file was replaced.
        status: Rows in the file, by status.
        skipped: Files in folders and archives that are not images by their names, by extension.
        cautions: Images predicted despite a doubt, by caution.
        near_ties: Images that FP32 decided; None without a cascade.
        stages: Wall seconds by stage, summed over parallel threads: the stages other than
            ``write`` add up to about cores times ``seconds`` if no core is idle.
        seconds: Wall time, including the loading of the model.
        first_error: Error of the first image that failed.
    """

    images: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    finished_before: bool = False
    replaced: bool = False
    status: Counter[str] = field(default_factory=Counter)
    cautions: Counter[str] = field(default_factory=Counter)
    near_ties: int | None = None
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    seconds: float = 0.0
    first_error: str = ""

    def add_earlier(self, row: Values) -> None:
        """Count a row of an earlier run."""
        self.resumed += 1
        self.add_row(row)

    def add_row(self, row: Values) -> None:
        """Count a row as it is in the file."""
        self.images += 1
        self.status[row["status"]] += 1
        doubts = cautions_in(row["error"])
        self.cautions.update(doubts)
        if row["status"] not in (OK, UNFAMILIAR):
            self.first_error = self.first_error or row["error"]
        if self.near_ties is not None:
            self.near_ties += row["decided_by"] == Precision.FP32

    def add(self, group: RowGroup, write_seconds: float) -> None:
        """Count a group of rows that was written."""
        self.images += len(group.rows)
        for row in group.rows:
            self.status[row.status] += 1
            if row.status == OK:
                self.cautions.update(code.value for code in row.caution_codes)
            if row.status != UNFAMILIAR:
                self.first_error = self.first_error or row.error
            if self.near_ties is not None:
                self.near_ties += row.decided_by == Precision.FP32
        self.stages["write"] += write_seconds
        for stage, seconds in group.seconds.items():
            self.stages[stage] += seconds

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        new = self.images - self.resumed
        return {
            "images": self.images,
            "ok": self.status[OK],
            "failed": self.images - self.status[OK] - self.status[UNFAMILIAR],
            "unfamiliar": self.status[UNFAMILIAR],
            "resumed": self.resumed,
            "finished_before": self.finished_before,
            "replaced": self.replaced,
            "status": dict(self.status),
            "skipped": dict(self.skipped),
            "cautions": dict(self.cautions),
            "near_ties": self.near_ties,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(new / self.seconds, 2) if self.seconds else 0.0,
            "stages": {name: round(seconds, 3) for name, seconds in self.stages.items()},
        }


def require_some(tally: Tally, out: Path) -> None:
    """Raise CxredgeError if not a single image could be read."""
    answered = tally.status[OK] + tally.status[UNFAMILIAR]
    if tally.images and not answered:
        raise CxredgeError(
            f"None of {tally.images} images could be read; the first: {tally.first_error}",
            f"See the column 'error' of {out}.",
        )
