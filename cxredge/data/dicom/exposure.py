"""Modality, view and patient of an exposure; anything but a frontal X-ray is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cxredge.data.dicom.header import Header, bad_header, read_header, unpacking
from cxredge.data.dicom.view import Projection, View, find_view
from cxredge.data.sources import ImageSource, reading
from cxredge.errors import Caution, ImageError, ImageProblem

RADIOGRAPHS = ("CR", "DX", "RG")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
_MODALITY = re.compile(r"[A-Z]{2}|RT[A-Z]{2,6}")
_KEYWORDS = (
    "PatientID", "ViewPosition", "ViewCodeSequence", "PatientOrientation", "BurnedInAnnotation",
)  # fmt: skip


@dataclass(frozen=True)
class Exposure:
    """Patient and view of an X-ray, to keep patients apart in splits.

    Attributes:
        patient_id: The hospital's number of the patient, empty if it is missing. It identifies a
            person: it is excluded from the record's representation, never shown, only hashed.
        view: ``PA``, ``AP`` and so on, empty if the header does not state it.
        burned_in_text: Whether the header reports text in the pixels.
    """

    patient_id: str = field(repr=False)
    view: str
    burned_in_text: bool


def read_exposure(source: ImageSource) -> Exposure:
    """Read the patient and the view of a DICOM file.

    Raises:
        ImageError: The file is missing or damaged.
    """
    name = str(source)
    with reading(source) as content, unpacking(name, content):
        header = read_header(name, content, _KEYWORDS)
        burned_in_text = _has_burned_in_text(header)
        return Exposure(header.text("PatientID"), _view_of(header).name, burned_in_text)


def check_exposure(header: Header, any_view: bool) -> tuple[Caution, ...]:
    """Refuse a file that is not a single frontal X-ray, processed for presentation.

    Args:
        header: Header of the file.
        any_view: Accept lateral and oblique views, with a caution.

    Returns:
        Reasons to doubt a prediction.

    Raises:
        ImageError: The file is something else; ``problem`` says what.
    """
    cautions = []
    if _is_secondary_capture(header):
        cautions.append(Caution.SECONDARY_CAPTURE)
    if header.term("PresentationIntentType") == "FOR PROCESSING" or (
        header.term("SOPClassUID") == _FOR_PROCESSING
    ):
        raise ImageError(
            ImageProblem.FOR_PROCESSING,
            f"{header.name} is a detector's raw image (FOR PROCESSING); expected an image FOR "
            "PRESENTATION.",
            "Use the FOR PRESENTATION image of the same study.",
        )
    # Some software writes 0 frames for a picture without the attribute.
    if (frames := header.integer("NumberOfFrames", 1)) not in (0, 1):
        raise ImageError(
            ImageProblem.MULTI_FRAME,
            f"{header.name} has {frames} frames; expected one.",
            "Export the relevant frame as a separate image.",
        )
    if _has_burned_in_text(header):
        cautions.append(Caution.BURNED_IN_TEXT)
    return (*cautions, *_check_view(header, any_view))


def _has_burned_in_text(header: Header) -> bool:
    return header.term("BurnedInAnnotation") == "YES"


def _view_of(header: Header) -> View:
    item = header.first_item("ViewCodeSequence")
    code = str(item.get("CodeValue", "")).strip() if item is not None else ""
    return find_view(header.term("ViewPosition"), code, header.term("PatientOrientation"))


def _is_secondary_capture(header: Header) -> bool:
    """Return whether a radiograph is a film scan or screenshot; refuse other modalities."""
    modality = header.term("Modality")
    sop_class = header.term("SOPClassUID")
    secondary = sop_class == _SECONDARY_CAPTURE or sop_class.startswith(_SECONDARY_CAPTURE + ".")
    if modality in RADIOGRAPHS or (secondary and modality in ("OT", "")):
        return secondary
    if not modality:
        raise bad_header(header.name, "Modality is missing")
    found = modality if _MODALITY.fullmatch(modality) else "another"
    raise ImageError(
        ImageProblem.NOT_A_RADIOGRAPH,
        f"{header.name} has the modality {found}; X-rays have {', '.join(RADIOGRAPHS)}.",
        "Leave it out.",
    )


def _check_view(header: Header, any_view: bool) -> tuple[Caution, ...]:
    view = _view_of(header)
    if not view.understood:
        return (Caution.UNKNOWN_VIEW,)
    if view.projection in (None, Projection.FRONTAL):
        return ()
    if any_view:
        return (Caution(view.projection.value),)
    raise ImageError(
        ImageProblem(view.projection.value),
        f"{header.name} is a {view.projection.value} view; the networks are trained on frontal "
        "views.",
        "Leave it out.",
    )
