"""Coverage of prediction sets in a result: figures that contradict each other are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxredge.artifacts.records import to_json
from cxredge.errors import ArtifactError
from cxredge.metrics.classification import wilson
from cxredge.results.coverage import SetCounts, SetCoverage
from cxredge.results.read import read_result
from tests.results.sample_results import EVALUATION, changed


def counts(images: int, covered: int, single: int, classes_in_sets: int) -> Mapping[str, Any]:
    possible = 0 < images >= covered
    return {
        "images": images,
        "covered": covered,
        "single": single,
        "classes_in_sets": classes_in_sets,
        "coverage": covered / images if possible else None,
        "coverage_ci95": wilson(covered, images) if possible else None,
        "single_share": single / images if images else None,
        "single_share_ci95": wilson(single, images) if images else None,
        "mean_size": classes_in_sets / images if images else None,
    }


COVERED = replace(
    EVALUATION,
    coverage=SetCoverage(
        **counts(75, 70, 40, 110),
        target=0.9,
        by_class={"covid19": SetCounts(**counts(75, 70, 40, 110)),
                  "viral": SetCounts(**counts(0, 0, 0, 0))},
    ),
)  # fmt: skip
"""A class of which no image was answered has counts, and no shares."""


def read(values: Any, folder: Path) -> Any:
    path = folder / "r.json"
    path.write_text(json.dumps(values))
    return read_result(path)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read(to_json(COVERED), tmp_path) == COVERED


def test_older_results_have_none(tmp_path: Path) -> None:
    values = to_json(COVERED)
    del values["coverage"]
    assert read(values, tmp_path).coverage is None


@pytest.mark.parametrize(
    ("keys", "to", "words"),
    [
        (("target",), 1.5, "key 'coverage.target'"),
        (("covered",), 69, "'covered' of the coverage is 69, that of its classes 70"),
        (("by_class", "viral"), None, "key 'coverage.by_class.viral'"),
        (("by_class",), {}, "'coverage' must hold covid19, viral, one entry for each class"),
        (("coverage",), 0.5, "the coverage of all classes is 0.5, by its counts 0.933"),
        (
            ("by_class", "covid19", "coverage_ci95"),
            [0.5, 1.0],
            "coverage of covid19 is not Wilson's",
        ),
        (("single_share",), None, "with one class of all classes is None, by its counts 0.53"),
        (("mean_size",), 1.0, "the mean size of the sets of all classes is 1.0, by their counts"),
        (("by_class", "viral", "mean_size"), 1.0, "the mean size of the sets of viral is 1.0"),
    ],
)
def test_contradictions_are_refused(
    keys: tuple[str, ...], to: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=re.escape(words)):
        read(changed(COVERED, "coverage", *keys, to=to), tmp_path)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (counts(81, 70, 40, 120), "'covid19' has 80 images, but 81 sets"),
        (counts(75, 76, 40, 110), "the sets of all classes cannot hold 110 classes, 40 alone"),
        (counts(75, 70, 40, 109), "the sets of all classes cannot hold 109 classes, 40 alone"),
        (counts(75, 70, 40, 151), "the sets of all classes cannot hold 151 classes, 40 alone"),
    ],
)
def test_counts_that_no_images_have_are_refused(
    row: Mapping[str, Any], words: str, tmp_path: Path
) -> None:
    values: Any = to_json(COVERED)
    values["coverage"].update({k: v for k, v in row.items() if k != "coverage_ci95"})
    values["coverage"]["by_class"]["covid19"].update(row)
    with pytest.raises(ArtifactError, match=re.escape(words)):
        read(values, tmp_path)
