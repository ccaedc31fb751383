"""Reader for the layout of Cohen's COVID-19 image data collection (metadata.csv and images/)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cxredge.data.csv_table import read_csv
from cxredge.data.left_out import LeftOut
from cxredge.data.manifest import Sample
from cxredge.errors import DataError

FRONTAL_VIEWS = ("PA", "AP", "AP Supine")
_KINDS = {"ct": "ct", "lateral": "lateral", "other_finding": "other finding"}
"""Kinds of controls, by the reason why a row is left out if no controls are wanted."""
_MAX_NAME_BYTES = 255
_NEEDED = ("patientid", "finding", "view", "modality", "filename")


def read_cohen(directory: Path, with_controls: bool = False) -> tuple[list[Sample], LeftOut]:
    """Return the frontal X-rays of COVID-19 and SARS.

    Args:
        directory: Folder with ``metadata.csv`` and ``images/``.
        with_controls: Return the other pictures too, without a label: frontal X-rays with another
            finding, laterals and CT slices. ``finding`` names their kind.

    Returns:
        Samples labelled ``covid19`` or ``sars``; and the rows left out by reason: ``ct``,
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
    dropped = LeftOut()
    metadata = read_csv(table, _NEEDED)
    metadata.require(_NEEDED)
    for _, row in metadata.rows:
        # The table is untrusted: only the file name is used, never a path.
        name = Path(row["filename"]).name
        path = directory / "images" / name
        outcome = _sample(path, name, row)
        if with_controls and isinstance(outcome, str) and outcome in _KINDS and _is_file(path):
            outcome = _described(path, name, row, finding=_KINDS[outcome])
        if isinstance(outcome, str):
            dropped.leave(directory / "images" / name, outcome)
        else:
            samples.append(outcome)
    return samples, dropped


def label_of(finding: str) -> str | None:
    """Return the class of a free-text finding such as ``COVID-19, ARDS``, or None."""
    terms = {term.strip().upper() for term in finding.split(",")}
    if "COVID-19" in terms:
        return "covid19"
    return "sars" if "SARS" in terms else None


def _sample(path: Path, name: str, cells: Mapping[str, str]) -> Sample | str:
    if cells["modality"] != "X-ray":
        return "ct"
    if cells["view"] not in FRONTAL_VIEWS:
        return "lateral"
    label = label_of(cells["finding"])
    if label is None:
        return "other_finding"
    if not _is_file(path):
        return "missing_file"
    return _described(path, name, cells, label)


def _is_file(path: Path) -> bool:
    """Return whether a path whose last part is from the table is a file."""
    return len(os.fsencode(path.name)) <= _MAX_NAME_BYTES and path.is_file()


def _described(
    path: Path, name: str, cells: Mapping[str, str], label: str = "", finding: str = ""
) -> Sample:
    """Return the sample of a row; sex and age are columns that the table may lack."""
    patient = cells["patientid"].strip()
    return Sample(
        path,
        label,
        f"cohen-{cells['patientid']}" if patient else f"images/{name}",
        "cohen",
        cells["view"],
        patient_known=bool(patient),
        finding=finding,
        sex=cells.get("sex", "").strip(),
        age=cells.get("age", "").strip(),
    )
