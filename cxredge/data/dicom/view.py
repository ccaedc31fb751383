"""View of a DICOM X-ray, from the words and codes in its header."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Projection(Enum):
    """Direction of the X-ray beam."""

    FRONTAL = "frontal"
    LATERAL = "lateral"
    OBLIQUE = "oblique"


@dataclass(frozen=True)
class View:
    """A view, in this module's terms and never in the header's words.

    Attributes:
        name: ``PA``, ``AP``, ``FRONTAL``, ``LATERAL``, ``OBLIQUE``; empty if the header states no
            view or an unknown one.
        projection: Direction of the beam; None if unknown.
        understood: False if the header names a view that is none of these.
    """

    name: str = ""
    projection: Projection | None = None
    understood: bool = True


_PA = View("PA", Projection.FRONTAL)
_AP = View("AP", Projection.FRONTAL)
_FRONTAL = View("FRONTAL", Projection.FRONTAL)
_LATERAL = View("LATERAL", Projection.LATERAL)
_OBLIQUE = View("OBLIQUE", Projection.OBLIQUE)
_UNKNOWN = View()
_NOT_UNDERSTOOD = View(understood=False)

# View Position: its defined terms (PS3.3, C.8.11.5) and other words that modalities write. With LLD
# and RLD the patient lies on a side, and the beam is frontal.
_WORDS = (
    (_FRONTAL, ("LLD", "RLD", "DECUBITUS")),
    (_OBLIQUE, ("RLO", "LLO", "RAO", "LAO", "RPO", "LPO", "OBL", "OBLIQUE")),
    (_LATERAL, ("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT")),
    (_PA, ("PA",)),
    (_AP, ("AP",)),
    (_FRONTAL, ("FRONTAL",)),
)

# View Code Sequence, CID 4010: SNOMED CT and the older SNOMED RT codes.
_CODES = {
    "272479007": _PA, "R-10214": _PA, "R-40888": _PA,
    "399348003": _AP, "R-10206": _AP,
    "399033003": _FRONTAL, "R-10202": _FRONTAL,
    "399067008": _LATERAL, "R-102CD": _LATERAL,
    "399173006": _LATERAL, "R-10236": _LATERAL,
    "399198007": _LATERAL, "R-10232": _LATERAL,
    "399352003": _LATERAL, "R-10228": _LATERAL,
    "399260004": _LATERAL, "R-10224": _LATERAL,
    "399182000": _OBLIQUE, "399135007": _OBLIQUE, "399356000": _OBLIQUE, "399006002": _OBLIQUE,
    "399038007": _OBLIQUE, "399184004": _OBLIQUE, "399236003": _OBLIQUE, "399312000": _OBLIQUE,
    "399059000": _OBLIQUE, "399160007": _OBLIQUE, "260427002": _OBLIQUE,
    "R-102C1": _OBLIQUE, "R-40985": _OBLIQUE, "R-10204": _OBLIQUE, "R-10238": _OBLIQUE,
    "R-10234": _OBLIQUE, "R-40783": _OBLIQUE, "R-10208": _OBLIQUE,
    "R-10210": _OBLIQUE, "R-10212": _OBLIQUE, "R-10216": _OBLIQUE, "R-10220": _OBLIQUE,
}  # fmt: skip


def find_view(position: str, code: str, orientation: str) -> View:
    """Return the view of a chest X-ray.

    Evidence against a frontal view takes precedence: refusing a frontal X-ray does less harm than
    classifying a lateral one.

    Args:
        position: View Position (0018,5101), or empty.
        code: Code value of View Code Sequence (0054,0220), or empty.
        orientation: First value of Patient Orientation (0020,0020), the direction of the rows: left
            or right on a frontal view, anterior or posterior on a lateral one.
    """
    found = [view for view in (_by_words(position), _by_code(code)) if view is not None]
    if orientation[:1].upper() in ("A", "P"):
        found.append(_LATERAL)
    return _least_frontal(found)


def _least_frontal(found: Iterable[View]) -> View:
    rank = [Projection.LATERAL, Projection.OBLIQUE, Projection.FRONTAL, None]
    return min(found, key=lambda view: rank.index(view.projection), default=_UNKNOWN)


def _by_words(position: str) -> View | None:
    words = set(re.findall(r"[A-Z]+", position.upper()))
    for view, names in _WORDS:
        if words & set(names):
            return view
    return _NOT_UNDERSTOOD if words else None


def _by_code(code: str) -> View | None:
    return _CODES.get(code, _NOT_UNDERSTOOD) if code else None
