"""Models whose outputs are not those of cxredge are refused before anything is read from them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from cxredge.backends.interface import Port, check_interface
from cxredge.errors import ArtifactError

IMAGE = Port("image", "uint8", (None, 1, 64, 64))
LOGITS = Port("logits", "float32", (None, 4))
DISTANCE = Port("distance", "float32", (None,))
MAPS = Port("maps", "float32", (None, 4, 7, 5))
FILE = Path("m.onnx")


def test_outputs_are_named_in_any_order() -> None:
    found = check_interface(FILE, [IMAGE], [MAPS, LOGITS, DISTANCE])
    assert found.names == ("logits", "distance", "maps")
    assert (found.has_distances, found.map_sides) == (True, (7, 5))
    assert [found.shape(name, 3) for name in found.names] == [(3, 4), (3,), (3, 4, 7, 5)]
    alone = check_interface(FILE, [IMAGE], [LOGITS])
    assert (alone.names, alone.has_distances, alone.map_sides) == (("logits",), False, None)


@pytest.mark.parametrize(
    ("ports", "words"),
    [
        ([DISTANCE, MAPS], "the outputs ['distance', 'maps']"),
        ([LOGITS, LOGITS], "the outputs ['logits', 'logits']"),
        ([LOGITS, Port("other", "float32", (None,))], "the outputs ['logits', 'other']"),
        ([LOGITS, Port("distance", "float32", (None, 1))], "float32 [?, 1] as 'distance'"),
        ([LOGITS, Port("distance", "float64", (None,))], "float64 [?] as 'distance'"),
        ([LOGITS, Port("maps", "float32", (None, 3, 7, 7))], "float32 [?, 3, 7, 7] as 'maps'"),
        ([LOGITS, Port("maps", "float32", (None, 4, None, 7))], "float32 [?, 4, ?, 7] as 'maps'"),
        ([LOGITS, Port("maps", "float16", (None, 4, 7, 7))], "float16 [?, 4, 7, 7] as 'maps'"),
        ([LOGITS, Port("maps", "float32", (None, 4, 9**9, 7))], "as 'maps'; expected float32 [N"),
    ],
)
def test_other_outputs_are_refused(ports: list[Port], words: str) -> None:
    with pytest.raises(ArtifactError, match=re.escape(words)):
        check_interface(FILE, [IMAGE], ports)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("distance", np.zeros((2, 1), np.float32)),
        ("distance", np.zeros(3, np.float32)),
        ("maps", np.zeros((2, 4, 7, 7), np.float32)),
        ("maps", np.zeros((2, 4, 7, 5))),
    ],
)
def test_arrays_that_are_not_as_declared_are_refused(name: str, values: np.ndarray) -> None:
    found = check_interface(FILE, [IMAGE], [LOGITS, DISTANCE, MAPS])
    arrays = {key: np.zeros(found.shape(key, 2), np.float32) for key in found.names}
    assert found.outputs(FILE, arrays, 2).maps is arrays["maps"]
    with pytest.raises(ArtifactError, match=f"m.onnx returned .* as '{name}' for 2 images"):
        found.outputs(FILE, {**arrays, name: values}, 2)
