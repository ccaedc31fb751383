"""Bundles that were tampered with are refused in a sentence, within limits of time and memory.

``make campaign`` tries the same kinds on every command that reads a bundle.
"""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.campaign.tampered import (
    ESCAPES,
    KINDS,
    Kind,
    bind,
    edit_passport,
    replace_file,
    write_bomb,
)
from cxredge.artifacts.card import ClassifierSpec, read_card
from cxredge.bundle import flipped
from cxredge.bundle.arrays import read_arrays
from cxredge.bundle.bundle import open_bundle
from cxredge.bundle.card import BundleCard
from cxredge.bundle.layout import FLIPPED_NAME, ORIENTATION_NAME
from cxredge.bundle.orientation import read_orientation
from cxredge.errors import ArtifactError
from cxredge.telemetry.kernel_files import read_text

MOST_SECONDS = 20
MOST_BYTES = 1_500_000_000
"""Address space that a command may reserve beyond what the process has."""


@pytest.fixture
def limited_memory() -> Iterator[None]:
    """Let allocations beyond the limit fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int((read_text(Path("/proc/self/statm")) or "0").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.usefixtures("limited_memory")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_tampered_bundle_ends_in_a_sentence(
    kind: Kind, bundle: Path, cxredge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle.parent)
    kind.tamper(bundle)
    start = time.monotonic()
    ran = cxredge("verify", bundle)
    assert time.monotonic() - start < MOST_SECONDS
    assert ran.code == (1 if kind.words else 0), ran.err
    assert "Internal error" not in ran.err
    assert "\x1b" not in ran.err + ran.out
    assert kind.words in ran.err
    assert not (bundle.parent / "payload-was-run").exists()


def test_escapes_in_a_passport_are_shown_not_sent(bundle: Path, tmp_path: Path, cxredge) -> None:
    edit_passport(bundle, lambda body: body.update(reason=f"<script>1</script>{ESCAPES}"))
    shown = cxredge("inspect", bundle, "-v").out
    assert "\\x1b]0;title\\x07" in shown
    for suffix in (".html", ".md"):
        out = tmp_path / f"report{suffix}"
        assert cxredge("report", bundle, "--out", out).code == 0
        assert "\x1b" not in out.read_text()
        assert "<script>1" not in out.read_text()


def test_a_model_of_other_classes_does_not_serve(bundle: Path) -> None:
    opened = open_bundle(bundle)
    classifier = replace(opened.card.classifier, classes=("a", "b", "c"))
    other = replace(opened, card=replace_classes(opened.card, classifier))
    with pytest.raises(ArtifactError, match="has 4 classes; its card states 64 pixels and 3 cl"):
        other.open()


def replace_classes(card: BundleCard, classifier: ClassifierSpec) -> BundleCard:
    thresholds = {p: dict.fromkeys(classifier.classes, 0.5) for p in card.facts.gate}
    gate = {
        p: replace(g, checks=tuple(c for c in g.checks if c.class_name is None), thresholds=(),
                   flipped=())
        for p, g in card.facts.gate.items()
    }  # fmt: skip
    return replace(
        card,
        classifier=classifier,
        facts=replace(card.facts, thresholds=thresholds, gate=gate, operating_points={}),
    )


@pytest.mark.parametrize("command", ["verify", "inspect", "predict", "deploy"])
def test_a_signature_that_never_ends_is_refused(bundle: Path, command: str, cxredge) -> None:
    (bundle / "card.sig").symlink_to("/dev/zero")
    arguments = {"predict": [bundle], "deploy": ["--out", bundle.parent / "other"]}
    ran = cxredge(command, bundle, *arguments.get(command, []))
    if command in ("verify", "inspect"):
        assert ran.code == 1
        assert "card.sig is not a regular file, but a device" in ran.err
    assert "Internal error" not in ran.err


def test_a_key_that_never_ends_is_refused(bundle: Path, cxredge) -> None:
    pytest.importorskip("cryptography", reason="needs the signing extra")
    for command, option in (("sign", "--key"), ("verify", "--public-key")):
        ran = cxredge(command, bundle, option, "/dev/zero")
        assert ran.code == 2
        assert "/dev/zero is not a regular file, but a device" in ran.err


def test_a_build_does_not_wait_for_a_pipe_as_card(tmp_path: Path, cxredge) -> None:
    import os

    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "card.json")
    ran = cxredge("build", tmp_path / "run", "--out", tmp_path / "bundle")
    assert ran.code == 1
    assert "it has no card.json" in ran.err


def test_pictures_must_fit_the_network(bundle: Path) -> None:
    import numpy as np

    np.savez(bundle / FLIPPED_NAME, indices=np.arange(2), pixels=np.zeros((2, 8, 8), "u1"))
    assert set(flipped.read_flipped(bundle, 8)) == {0, 1}
    with pytest.raises(ArtifactError, match=r"expected pixels uint8 \(2, 64, 64\), found uint8"):
        flipped.read_flipped(bundle, 64)


@pytest.mark.usefixtures("limited_memory")
def test_pictures_that_are_too_large_are_refused_before_they_are_unpacked(bundle: Path) -> None:
    write_bomb(bundle, FLIPPED_NAME)
    with pytest.raises(ArtifactError, match="its arrays have 200 MB, more than 100 MB"):
        flipped.read_flipped(bundle, 64)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"kept": (16, 16)}, "expected kept and turned, found kept"),
        ({"kept": (16, 16), "turned": (8, 8)}, r"expected turned float32 \(16, 16\) of finite"),
    ],
)
def test_templates_of_another_kind_are_refused(
    bundle: Path, arrays: dict[str, tuple[int, int]], message: str
) -> None:
    import numpy as np

    content = {name: np.zeros(shape, np.float32) for name, shape in arrays.items()}
    np.savez(bundle / ORIENTATION_NAME, **content)
    with pytest.raises(ArtifactError, match=message):
        read_orientation(bundle, read_card(bundle, BundleCard))


def test_a_bundle_of_an_earlier_version_has_no_templates(bundle: Path) -> None:
    card = read_card(bundle, BundleCard)
    assert read_orientation(bundle, card) is not None
    earlier = {name: hash_ for name, hash_ in card.files.items() if name != ORIENTATION_NAME}
    assert read_orientation(bundle, replace(card, files=earlier)) is None


def test_a_directory_of_many_entries_is_refused_before_it_is_read(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "many.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1000):
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(ArtifactError, match="holds more than 64 arrays"):
        read_arrays(path)


def test_a_card_without_tampering_is_read(bundle: Path) -> None:
    before = read_card(bundle, BundleCard)
    bind(bundle)
    replace_file(bundle, "ranges.json", (bundle / "ranges.json").read_bytes())
    assert read_card(bundle, BundleCard) == before
    shutil.rmtree(bundle)
