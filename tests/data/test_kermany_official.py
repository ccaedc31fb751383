"""Kermany's official split: what the test folder shows is not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cxredge.data.kermany_official import split_officially
from cxredge.data.manifest import Entry
from cxredge.vocabulary import Split

ROOT = Path("set")


def entry(name: str, patient: str, label: str = "viral") -> Entry:
    return Entry(ROOT / name, label, patient, "kermany", sha256=name)


def test_training_images_of_patients_in_the_test_folder_are_left_out() -> None:
    entries = [
        entry("test/PNEUMONIA/a.jpeg", "p1"),
        entry("test/PNEUMONIA/b.jpeg", "p2"),
        entry("train/PNEUMONIA/c.jpeg", "p3"),  # the X-ray of p2
        entry("train/PNEUMONIA/d.jpeg", "p3"),  # another one of the same patient
        entry("train/PNEUMONIA/e.jpeg", "p4"),
        entry("train/PNEUMONIA/f.jpeg", "p5"),  # the X-ray of p4
        entry("train/PNEUMONIA/g.jpeg", "p6", "bacterial"),  # that of p4 under another label
        *(entry(f"train/PNEUMONIA/{n}.jpeg", f"n{n}") for n in range(20)),
    ]
    hashes = np.random.default_rng(0).integers(0, 256, (len(entries), 69), dtype=np.uint8)
    hashes[:, -1] = 255  # no image is uniform
    hashes[2], hashes[5], hashes[6] = hashes[1], hashes[4], hashes[4]
    found, left_out, joined = split_officially(entries, hashes, ROOT, 0)
    assert {str(path): why for path, why in left_out.files} == {
        "set/train/PNEUMONIA/c.jpeg": "patient_in_test",
        "set/train/PNEUMONIA/d.jpeg": "patient_in_test",
        "set/train/PNEUMONIA/f.jpeg": "near_duplicate",
    }
    assert joined == 3
    by_name = {one.path.name: one for one in found}
    assert by_name["a.jpeg"].split is by_name["b.jpeg"].split is Split.TEST
    assert by_name["g.jpeg"].patient == by_name["e.jpeg"].patient
    assert by_name["g.jpeg"].split is by_name["e.jpeg"].split
    assert sum(one.split is Split.VAL for one in found) in (4, 5)
    assert len(found) + len(left_out.files) == len(entries)
