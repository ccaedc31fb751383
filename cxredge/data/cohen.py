"""Reader for the layout of Cohen's COVID-19 image data collection (metadata.csv and images/)."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from cxredge.data.manifest import Sample
from cxredge.errors import DataError

FRONTAL_VIEWS = ("PA", "AP", "AP Supine")
_MAX_NAME_BYTES = 255
_NEEDED = ("patientid", "finding", "view", "modality", "filename")


def read_cohen(directory: Path) -> tuple[list[Sample], Counter[str]]:
    """Return the frontal X-rays of COVID-19 and SARS.

    Args:
        directory: Folder with ``metadata.csv`` and ``images/``.

    Returns:
        Samples labelled ``covid19`` or ``sars``; and the number of rows left out by reason: ``ct``,
        ``lateral``, ``missing_file``, ``other_finding``.

    Raises:
        DataError: The folder has another layout.
    """
    table = directory / "metadata.csv"
    if not table.is_file():
        raise DataError(
            f"{directory} has no metadata.csv.",
            "Give the folder of the Cohen collection: metadata.csv beside images/.",
        )
    samples: list[Sample] = []
    dropped: Counter[str] = Counter()
    with table.open(newline="", encoding="utf-8", errors="replace") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{table} lacks the column(s) {', '.join(missing)}.")
        for row in reader:
            outcome = _sample(directory, row)
            if isinstance(outcome, str):
                dropped[outcome] += 1
            else:
                samples.append(outcome)
    return samples, dropped


def label_of(finding: str) -> str | None:
    """Return the class of a free-text finding such as ``COVID-19, ARDS``, or None."""
    terms = {term.strip().upper() for term in finding.split(",")}
    if "COVID-19" in terms:
        return "covid19"
    return "sars" if "SARS" in terms else None


def _sample(directory: Path, row: Mapping[str, str | None]) -> Sample | str:
    cells = {name: row[name] or "" for name in _NEEDED}
    if cells["modality"] != "X-ray":
        return "ct"
    if cells["view"] not in FRONTAL_VIEWS:
        return "lateral"
    label = label_of(cells["finding"])
    if label is None:
        return "other_finding"
    # The table is untrusted: only the file name is used, never a path.
    name = Path(cells["filename"]).name
    path = directory / "images" / name
    if not name or len(os.fsencode(name)) > _MAX_NAME_BYTES or not path.is_file():
        return "missing_file"
    return Sample(path, label, f"cohen-{cells['patientid']}", "cohen", cells["view"])
