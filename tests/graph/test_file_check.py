"""ONNX files are checked before a runtime reads them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cxredge.errors import ArtifactError
from cxredge.graph import file_check
from cxredge.graph.file_check import check_model_file
from cxredge.graph.model_file import read_model


def small_model() -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "small",
        [value("x", TensorProto.FLOAT, ["N", 3])],
        [value("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.arange(3, dtype=np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_plain_model_passes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(small_model(), path)
    check_model_file(path)
    assert read_model(path) == small_model()


@pytest.mark.parametrize("kind", ["float32", "int4", "bool", "int64"])
def test_weights_of_every_size_pass(kind: str, tmp_path: Path) -> None:
    model = small_model()
    types = {"int4": TensorProto.INT4, "bool": TensorProto.BOOL, "int64": TensorProto.INT64}
    model.graph.initializer.append(
        helper.make_tensor("v", types.get(kind, TensorProto.FLOAT), [1001], [1] * 1001)
    )
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    check_model_file(path)


def external(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")


def external_in_a_node(model: onnx.ModelProto) -> None:
    external(model)
    tensor = model.graph.initializer.pop()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))


def function(model: onnx.ModelProto) -> None:
    model.functions.append(
        helper.make_function("own", "F", ["a"], ["b"], [], [helper.make_opsetid("", 17)])
    )


def negative(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -3


def large(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 2**40


def sparse(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    places = numpy_helper.from_array(np.zeros(1, np.int64))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [10**9, 10**9]))


def scan(model: onnx.ModelProto) -> None:
    model.graph.node.append(
        helper.make_node("Scan", ["x"], ["z"], body=small_model().graph, num_scan_inputs=1)
    )


def nested(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("g", small_model().graph))


def foreign(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "ai.onnx.ml"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (external, "keeps weights in another file"),
        (external_in_a_node, "keeps weights in another file"),
        (function, "defines operators of its own"),
        (negative, "which it lacks"),
        (large, "declares a weight of 1.1e+12 values"),
        (sparse, "has sparse weights"),
        (scan, "has the operator Scan"),
        (nested, "has graphs inside nodes"),
        (foreign, "operators of 'ai.onnx.ml'"),
    ],
)
def test_what_no_model_of_cxredge_has_is_refused(change, words: str, tmp_path: Path) -> None:
    model = small_model()
    change(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    for read in (check_model_file, read_model):
        with pytest.raises(ArtifactError, match=words.replace("+", r"\+")):
            read(path)


@pytest.mark.parametrize(
    "content", [b"\x00", b"\xff" * 100, b"\x3a\xff\xff\xff\x7f", b"\x3a\x02\x0a", b"\x08\x08"]
)
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="is not a valid ONNX model"):
        check_model_file(path)


def test_every_cut_of_a_model_is_refused_or_read(tmp_path: Path) -> None:
    content = small_model().SerializeToString()
    for length in range(1, len(content)):
        path = tmp_path / f"{length}.onnx"
        path.write_bytes(content[:length])
        with suppress(ArtifactError):
            check_model_file(path)


def test_files_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "empty.onnx").touch()
    for name, words in (
        ("pipe.onnx", "not a regular file, but a pipe"),
        ("empty.onnx", "is empty: 0 bytes"),
        ("gone.onnx", "does not exist"),
        (".", "cannot be read: Is a directory"),
    ):
        with pytest.raises(ArtifactError, match=words):
            check_model_file(tmp_path / name)


def test_the_number_of_parts_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_check, "MAX_NODES", 10)
    model = small_model()
    model.graph.node.extend([model.graph.node[0]] * 10)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match="has more than 10 nodes"):
        check_model_file(path)
    monkeypatch.setattr(file_check, "MAX_PARTS", 5)
    os.utime(path, (0, 0))
    with pytest.raises(ArtifactError, match="has more than 5 parts"):
        check_model_file(path)
