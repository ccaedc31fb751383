"""The campaign that edits figures: it finds every number, and counts what is noticed."""

from __future__ import annotations

from pathlib import Path

from benchmarks.campaign.edited_figures import count, edits
from cxredge.artifacts.hashing import with_content_hash
from cxredge.artifacts.records import to_json
from cxredge.results.read import parse_result
from tests.results.sample_results import EVALUATION


def test_every_number_is_edited_once() -> None:
    document = {"a": 1, "b": {"c": [0.5, True]}, "x_sha256": 3, "d": "text"}
    assert dict(edits(document)) == {
        "a": {**document, "a": 2},
        "b.c.0": {**document, "b": {"c": [0.6, True]}},
        "b.c.1": {**document, "b": {"c": [0.5, False]}},
    }


def test_edits_are_noticed_by_the_hash_and_most_without_it() -> None:
    values = with_content_hash(to_json(EVALUATION))
    found = count(values, lambda v: parse_result(v, Path("r.json")), with_content_hash)
    assert found["kept"] == found["figures"] > 50
    assert found["again"] > 0.6 * found["figures"]
