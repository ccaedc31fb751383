"""CXR B with adults: who is trained on, who is tested, and who is neither."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cxredge.data.cxr_d import NO_FINDING, OTHER_KINDS, add_adults
from cxredge.data.manifest import Entry
from cxredge.errors import DataError
from cxredge.metrics.controls import OTHER_CLASS
from cxredge.vocabulary import Split


def control(number: int, finding: str, patient: str = "") -> Entry:
    patient = patient or f"{finding}-{number}"
    return Entry(
        Path(f"{finding}-{number}.png"), "", patient, "adults", finding=finding,
        split=Split.CONTROL, sha256=f"{finding}/{number}",
    )  # fmt: skip


CLASSES = [
    Entry(Path(f"c{n}.png"), "covid19", f"covid-{n}", "cohen", split=split, sha256=f"c{n}")
    for n, split in enumerate((Split.TRAIN, Split.VAL, Split.TEST))
]
CONTROLS = [
    control(n, finding) for finding in (NO_FINDING, *OTHER_KINDS, "lateral") for n in range(40)
]


def split_by_patient(entries: list[Entry]) -> dict[str, set[Split]]:
    found: dict[str, set[Split]] = {}
    for entry in entries:
        found.setdefault(entry.patient, set()).add(entry.split)
    return found


def test_adults_without_a_finding_are_normal_in_every_split() -> None:
    placed, controls, left_out = add_adults(CLASSES, CONTROLS, 0, 0)
    counts = Counter((entry.label, entry.split) for entry in placed)
    assert [counts["normal", s] for s in (Split.TRAIN, Split.VAL, Split.TEST)] == [20, 5, 15]
    assert {entry.label for entry in placed} == {"covid19", "normal"}
    assert Counter(entry.finding for entry in controls) == dict.fromkeys(
        (*OTHER_KINDS, "lateral"), 40
    )
    assert not left_out


def test_a_share_of_the_patients_of_each_kind_is_trained_on_as_other() -> None:
    placed, controls, _ = add_adults(CLASSES, CONTROLS, 0.5, 0)
    other = [entry for entry in placed if entry.label == OTHER_CLASS]
    assert Counter(entry.finding for entry in other) == dict.fromkeys(OTHER_KINDS, 20)
    assert Counter(entry.split for entry in other) == {Split.TRAIN: 32, Split.VAL: 8}
    assert len(controls) == 120 - 40
    assert not {e.patient for e in other} & {e.patient for e in controls}
    again, _, _ = add_adults(CLASSES, CONTROLS[::-1], 0.5, 0)
    assert set(again) == set(placed)
    assert set(add_adults(CLASSES, CONTROLS, 0.5, 1)[0]) != set(placed)


def test_no_patient_is_trained_on_and_tested() -> None:
    shared = [
        *(control(100 + n, "adult pneumonia", f"{NO_FINDING}-{n}") for n in range(40)),
        *(control(200 + n, "other finding", f"covid-{n}") for n in range(3)),
        *(control(300 + n, "lateral", f"other finding-{n}") for n in range(40)),
    ]
    placed, controls, left_out = add_adults(CLASSES, [*CONTROLS, *shared], 0.9, 0)
    assert all(len(splits) == 1 for splits in split_by_patient(placed).values())
    trained = {entry.patient for entry in placed if entry.split is not Split.TEST}
    assert not trained & {entry.patient for entry in controls}
    other = {entry.patient for entry in placed if entry.label == OTHER_CLASS}
    assert not other & {entry.patient for entry in placed if entry.label != OTHER_CLASS}
    assert "covid-2" in {entry.patient for entry in controls}, "a tested patient may be a control"
    assert left_out.total() + len(placed) + len(controls) == len(CLASSES + CONTROLS + shared)


def test_adults_without_a_finding_are_required() -> None:
    others = [entry for entry in CONTROLS if entry.finding != NO_FINDING]
    with pytest.raises(DataError, match="none was found"):
        add_adults(CLASSES, others, 0, 0)
