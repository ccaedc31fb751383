"""Layers of an engine: their times, and their formats by the inspector."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxredge.backends.tensorrt.layers import parse_layers, profile_layers
from tests.backends.conftest import Fake


def test_layers_are_timed(plan: Path, fake: Fake, images) -> None:
    fake("10.3.0")
    layers = profile_layers(plan, images[:1], runs=4, warm_up=2)
    assert [(layer.name, layer.mean_ms) for layer in layers] == [("gemm", 0.5), ("conv1", 0.25)]


@pytest.mark.parametrize(
    ("datatype", "expected"),
    [
        ("Half NHWC8", "fp16"),
        ("Row major linear FP32", "fp32"),
        ("Two wide channel vectorized row major Int8 format", "int8"),
        ("UInt8 linear", "uint8"),
        ("BFloat16", "bf16"),
        ("Something", "Something"),
    ],
)
def test_formats_are_read_from_the_inspector(datatype: str, expected: str) -> None:
    layer = {"Name": "a", "LayerType": "k", "Outputs": [{"Name": "x", "Datatype": datatype}]}
    assert parse_layers(json.dumps({"Layers": [layer]}))[0].format == expected


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Layers": ["a", "b"]}'])
def test_inspector_output_without_layers_is_empty(text: str) -> None:
    assert parse_layers(text) == ()
