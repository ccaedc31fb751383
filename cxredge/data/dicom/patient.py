"""Whose X-ray a DICOM file is, for splits that keep patients apart. Never shown, only hashed."""

from __future__ import annotations

from dataclasses import dataclass, field

from cxredge.data.dicom.header import read_header
from cxredge.data.dicom.kind import view_of
from cxredge.data.sources import ImageSource, read_source

_KEYWORDS = (
    "PatientID", "ViewPosition", "ViewCodeSequence", "PatientOrientation", "BurnedInAnnotation",
)  # fmt: skip


@dataclass(frozen=True)
class Exposure:
    """Whose X-ray, and how it was taken.

    Attributes:
        patient_id: The hospital's number for the patient, empty when there is none. It identifies
            a person and is left out of the record's own representation.
        view: ``PA``, ``AP`` and so on, empty when the header does not say.
        burned_in_text: Whether the header says that text is part of the picture.
    """

    patient_id: str = field(repr=False)
    view: str
    burned_in_text: bool


def read_exposure(source: ImageSource) -> Exposure:
    """Read whose X-ray a DICOM file is.

    Raises:
        ImageError: It is missing or damaged.
    """
    header = read_header(str(source), read_source(source), _KEYWORDS)
    burned_in = header.term("BurnedInAnnotation") == "YES"
    return Exposure(header.text("PatientID"), view_of(header).name, burned_in)
