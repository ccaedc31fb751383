import hashlib
import random
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxredge.data.manifest import Entry
from cxredge.data.protocols import PROTOCOLS, draw_full, draw_protocol
from cxredge.data.splits import carve_validation, split_fractions
from cxredge.errors import DataError
from cxredge.vocabulary import CLASS_SPLITS, ProtocolName, Split, SplitBy

SARS_PATIENTS = (3, 2, 1, 2, 3, 1, 3, 1)
FOUR = ("bacterial", "covid19", "normal", "viral")
PAPER = {
    ProtocolName.CXR_A: {label: (134, 33, 19) for label in FOUR},
    ProtocolName.CXR_B: {label: (118, 30, 38) for label in FOUR},
    ProtocolName.CXR_C: {
        "covid19": (118, 30, 38),
        "normal": (118, 30, 38),
        "sars": (10, 3, 3),
    },
}


def of_class(label: str, sizes: list[int]) -> list[Entry]:
    return [
        Entry(
            Path(f"{label}-{patient}-{image}.png"),
            label,
            f"{label}-{patient}",
            "s",
            sha256=hashlib.sha256(f"{label}/{patient}/{image}".encode()).hexdigest(),
        )
        for patient, size in enumerate(sizes)
        for image in range(size)
    ]


def collection() -> list[Entry]:
    rng = random.Random(3)
    sizes = {label: [rng.choice((1, 1, 1, 2, 3, 5, 8)) for _ in range(120)] for label in FOUR}
    samples = [sample for label in FOUR for sample in of_class(label, sizes[label])]
    return [*samples, *of_class("sars", list(SARS_PATIENTS)), *of_class("other", [4, 4])]


COLLECTION = collection()


def shares(entries: list[Entry]) -> dict[str, tuple[int, int, int]]:
    counts = Counter((entry.label, entry.split) for entry in entries)
    labels = sorted({entry.label for entry in entries})
    return {
        label: (counts[label, Split.TRAIN], counts[label, Split.VAL], counts[label, Split.TEST])
        for label in labels
    }


def split_patients(entries: list[Entry]) -> set[str]:
    splits = defaultdict(set)
    for entry in entries:
        splits[entry.patient].add(entry.split)
    return {patient for patient, found in splits.items() if len(found) > 1}


def placed(entries: list[Entry]) -> set[tuple[str, Split]]:
    return {(entry.sha256, entry.split) for entry in entries}


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("split_by", SplitBy)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_draw_has_exactly_the_counts_of_the_paper(
    name: ProtocolName, split_by: SplitBy, seed: int
) -> None:
    entries = draw_protocol(COLLECTION, name, split_by, seed)
    assert shares(entries) == PAPER[name]
    assert len({entry.sha256 for entry in entries}) == len(entries)
    originals = {sample.sha256: sample for sample in COLLECTION}
    for entry in entries:
        original = originals[entry.sha256]
        assert (entry.path, entry.patient) == (original.path, original.patient)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("seed", range(5))
def test_patients_are_kept_apart_unless_images_are_split(name: ProtocolName, seed: int) -> None:
    assert not split_patients(draw_protocol(COLLECTION, name, SplitBy.PATIENT, seed))
    assert split_patients(draw_protocol(COLLECTION, name, SplitBy.IMAGE, seed))


@pytest.mark.parametrize("seed", range(3))
def test_patient_with_images_of_two_classes_stays_in_one_split(seed: int) -> None:
    also_ill = {f"normal-{n}": f"covid19-{n}" for n in range(20)}
    samples = [
        replace(sample, patient=also_ill.get(sample.patient, sample.patient))
        for sample in COLLECTION
    ]
    entries = draw_protocol(samples, ProtocolName.CXR_B, SplitBy.PATIENT, seed)
    assert shares(entries) == PAPER[ProtocolName.CXR_B]
    assert not split_patients(entries)


@pytest.mark.parametrize("split_by", SplitBy)
def test_same_seed_same_draw_whatever_the_order(split_by: SplitBy) -> None:
    drawn = draw_protocol(COLLECTION, ProtocolName.CXR_C, split_by, 5)
    shuffled = list(COLLECTION)
    random.Random(1).shuffle(shuffled)
    assert draw_protocol(shuffled, ProtocolName.CXR_C, split_by, 5) == drawn
    assert draw_protocol(reversed(COLLECTION), ProtocolName.CXR_C, split_by, 5) == drawn


@pytest.mark.parametrize("split_by", SplitBy)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_another_seed_draws_others(name: ProtocolName, split_by: SplitBy) -> None:
    first, second = (placed(draw_protocol(COLLECTION, name, split_by, s)) for s in (0, 1))
    assert len(first & second) < 0.8 * len(first)


def test_draw_covers_large_and_small_patients_alike() -> None:
    sizes = {sample.patient: 0 for sample in COLLECTION}
    for sample in COLLECTION:
        sizes[sample.patient] += 1
    drawn = draw_protocol(COLLECTION, ProtocolName.CXR_B, SplitBy.PATIENT, 0)
    for split in CLASS_SPLITS:
        assert {sizes[e.patient] for e in drawn if e.split is split} >= {1, 2, 3, 5, 8}


@pytest.mark.parametrize("split_by", SplitBy)
def test_one_image_too_few_is_an_error_that_counts(split_by: SplitBy) -> None:
    samples = [s for s in COLLECTION if s.label != "sars"]
    short = samples + of_class("sars", [5, 5, 5])
    with pytest.raises(DataError, match="cxr-c needs 16 images of 'sars'; 15 were found"):
        draw_protocol(short, ProtocolName.CXR_C, split_by, 0)
    with pytest.raises(DataError, match="needs 16 images of 'sars'; 0 were found"):
        draw_protocol(samples, ProtocolName.CXR_C, split_by, 0)


@pytest.mark.parametrize("seed", range(40))
def test_sars_patients_of_the_collection_always_fit(seed: int) -> None:
    small = [s for s in COLLECTION if s.label in ("sars", "covid19", "normal")]
    entries = draw_protocol(small, ProtocolName.CXR_C, SplitBy.PATIENT, seed)
    assert shares(entries)["sars"] == (10, 3, 3)
    assert not split_patients([entry for entry in entries if entry.label == "sars"])


@pytest.mark.parametrize("sizes", [[16], [8, 8], [4, 4, 4, 4], [10, 6], [2] * 8])
def test_patients_that_cannot_be_kept_apart_are_an_error(sizes: list[int]) -> None:
    samples = [s for s in COLLECTION if s.label in ("covid19", "normal")]
    samples += of_class("sars", sizes)
    with pytest.raises(DataError, match="'sars' cannot be kept apart") as caught:
        draw_protocol(samples, ProtocolName.CXR_C, SplitBy.PATIENT, 0)
    assert "--split image" in caught.value.hint
    entries = draw_protocol(samples, ProtocolName.CXR_C, SplitBy.IMAGE, 0)
    assert shares(entries)["sars"] == (10, 3, 3)


def test_exactly_enough_images_are_all_used() -> None:
    samples = [
        sample
        for label, counts in PROTOCOLS[ProtocolName.CXR_A].items()
        for sample in of_class(label, [1] * sum(counts.values()))
    ]
    drawn = draw_protocol(samples, ProtocolName.CXR_A, SplitBy.PATIENT, 0)
    assert {e.sha256 for e in drawn} == {s.sha256 for s in samples}


SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=40)
FRACTIONS = st.tuples(st.integers(1, 8), st.integers(0, 8), st.integers(0, 8)).map(
    lambda parts: (parts[0] / sum(parts), parts[1] / sum(parts), parts[2] / sum(parts))
)


@settings(max_examples=150)
@given(
    classes=st.lists(SIZES, min_size=1, max_size=3),
    split_by=st.sampled_from(SplitBy),
    seed=st.integers(0, 99),
    fractions=FRACTIONS,
)
def test_fractions_partition_the_samples_and_come_near(
    classes: list[list[int]], split_by: SplitBy, seed: int, fractions: tuple[float, float, float]
) -> None:
    samples = [s for n, sizes in enumerate(classes) for s in of_class(f"c{n}", sizes)]
    entries = split_fractions(samples, split_by, seed, fractions)
    assert Counter(e.sha256 for e in entries) == Counter(s.sha256 for s in samples)
    for n, sizes in enumerate(classes):
        largest = max(sizes) if split_by is SplitBy.PATIENT else 1
        for got, fraction in zip(shares(entries)[f"c{n}"], fractions, strict=True):
            assert abs(got - fraction * sum(sizes)) < 2 * largest
            assert got == 0 or fraction > 0
    if split_by is SplitBy.PATIENT:
        assert not split_patients(entries)
    shuffled = list(samples)
    random.Random(seed).shuffle(shuffled)
    assert split_fractions(shuffled, split_by, seed, fractions) == entries


@settings(max_examples=60)
@given(
    owners=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=60),
    seed=st.integers(0, 9),
)
def test_patients_with_images_of_several_classes_stay_in_one_split(
    owners: list[tuple[str, int]], seed: int
) -> None:
    samples = [
        Entry(Path(f"{n}.png"), label, f"p{patient}", "s", sha256=f"{n:064x}")
        for n, (label, patient) in enumerate(owners)
    ]
    entries = split_fractions(samples, SplitBy.PATIENT, seed, (0.7, 0.15, 0.15))
    assert not split_patients(entries)
    assert sorted(e.sha256 for e in entries) == [s.sha256 for s in samples]


def test_single_images_come_as_near_to_the_fractions_as_whole_images_can() -> None:
    samples = of_class("a", [1] * 100) + of_class("b", [10] * 4)
    entries = split_fractions(samples, SplitBy.IMAGE, 0, (0.7, 0.15, 0.15))
    assert shares(entries) == {"a": (70, 15, 15), "b": (28, 6, 6)}


@pytest.mark.parametrize("seed", range(10))
def test_small_patients_even_out_what_large_ones_leave(seed: int) -> None:
    samples = of_class("a", [1] * 20 + [10])
    entries = split_fractions(samples, SplitBy.PATIENT, seed, (0.7, 0.15, 0.15))
    train, val, test = shares(entries)["a"]
    assert (train, val + test) in ((21, 9), (20, 10))
    assert abs(val - test) <= 1


@pytest.mark.parametrize("seed", range(10))
def test_patients_with_many_images_are_in_all_splits(seed: int) -> None:
    samples = of_class("a", [4] * 20 + [1] * 80)
    entries = split_fractions(samples, SplitBy.PATIENT, seed, (0.5, 0.25, 0.25))
    many = {p for p, n in Counter(e.patient for e in entries).items() if n == 4}
    found = Counter(e.split for e in entries if e.patient in many)
    assert found == {Split.TRAIN: 40, Split.VAL: 20, Split.TEST: 20}


def test_another_seed_splits_differently() -> None:
    samples = of_class("a", [1] * 100)
    first, second = (
        placed(split_fractions(samples, SplitBy.PATIENT, s, (0.6, 0.2, 0.2))) for s in (0, 1)
    )
    assert first != second


def test_validation_is_carved_from_training_images_alone() -> None:
    split = split_fractions(of_class("a", [2] * 50), SplitBy.PATIENT, 0, (0.8, 0.0, 0.2))
    carved = carve_validation(split, SplitBy.PATIENT, 0)
    assert shares(carved) == {"a": (64, 16, 20)}
    assert not split_patients(carved)
    kept = {e.sha256 for e in split if e.split is Split.TEST}
    assert {e.sha256 for e in carved if e.split is Split.TEST} == kept


@pytest.mark.parametrize("split_by", SplitBy)
def test_full_uses_every_image_but_sars(split_by: SplitBy) -> None:
    usable = [s for s in COLLECTION if s.label != "other"]
    entries, dropped = draw_full(usable, split_by, 0, balanced=False, sars=False)
    assert dropped == {"sars": 16}
    assert Counter(e.label for e in entries) == Counter(s.label for s in usable if s.label in FOUR)
    assert bool(split_patients(entries)) is (split_by is SplitBy.IMAGE)
    for label, found in shares(entries).items():
        total = sum(found)
        assert found == pytest.approx((0.7 * total, 0.15 * total, 0.15 * total), abs=8), label
    kept, dropped = draw_full(usable, split_by, 0, balanced=False, sars=True)
    assert not dropped
    assert sum(shares(kept)["sars"]) == 16
    shuffled = list(usable)
    random.Random(1).shuffle(shuffled)
    assert draw_full(shuffled, split_by, 0, balanced=False, sars=False)[0] == entries


@pytest.mark.parametrize("split_by", SplitBy)
def test_balanced_has_as_many_of_each_class_as_the_smallest(split_by: SplitBy) -> None:
    usable = [s for s in COLLECTION if s.label in FOUR]
    smallest = min(Counter(s.label for s in usable).values())
    entries, dropped = draw_full(usable, split_by, 3, balanced=True, sars=False)
    assert Counter(e.label for e in entries) == dict.fromkeys(FOUR, smallest)
    assert dropped == {"balance": len(usable) - 4 * smallest}
    assert len({e.sha256 for e in entries}) == len(entries)
    assert bool(split_patients(entries)) is (split_by is SplitBy.IMAGE)
    again = draw_full(reversed(usable), split_by, 3, balanced=True, sars=False)
    assert again == (entries, dropped)
    other = draw_full(usable, split_by, 4, balanced=True, sars=False)[0]
    assert {e.sha256 for e in other} != {e.sha256 for e in entries}


def test_balance_takes_part_of_a_patient_when_none_fits() -> None:
    samples = [
        *of_class("covid19", [1, 1, 1]),
        *(s for label in ("bacterial", "normal", "viral") for s in of_class(label, [2, 2])),
    ]
    entries, _ = draw_full(samples, SplitBy.PATIENT, 0, balanced=True, sars=False)
    assert Counter(e.label for e in entries) == dict.fromkeys(FOUR, 3)


def test_full_without_a_class_is_an_error() -> None:
    usable = [s for s in COLLECTION if s.label in ("covid19", "viral", "normal")]
    with pytest.raises(DataError, match="No images of bacterial found"):
        draw_full(usable, SplitBy.PATIENT, 0, balanced=False, sars=False)
    with pytest.raises(DataError, match="No images of bacterial, sars found"):
        draw_full(usable, SplitBy.PATIENT, 0, balanced=False, sars=True)
