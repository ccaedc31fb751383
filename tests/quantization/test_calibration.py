"""Measuring a calibration set from its files: activations, processes and the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Entry, Manifest
from cxredge.errors import CxredgeError, DataError
from cxredge.graph.index import GraphIndex
from cxredge.quantization import calibration
from cxredge.quantization.calibration import cache_key, measure_cached, measure_entries
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.qdq.placement import activations_to_measure, place
from cxredge.quantization.ranges.activations import quantizable_activations
from cxredge.quantization.ranges.histogram import EMPTY
from cxredge.quantization.ranges.measure import measure
from cxredge.quantization.sessions import measuring_session, session_with_outputs
from cxredge.vocabulary import Dialect, RangeMethod, Split
from tests.quantization.ranges.test_statistics import same

SIZE = 64


@pytest.fixture(scope="module")
def graph(model: Path) -> onnx.ModelProto:
    return onnx.load(model / "model.onnx")


@pytest.fixture(scope="module")
def entries(manifest: Manifest) -> tuple[Entry, ...]:
    return manifest.of(Split.TRAIN)[:21]


def silent(_: int) -> None:
    pass


def network(nodes: list[onnx.NodeProto], **constants: np.ndarray) -> onnx.ModelProto:
    """Return a graph from ``image`` to ``logits``."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_the_normalisation_is_not_measured(graph: onnx.ModelProto) -> None:
    names = quantizable_activations(graph)
    assert "normal" in names, "the input of the first convolution"
    assert not {"float", "scaled"} & set(names)
    assert {"r1", "pooled", "features", "logits"} <= set(names)


def test_a_tensor_that_only_an_activation_reads_is_not_measured(graph: onnx.ModelProto) -> None:
    names = quantizable_activations(graph)
    assert not {"c1", "sum"} & set(names)
    for dialect in Dialect:
        placement, index = place(graph, dialect), GraphIndex(graph.graph)
        needed = {index.name_at(edge) for edge in placement.edges}.union(*placement.shared)
        assert needed <= set(names)


@pytest.mark.parametrize("dialect", Dialect)
def test_measuring_what_a_dialect_quantizes_suffices(
    graph: onnx.ModelProto, entries: tuple[Entry, ...], dialect: Dialect
) -> None:
    names = activations_to_measure(graph, dialect)
    assert set(names) <= set(quantizable_activations(graph))
    assert "logits" in names
    found = measure_entries(graph, entries[:4], SIZE, silent, dialect=dialect)
    assert list(found.histograms) == names
    every = measure_entries(graph, entries[:4], SIZE, silent)
    assert all(found.histograms[name].total == every.histograms[name].total for name in names)
    convolutions = [node.name for node in graph.graph.node if node.op_type == "Conv"]
    ranges = found.ranges(RangeMethod.MINMAX, symmetric=dialect is Dialect.TENSORRT)
    for keep in ([], *([name] for name in convolutions), convolutions[1:]):
        emit(graph, ranges, dialect, keep=keep)


def test_histograms_hold_every_value(graph: onnx.ModelProto, entries: tuple[Entry, ...]) -> None:
    pixels = load_pixels(entries[:3], SIZE)
    statistics = measure(graph, [pixels[:2], pixels[2:]], silent)
    names = list(statistics.histograms)
    values = session_with_outputs(graph, names).run(names, {"image": pixels[:, None]})
    assert statistics.images == 3
    for name, value in zip(names, values, strict=True):
        assert statistics.histograms[name].total == value.size
        moved = np.abs(statistics.histograms[name].counts - EMPTY.add(value).counts).sum()
        # The last bit of a value may depend on the batch and on the layout of the runtime.
        assert moved <= 2 + value.size / 500, name


def test_batches_order_and_threads_do_not_change_the_result(
    graph: onnx.ModelProto, entries: tuple[Entry, ...]
) -> None:
    pixels = load_pixels(entries, SIZE)
    first = measure(graph, [pixels], silent)
    again = measure(graph, (pixels[i : i + 4][::-1] for i in range(20, -1, -4)), silent, threads=2)
    assert same(again, first)


def test_two_processes_return_the_same_as_one(
    graph: onnx.ModelProto, entries: tuple[Entry, ...]
) -> None:
    one, done = measure_entries(graph, entries, SIZE, silent), []
    assert same(measure_entries(graph, entries, SIZE, done.append, processes=2), one)
    assert done == [11, 10]
    assert same(one, measure(graph, [load_pixels(entries, SIZE)], silent))


def test_a_concatenation_has_the_summed_histogram_of_its_inputs(entries: tuple[Entry, ...]) -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["float", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Concat", ["c", "r", "c"], ["joined"], axis=1),
        helper.make_node("Concat", ["joined", "r"], ["twice"], axis=1),
        helper.make_node("GlobalAveragePool", ["twice"], ["logits"]),
    ]
    model = network(nodes, w=np.array([0.5, -0.3]).reshape(2, 1, 1, 1))
    pixels = load_pixels(entries[:2], SIZE)
    found = measure(model, [pixels], silent)
    assert list(found.histograms) == ["float", "c", "r", "joined", "twice", "logits"]
    session, again = session_with_outputs(model, ["twice"]), EMPTY
    for image in pixels:
        again = again.add(session.run(["twice"], {"image": image[None, None]})[0])
    assert np.array_equal(found.histograms["twice"].counts, again.counts)


def poisoned() -> onnx.ModelProto:
    """Return a network whose activation is infinite where a pixel is 255."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["float", "w"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["huge"]),
        helper.make_node("GlobalAveragePool", ["huge"], ["logits"]),
    ]
    return network(nodes, w=np.full((1, 1, 1, 1), np.finfo(np.float32).max / 254.5))


def test_values_that_are_not_finite_are_refused_with_tensor_and_image(
    entries: tuple[Entry, ...],
) -> None:
    pixels = np.zeros((5, SIZE, SIZE), np.uint8)
    pixels[3, 7, :2] = 255
    with pytest.raises(CxredgeError, match=r"2 of the 4096 values.*'huge'.*for image 4;"):
        measure(poisoned(), [pixels[:2], pixels[2:]], silent)
    paths = [entry.path for entry in entries]
    with pytest.raises(CxredgeError) as caught:
        measure(poisoned(), [pixels], silent, paths)
    assert str(paths[3]) in caught.value.message


def test_images_and_activations_are_required(graph: onnx.ModelProto) -> None:
    with pytest.raises(CxredgeError, match="no calibration image"):
        measure(graph, [], silent)
    cast = helper.make_node("Cast", ["image"], ["logits"], to=TensorProto.FLOAT)
    with pytest.raises(CxredgeError, match="no float activation"):
        measure(network([cast]), [np.zeros((1, SIZE, SIZE), np.uint8)], silent)


def test_a_damaged_image_stops_the_pass(
    graph: onnx.ModelProto, entries: tuple[Entry, ...], tmp_path: Path
) -> None:
    (tmp_path / "cut.png").write_bytes(entries[0].path.read_bytes()[:200])
    broken = Entry(tmp_path / "cut.png", "viral", "p", "s")
    for processes in (1, 2):
        with pytest.raises(DataError, match=r"cut\.png"):
            measure_entries(graph, [*entries[:3], broken], SIZE, silent, processes)


def test_statistics_are_cached(
    graph: onnx.ModelProto, entries: tuple[Entry, ...], tmp_path: Path, monkeypatch
) -> None:
    passes = []

    def counting(*arguments: object) -> object:
        passes.append(1)
        return measure_entries(*arguments)

    monkeypatch.setattr(calibration, "measure_entries", counting)
    first = measure_cached(graph, entries[:4], SIZE, silent, tmp_path)
    heard: list[int] = []
    again = measure_cached(graph, entries[3::-1], SIZE, heard.append, tmp_path)
    assert same(first, again)
    assert (len(passes), heard) == (1, [4])
    measure_cached(graph, entries[:3], SIZE, silent, tmp_path)
    assert len(passes) == 2, "other images"
    (path,) = tmp_path.glob(f"statistics-{cache_key(graph, entries[:4], SIZE)[:16]}.npz")
    content = path.read_bytes()
    for wrong in (content[:-9], b"", next(p for p in tmp_path.iterdir() if p != path).read_bytes()):
        path.write_bytes(wrong)
        assert same(measure_cached(graph, entries[:4], SIZE, silent, tmp_path), first)
    assert len(passes) == 5, "a damaged or swapped file is measured again"
    assert path.read_bytes() == content


def test_the_cache_key_covers_everything_that_decides(
    graph: onnx.ModelProto, entries: tuple[Entry, ...]
) -> None:
    key = cache_key(graph, entries, SIZE)
    assert key == cache_key(graph, entries[::-1], SIZE)
    changed = onnx.ModelProto.FromString(graph.SerializeToString())
    changed.metadata_props.add(key="note", value="another name")
    assert cache_key(changed, entries, SIZE) == key
    changed.graph.initializer[-1].name += "_"
    assert cache_key(changed, entries, SIZE) != key
    assert cache_key(graph, entries[1:], SIZE) != key
    assert cache_key(graph, entries, SIZE + 1) != key


def test_the_faster_session_returns_every_tensor(
    graph: onnx.ModelProto, entries: tuple[Entry, ...]
) -> None:
    names = quantizable_activations(graph)
    image = {"image": load_pixels(entries[:1], SIZE)[:, None]}
    fast = measuring_session(graph, names, 1).run(names, image)
    for one, other in zip(fast, session_with_outputs(graph, names).run(names, image), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
