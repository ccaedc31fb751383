from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cxredge.data.audit import (
    audit_images,
    audit_manifest,
    control_warnings,
    manifest_warnings,
    source_association,
    source_warnings,
)
from cxredge.data.manifest import Entry, Manifest, read_manifest
from cxredge.data.phantoms import render_phantom
from cxredge.data.shortcuts import Shortcuts
from cxredge.progress import Silent
from cxredge.vocabulary import Split

Row = tuple[str, str, Split, str]


def listing(*rows: Row) -> Manifest:
    return Manifest(
        Path("m.csv"),
        tuple(
            Entry(Path(f"{n}.png"), label, patient, source, "", split, f"{n:064x}")
            for n, (label, source, split, patient) in enumerate(rows)
        ),
        "",
    )


def rows(label: str, source: str, count: int, split: Split = Split.TRAIN) -> list[Row]:
    return [(label, source, split, f"{label}-{source}-{split}-{n}") for n in range(count)]


def test_clean_set_draws_no_warning() -> None:
    clean = listing(*rows("a", "x", 5), *rows("b", "x", 5), *rows("a", "y", 5), *rows("b", "y", 5))
    found = audit_manifest(clean)
    assert found.warnings == ()
    assert found.images == found.patients == 20
    assert found.patients_in_two_splits == found.duplicates_across_splits == 0
    assert found.sources == {"a": {"x": 5, "y": 5}, "b": {"x": 5, "y": 5}}
    assert found.views == {"a": {"not stated": 10}, "b": {"not stated": 10}}
    assert found.counts == {"train": {"a": 10, "b": 10}}


def test_patients_in_two_splits_are_counted_and_warned_of() -> None:
    leaking = listing(
        ("a", "x", Split.TRAIN, "p1"),
        ("b", "x", Split.TEST, "p1"),
        ("a", "x", Split.VAL, "p1"),
        ("b", "x", Split.TRAIN, "p2"),
        ("a", "x", Split.TEST, "p3"),
        ("b", "x", Split.VAL, "p3"),
    )
    assert audit_manifest(leaking).patients_in_two_splits == 2
    assert any(warning.startswith("2 patients") for warning in manifest_warnings(leaking))


def test_equal_files_count_only_across_splits() -> None:
    entries = listing(*rows("a", "x", 2), *rows("a", "x", 2, Split.TEST)).entries

    def with_hashes(*hashes: str) -> Manifest:
        changed = (
            replace(entry, sha256=value) for entry, value in zip(entries, hashes, strict=True)
        )
        return Manifest(Path("m.csv"), tuple(changed), "")

    assert audit_manifest(with_hashes("1", "2", "3", "4")).duplicates_across_splits == 0
    assert audit_manifest(with_hashes("1", "1", "3", "3")).duplicates_across_splits == 0
    assert audit_manifest(with_hashes("1", "2", "2", "1")).duplicates_across_splits == 2
    assert audit_manifest(with_hashes("", "", "", "")).duplicates_across_splits == 0
    assert "2 images are in more than one split" in " ".join(
        manifest_warnings(with_hashes("1", "2", "2", "1"))
    )


@pytest.mark.parametrize(("large", "warned"), [(3, False), (9, False), (10, True), (30, True)])
def test_imbalance_is_warned_of_beyond_three_to_one(large: int, warned: bool) -> None:
    imbalanced = listing(*rows("a", "x", large), *rows("b", "x", 3))
    found = [w for w in manifest_warnings(imbalanced) if "imbalanced" in w]
    assert bool(found) is warned
    assert not found or f"{large} images of 'a', 3 of 'b'" in found[0]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param({("a", "x"): 4, ("b", "y"): 7}, 1.0, id="one-decides-the-other"),
        pytest.param(
            {("a", "x"): 4, ("a", "y"): 2, ("b", "x"): 8, ("b", "y"): 4}, 0.0, id="independent"
        ),
        pytest.param({("a", "x"): 4, ("b", "x"): 4}, 0.0, id="one-source"),
        pytest.param({("a", "x"): 4, ("a", "y"): 4}, 0.0, id="one-class"),
        # The phi coefficient (30*30 - 10*10) / (40*40).
        pytest.param(
            {("a", "x"): 30, ("a", "y"): 10, ("b", "x"): 10, ("b", "y"): 30}, 0.5, id="phi"
        ),
        pytest.param({("a", "x"): 5, ("b", "y"): 5, ("c", "y"): 5}, 1.0, id="three-classes"),
        pytest.param({("a", "x"): 1, ("a", "y"): 1, ("b", "z"): 1}, 1.0, id="three-sources"),
    ],
)
def test_association_of_class_and_source(
    table: dict[tuple[str, str], int], expected: float
) -> None:
    listed = [row for (label, source), n in table.items() for row in rows(label, source, n)]
    assert source_association(listing(*listed).entries) == pytest.approx(expected, abs=1e-12)


def test_class_determined_by_its_source_draws_a_warning() -> None:
    confounded = listing(*rows("covid", "hospital", 6), *rows("normal", "paediatric", 6))
    (warning,) = source_warnings(confounded)
    assert "covid: hospital" in warning
    assert "normal: paediatric" in warning
    assert source_warnings(listing(*rows("covid", "x", 6), *rows("normal", "x", 6))) == []
    mixed = [*rows("a", "x", 6), *rows("a", "y", 5), *rows("b", "x", 5), *rows("b", "y", 6)]
    assert source_warnings(listing(*mixed)) == []


def test_views_are_counted_by_class() -> None:
    entries = [
        Entry(Path(f"{n}.png"), label, str(n), "x", view)
        for n, (label, view) in enumerate([("a", "PA"), ("a", "AP"), ("a", "PA"), ("b", "")])
    ]
    views = audit_manifest(Manifest(Path("m.csv"), tuple(entries), "")).views
    assert views == {"a": {"AP": 1, "PA": 2}, "b": {"not stated": 1}}


def test_view_that_differs_by_class_is_warned_of() -> None:
    def viewed(*labels_and_views: tuple[str, str]) -> Manifest:
        entries = (
            Entry(Path(f"{n}.png"), label, str(n), "x", view)
            for n, (label, view) in enumerate(labels_and_views)
        )
        return Manifest(Path("m.csv"), tuple(entries), "")

    differing = viewed(*[("a", "PA")] * 5, *[("b", "AP")] * 5)
    assert audit_manifest(differing).view_association == pytest.approx(1)
    (warning,) = manifest_warnings(differing)
    assert "a: PA 5; b: AP 5" in warning
    assert (
        manifest_warnings(viewed(*[("a", "PA"), ("b", "AP"), ("a", "AP"), ("b", "PA")] * 3)) == []
    )
    (warning,) = manifest_warnings(viewed(*[("a", "PA")] * 5, *[("b", "")] * 5))
    assert warning.startswith("The view is stated for 5 of 10 images and for none of b")


def test_unusable_images_are_counted(manifest: Manifest) -> None:
    first, second, *rest = manifest.entries
    gone = replace(first, path=first.path.with_name("gone.png"))
    altered = replace(second, sha256="0" * 64)
    listed = replace(manifest, entries=(gone, altered, *rest))
    found = audit_images(listed, Silent())
    assert found.unusable == {"changed": 1, "missing": 1}
    assert f"2 of {len(listed.entries)} images could not be audited" in " ".join(found.warnings)
    nothing = replace(manifest, entries=(gone,))
    assert audit_images(nothing, Silent()).shortcuts == Shortcuts(None, None)


def test_near_duplicates_and_shortcuts_are_warned_of(phantoms: Path, tmp_path: Path) -> None:
    listed = read_manifest(phantoms / "manifest.csv")
    images = Counter(entry.patient for entry in listed.entries)
    source = next(
        entry
        for entry in listed.of(Split.TRAIN)
        if entry.path.suffix == ".png"
        and images[entry.patient] == 1
        and Image.open(entry.path).mode == "L"
    )
    Image.open(source.path).save(tmp_path / "again.jpg", quality=85)
    again = replace(source, path=tmp_path / "again.jpg", split=Split.TEST, sha256="", patient="new")
    found = audit_images(replace(listed, entries=(*listed.entries, again)), Silent())
    assert found.near_duplicates_across_splits.count == 1
    warnings = " ".join(found.warnings)
    assert "2 images are near duplicates of an image in another split (1 pairs)" in warnings
    assert audit_images(listed, Silent()).near_duplicates_across_splits.count == 0


def test_controls_are_counted_and_are_no_class(tmp_path: Path) -> None:
    entries = [
        Entry(tmp_path / f"{n}.png", "ab"[n % 2], f"p{n}", f"s{n % 2}", split=split, sha256="")
        for n, split in enumerate((Split.TRAIN, Split.TRAIN, Split.TEST, Split.TEST))
    ]
    alone = Manifest(tmp_path / "m.csv", tuple(entries), "")
    (warning,) = control_warnings(alone)
    assert "a (s0); b (s1)" in warning
    control = Entry(tmp_path / "c.png", "", "q", "s0", split=Split.CONTROL, finding="ct")
    manifest = Manifest(tmp_path / "m.csv", (*entries, control), "")
    (warning,) = control_warnings(manifest)
    assert "b (s1)" in warning
    assert "a (s0)" not in warning
    audit, before = audit_manifest(manifest), audit_manifest(alone)
    assert audit.controls == {"ct": {"s0": 1}}
    assert (audit.images, audit.patients) == (4, 4)
    for name in ("counts", "sources", "source_association", "views", "duplicates_across_splits"):
        assert getattr(audit, name) == getattr(before, name)


def test_controls_that_show_an_xray_of_a_class_are_reported(tmp_path: Path) -> None:
    entries = []
    for n, (split, number) in enumerate(
        [(Split.TRAIN, 0), (Split.TEST, 1), (Split.CONTROL, 0), (Split.CONTROL, 2)]
    ):
        path = tmp_path / f"{n}.jpg"
        Image.fromarray(render_phantom("normal", number, 0)).save(path, quality=60 + n)
        label = "" if split is Split.CONTROL else "normal"
        entries.append(Entry(path, label, f"p{n}", "s", split=split, finding="ct"))
    audit = audit_images(Manifest(tmp_path / "m.csv", tuple(entries), ""), Silent())
    near = audit.near_duplicates_across_splits
    assert (near.count, near.images, near.of_controls) == (0, 0, 1)
    assert any(
        "among the controls, which may show that class: 1." in warning for warning in audit.warnings
    )
