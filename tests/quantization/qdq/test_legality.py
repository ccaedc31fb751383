"""Each rule is broken minimally on an otherwise legal graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cxredge.errors import CxredgeError
from cxredge.graph.nodes import set_attribute
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.qdq.legality import check_legality, require_legal
from cxredge.quantization.qdq.rules import Rule
from cxredge.vocabulary import Dialect
from tests.quantization.small_graphs import (
    initializers,
    network,
    node_of,
    set_initializer,
    some_ranges,
)

TENSORRT, CPU = Dialect.TENSORRT, Dialect.CPU

NODES = (
    "c = Conv(x, w, b)",
    "r = Relu(c)",
    "a = Add(x, r)",
    "d = Conv(a, w)",
    "k = Concat<axis=2>(a, d)",
    "y = Conv(k, w, b2)",
)


@pytest.fixture
def legal() -> dict[Dialect, onnx.ModelProto]:
    model = network(*NODES)
    return {dialect: emit(model, some_ranges(model), dialect) for dialect in Dialect}


@pytest.mark.parametrize("dialect", Dialect)
def test_emitted_graphs_are_legal(dialect: Dialect, legal: dict[Dialect, onnx.ModelProto]) -> None:
    assert check_legality(legal[dialect], dialect) == []
    require_legal(legal[dialect], dialect)


def test_a_graph_of_one_dialect_breaks_rules_of_the_other(
    legal: dict[Dialect, onnx.ModelProto],
) -> None:
    rules = {v.rule for v in check_legality(legal[CPU], TENSORRT)}
    assert rules == {Rule.INTEGER_TYPE, Rule.ZERO_POINT, Rule.WEIGHT, Rule.BIAS, Rule.RESIDUAL}
    rules = {v.rule for v in check_legality(legal[TENSORRT], CPU)}
    assert rules == {Rule.INTEGER_TYPE, Rule.WEIGHT}


def two_inputs(model: onnx.ModelProto) -> None:
    del node_of(model, "x_DequantizeLinear").input[2]


def computed_scale(model: onnx.ModelProto) -> None:
    made = onnx.helper.make_node("Abs", ["x_scale"], ["computed"], "computed")
    model.graph.node.insert(0, made)
    node_of(model, "x_QuantizeLinear").input[1] = "computed"


def scale_of(value: float) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        # Read by a quantizer and a dequantizer; one of them is enough to break the rule.
        model.graph.initializer.append(numpy_helper.from_array(np.float32(value), "other"))
        node_of(model, "x_QuantizeLinear").input[1] = "other"

    return change


def zero_point(values: np.ndarray) -> Callable[[onnx.ModelProto], None]:
    return lambda model: set_initializer(model, "x_zero_point", values)


def computed_zero_point(model: onnx.ModelProto) -> None:
    made = onnx.helper.make_node("Identity", ["x_zero_point"], ["computed"], "computed")
    model.graph.node.insert(0, made)
    node_of(model, "x_QuantizeLinear").input[2] = "computed"


def scales_for_an_activation(model: onnx.ModelProto) -> None:
    set_initializer(model, "x_scale", np.ones(4, np.float32))


def wrong_axis(model: onnx.ModelProto) -> None:
    for kind in ("QuantizeLinear", "DequantizeLinear"):
        set_attribute(node_of(model, f"c_weight_{kind}"), "axis", 1)


def wrong_count(model: onnx.ModelProto) -> None:
    set_initializer(model, "c_weight_scale", np.ones(3, np.float32))


def stored_weight(model: onnx.ModelProto) -> None:
    steps = numpy_helper.from_array(np.zeros((4, 4, 1, 1), np.int8), "steps")
    model.graph.initializer.append(steps)
    node_of(model, "c_weight_DequantizeLinear").input[0] = "steps"


def computed_weight(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, onnx.helper.make_node("Abs", ["w"], ["computed"], "computed"))
    node_of(model, "c_weight_QuantizeLinear").input[0] = "computed"


def quantized_bias(model: onnx.ModelProto) -> None:
    for name, values in {
        "steps": np.zeros(4, np.int32),
        "unit": np.ones(4, np.float32),
        "none": np.zeros(4, np.int32),
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    inputs = ["steps", "unit", "none"]
    made = onnx.helper.make_node("DequantizeLinear", inputs, ["float_bias"], "bias", axis=0)
    model.graph.node.insert(0, made)
    node_of(model, "c").input[2] = "float_bias"


def quantized_branch(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    place = next(i for i, node in enumerate(nodes) if node.name == "a")
    for kind, source, result in (("Dequantize", "rq", "rd"), ("Quantize", "r", "rq")):
        inputs = [source, "x_scale", "x_zero_point"]
        made = onnx.helper.make_node(f"{kind}Linear", inputs, [result], result)
        model.graph.node.insert(place, made)
    node_of(model, "a").input[1] = "rd"


def concat_scales(model: onnx.ModelProto) -> None:
    set_initializer(model, "d_scale", np.array(0.5, np.float32))


def concat_half_in_float(model: onnx.ModelProto) -> None:
    node_of(model, "k").input[1] = "d"


def opset(version: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return change


def float_weight_for_cpu(model: onnx.ModelProto) -> None:
    inputs = ["w", "c_weight_scale", "c_weight_zero_point"]
    made = onnx.helper.make_node("QuantizeLinear", inputs, ["late"], "late", axis=0)
    model.graph.node.insert(0, made)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w"))
    node_of(model, "c_weight_DequantizeLinear").input[0] = "late"


def bias_of_other_unit(model: onnx.ModelProto) -> None:
    scale = initializers(model)["c_bias_scale"]
    set_initializer(model, "c_bias_scale", scale * np.float32(1.01))


@pytest.mark.parametrize(
    ("dialect", "change", "rule", "node"),
    [
        (TENSORRT, two_inputs, Rule.THREE_INPUTS, "x_DequantizeLinear"),
        (TENSORRT, computed_scale, Rule.SCALE, "x_QuantizeLinear"),
        (TENSORRT, scale_of(0), Rule.SCALE, "x_QuantizeLinear"),
        (TENSORRT, scale_of(-1), Rule.SCALE, "x_QuantizeLinear"),
        (CPU, scale_of(np.inf), Rule.SCALE, "x_QuantizeLinear"),
        (TENSORRT, zero_point(np.uint8(0)), Rule.INTEGER_TYPE, "x_QuantizeLinear"),
        (CPU, zero_point(np.int8(0)), Rule.INTEGER_TYPE, "x_QuantizeLinear"),
        (TENSORRT, zero_point(np.int8(1)), Rule.ZERO_POINT, "x_QuantizeLinear"),
        (TENSORRT, computed_zero_point, Rule.ZERO_POINT, "x_QuantizeLinear"),
        (TENSORRT, scales_for_an_activation, Rule.CHANNELS, "x_QuantizeLinear"),
        (TENSORRT, wrong_axis, Rule.CHANNELS, "c_weight_QuantizeLinear"),
        (CPU, wrong_count, Rule.CHANNELS, "c_weight_DequantizeLinear"),
        (TENSORRT, stored_weight, Rule.WEIGHT, "c"),
        (TENSORRT, computed_weight, Rule.WEIGHT, "c"),
        (CPU, float_weight_for_cpu, Rule.WEIGHT, "c"),
        (TENSORRT, quantized_bias, Rule.BIAS, "c"),
        (CPU, bias_of_other_unit, Rule.BIAS, "c"),
        (TENSORRT, quantized_branch, Rule.RESIDUAL, "a"),
        (TENSORRT, concat_scales, Rule.CONCAT, "k"),
        (TENSORRT, concat_half_in_float, Rule.CONCAT, "k"),
        (TENSORRT, opset(18), Rule.OPSET, "graph"),
    ],
)  # fmt: skip
def test_each_violation_is_reported(
    dialect: Dialect,
    change: Callable[[onnx.ModelProto], None],
    rule: Rule,
    node: str,
    legal: dict[Dialect, onnx.ModelProto],
) -> None:
    model = legal[dialect]
    change(model)
    violations = check_legality(model, dialect)
    assert (node, rule) in {(v.node, v.rule) for v in violations}
    assert all(v.explanation for v in violations)


@pytest.mark.parametrize("kind", [np.uint8, np.int32])
def test_a_stored_zero_point_of_a_bias_is_zero_on_a_cpu(
    kind: type, legal: dict[Dialect, onnx.ModelProto]
) -> None:
    set_initializer(legal[CPU], "c_bias_zero_point", np.ones(4, kind))
    assert check_legality(legal[CPU], CPU) != []


def test_the_refusal_names_the_first_and_counts_all(
    legal: dict[Dialect, onnx.ModelProto],
) -> None:
    with pytest.raises(CxredgeError) as caught:
        require_legal(legal[CPU], TENSORRT)
    count = len(check_legality(legal[CPU], TENSORRT))
    assert f"in {count} places" in caught.value.message
    assert f"and {count - 5} more" in caught.value.message
    assert "x_weight" in caught.value.message or "i_QuantizeLinear" in caught.value.message
