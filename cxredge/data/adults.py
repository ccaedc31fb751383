"""Reader for a collection of frontal X-rays of adults: metadata.csv and images/."""

from __future__ import annotations

import os
from pathlib import Path

from cxredge.data.csv_table import read_csv
from cxredge.data.left_out import LeftOut
from cxredge.data.manifest import Sample
from cxredge.errors import DataError

SOURCE = "adults"
_MAX_NAME_BYTES = 255
_NEEDED = ("filename", "patientid", "finding")


def read_adults(directory: Path) -> tuple[list[Sample], LeftOut]:
    """Return the X-rays as controls: ``finding`` is ``adult no finding``, ``adult pneumonia``, ...

    Args:
        directory: Folder with ``metadata.csv`` (filename, patientid, finding; sex and age, if
            known) and ``images/``.

    Returns:
        Samples without a label; and the rows left out by reason: ``missing_file``, ``no_finding``
        (the table does not state one).

    Raises:
        DataError: The folder has another layout, or no image of the table is there.
    """
    table = directory / "metadata.csv"
    if not table.is_file():
        raise DataError(
            f"{directory} has no metadata.csv.",
            "Give a folder with metadata.csv (filename, patientid, finding) beside images/.",
        )
    metadata = read_csv(table, _NEEDED)
    metadata.require(_NEEDED)
    samples, dropped = [], LeftOut()
    for _, row in metadata.rows:
        # The table is untrusted: only the file name is used, never a path.
        name, finding = Path(row["filename"]).name, row["finding"].strip().lower()
        path, patient = directory / "images" / name, row["patientid"].strip()
        if not finding:
            dropped.leave(path, "no_finding")
        elif not name or len(os.fsencode(name)) > _MAX_NAME_BYTES or not path.is_file():
            dropped.leave(path, "missing_file")
        else:
            samples.append(
                Sample(
                    path,
                    "",
                    f"{SOURCE}-{patient}" if patient else f"images/{name}",
                    SOURCE,
                    row.get("view", "").strip(),
                    patient_known=bool(patient),
                    finding=f"adult {finding}",
                    sex=row.get("sex", "").strip(),
                    age=row.get("age", "").strip(),
                )
            )
    if not samples:
        raise DataError(
            f"None of the {len(metadata.rows)} images of {table} is in {directory / 'images'}.",
            "Check the folder.",
        )
    return samples, dropped
