"""From which side a DICOM X-ray was taken, by what its header says in so many words or codes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Projection(Enum):
    """Which way the beam went."""

    FRONTAL = "frontal"
    LATERAL = "lateral"
    OBLIQUE = "oblique"


@dataclass(frozen=True)
class View:
    """A view in words of our own, never in the header's.

    Attributes:
        name: ``PA``, ``AP``, ``FRONTAL``, ``LATERAL``, ``OBLIQUE``; empty when the header does not
            say, or not so that it is understood.
        projection: Which way the beam went; None when unknown.
        understood: False when the header names a view that is none of these.
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

# View Position; its defined terms (PS3.3, C.8.11.5) and what modalities write besides. LLD and RLD
# are patients who lie on their side; the beam is frontal.
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

    What speaks against a frontal view wins: one lateral too few costs less than one too many.

    Args:
        position: View Position (0018,5101), or empty.
        code: Code value of View Code Sequence (0054,0220), or empty.
        orientation: The first value of Patient Orientation (0020,0020): where rows lead to. On a
            frontal view to the left or right, on a lateral one to the front or back.
    """
    found = [view for view in (_by_words(position), _by_code(code)) if view is not None]
    if orientation[:1].upper() in ("A", "P"):
        found.append(_LATERAL)
    return _most_telling(found)


def _most_telling(found: Iterable[View]) -> View:
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
