"""What sort of picture a DICOM file holds: a frontal X-ray is used, others are refused."""

from __future__ import annotations

import re

from cxredge.data.dicom.header import Header, bad_header
from cxredge.data.dicom.view import Projection, View, find_view
from cxredge.errors import Caution, ImageError, ImageProblem

RADIOGRAPHS = ("CR", "DX", "RG")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
_MODALITY = re.compile(r"[A-Z]{2}|RT[A-Z]{2,6}")


def view_of(header: Header) -> View:
    """Return the view that a header tells of."""
    item = header.first_item("ViewCodeSequence")
    code = str(item.get("CodeValue", "")).strip() if item is not None else ""
    return find_view(header.term("ViewPosition"), code, header.term("PatientOrientation"))


def check_kind(header: Header, any_view: bool) -> tuple[Caution, ...]:
    """Refuse what is not one frontal X-ray, ready to be looked at.

    Args:
        header: Of the file.
        any_view: Let lateral and oblique views pass, with a caution.

    Returns:
        What is doubtful about the picture all the same.

    Raises:
        ImageError: It is something else; ``problem`` says what.
    """
    cautions = []
    if _is_secondary_capture(header):
        cautions.append(Caution.SECONDARY_CAPTURE)
    if header.term("PresentationIntentType") == "FOR PROCESSING" or (
        header.term("SOPClassUID") == _FOR_PROCESSING
    ):
        raise ImageError(
            ImageProblem.FOR_PROCESSING,
            f"{header.name} is a detector's raw image (FOR PROCESSING), not one to look at.",
            "Use the FOR PRESENTATION image of the same study.",
        )
    if (frames := header.integer("NumberOfFrames", 1)) != 1:
        raise ImageError(
            ImageProblem.MULTI_FRAME,
            f"{header.name} holds {frames} frames; one X-ray is one frame.",
            "Export the frame that matters as an image of its own.",
        )
    if header.term("BurnedInAnnotation") == "YES":
        cautions.append(Caution.BURNED_IN_TEXT)
    return (*cautions, *_check_view(header, any_view))


def _is_secondary_capture(header: Header) -> bool:
    """Tell a film scan or screenshot from a modality's own image; refuse other modalities."""
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
    view = view_of(header)
    if not view.understood:
        return (Caution.UNKNOWN_VIEW,)
    if view.projection in (None, Projection.FRONTAL):
        return ()
    if any_view:
        return (Caution(view.projection.value),)
    raise ImageError(
        ImageProblem(view.projection.value),
        f"{header.name} is a view from the side ({view.projection.value}); "
        "networks here are trained on frontal ones.",
        "Leave it out.",
    )
