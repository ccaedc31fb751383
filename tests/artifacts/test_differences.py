"""Sentences about what differs between what exists and what would be made."""

from dataclasses import replace

import pytest

from cxredge.artifacts.card import ArtifactKind, ClassifierSpec, StagePlan
from cxredge.artifacts.differences import describe_differences
from cxredge.artifacts.model_card import ExportConfig
from cxredge.artifacts.records import to_json

PLAN = StagePlan(
    ArtifactKind.MODEL,
    ClassifierSpec("tiny", ("a", "b"), 32, 0.5, 0.5, "grey-square/2"),
    {"manifest": "aa" * 32, "weights": "bb" * 32},
    ExportConfig(17),
    {"torch": "2.5.0", "python": "3.12"},
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"parents": {**PLAN.parents, "manifest": "cc" * 32}}, "the manifest (its images"),
        ({"parents": {**PLAN.parents, "weights": "cc" * 32}}, "the file with the weights"),
        ({"parents": {"manifest": "aa" * 32}}, "made with the file with the weights"),
        ({"config": ExportConfig(18)}, "opset 17, now 18"),
        ({"tools": {**PLAN.tools, "torch": "2.6.0"}}, "torch 2.5.0, now 2.6.0"),
        ({"tools": {"torch": "2.5.0", "timm": "1.0"}}, "timm none, now 1.0; python 3.12, now none"),
        ({"tools": {name: "1" for name in "abcd"}}, "a none, now 1; b none"),
    ],
)
def test_inputs_settings_and_versions_are_named(change, words: str) -> None:
    found = describe_differences(to_json(PLAN), replace(PLAN, **change))
    assert found.startswith(words)
    assert found or not words
    assert ("and 2 more" in found) is (len(change.get("tools", ())) == 4)
