"""Places of cells in the picture, compared with what networks of shifted pixels return."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from cxredge.graph.geometry import grid_of

SIZE = 64


def network(kernel: int, pads: list[int], strides: int = 5, second: int | None = None):
    """Convolutions of stride 2 that copy the pixel in the middle of their window."""
    weights, nodes, name = {}, [], "float"
    for number in range(strides):
        weight = np.zeros((1, 1, kernel, kernel), np.float32)
        low = (kernel - 1) // 2
        weight[0, 0, low : kernel - low, low : kernel - low] = 1 / (kernel - 2 * low) ** 2
        weights[f"w{number}"] = weight
        output = f"c{number}"
        nodes.append(
            helper.make_node("Conv", [name, f"w{number}"], [output], strides=[2, 2], pads=pads)
        )
        name = output
    nodes.insert(0, helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT))
    graph = helper.make_graph(
        nodes,
        "copies",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, None, None])],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), name


@pytest.mark.parametrize(
    ("kernel", "pads"),
    [(3, [1, 1, 1, 1]), (3, [0, 0, 1, 1]), (3, [0, 0, 0, 0]), (2, [0, 0, 0, 0]), (5, [2, 1, 2, 3])],
    ids=["symmetric", "as in Keras", "none", "even", "uneven"],
)
def test_a_cell_lies_on_the_pixel_that_it_copies(kernel: int, pads: list[int]) -> None:
    """Pixels hold their row, then their column: a cell that copies one returns where it lies."""
    model, name = network(kernel, pads, 3)
    grid = grid_of(model, name, SIZE)
    assert grid is not None
    assert (grid.size, grid.stride) == (SIZE, 8)
    session = ort.InferenceSession(model.SerializeToString())
    rows = np.arange(SIZE, dtype=np.uint8)[:, None].repeat(SIZE, axis=1)
    for picture, first in ((rows, grid.top), (rows.T, grid.left)):
        found = session.run(None, {"image": picture[None, None]})[0][0, 0]
        along = found[2] if picture is not rows else found[:, 2]
        expected = first + 8 * np.arange(len(along))
        inside = slice(1, -1)  # outside, padding is mixed in
        np.testing.assert_allclose(along[inside], expected[inside])


def test_branches_padding_and_slices_count() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    g (uint8[n,1,64,64] image) => (float[n,1,h,w] y)
      <float[1,1,3,3] w = {0,0,0,0,1,0,0,0,0}, int64[8] p = {0,0,1,0,0,0,0,0},
       int64[2] starts = {2,0}, int64[2] ends = {64,64}, int64[2] axes = {2,3},
       int64[1] all = {-1}>
    {
      f = Cast <to: int = 1> (image)
      pad = Pad(f, p)
      a = Conv <strides: ints = [2,2], pads: ints = [1,1,1,1], kernel_shape: ints = [3,3]>(pad, w)
      cut = Slice(f, starts, ends, axes)
      b = Conv <strides: ints = [2,2], pads: ints = [1,1,1,1], kernel_shape: ints = [3,3]>(cut, w)
      scale = GlobalAveragePool(b)
      scaled = Mul(b, scale)
      y = Add(a, scaled)
    }
    """
    grid = grid_of(onnx.parser.parse_model(text), "y", 64)
    assert grid is not None
    assert (grid.stride, grid.top, grid.left) == (2, (-1 + 2) / 2, 0)


def test_a_tensor_without_a_place_has_no_grid() -> None:
    model, _ = network(3, [1, 1, 1, 1], 2)
    assert grid_of(model, "unknown", SIZE) is None
