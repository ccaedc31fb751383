"""Fine-tuning a quantized graph: torch computes what ONNX Runtime computes, and errors shrink."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch", reason="needs the train extra")

from cxredge.artifacts.card import read_artifact  # noqa: E402
from cxredge.artifacts.run_card import RunCard  # noqa: E402
from cxredge.data.images import GreyImage  # noqa: E402
from cxredge.data.loading import load_pixels  # noqa: E402
from cxredge.data.manifest import Manifest  # noqa: E402
from cxredge.errors import CxredgeError  # noqa: E402
from cxredge.progress import Silent  # noqa: E402
from cxredge.quantization.fp32_comparison import logit_error  # noqa: E402
from cxredge.quantization.qdq.emit import emit  # noqa: E402
from cxredge.quantization.qdq.legality import require_legal  # noqa: E402
from cxredge.quantization.ranges.measure import measure  # noqa: E402
from cxredge.quantization.sessions import infer_graph  # noqa: E402
from cxredge.training.graph_module import GraphModule  # noqa: E402
from cxredge.training.quantization_aware import FineTuning, fine_tune, training_pixels  # noqa: E402
from cxredge.vocabulary import Dialect, RangeMethod, Split  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def pixels(manifest: Manifest) -> GreyImage:
    return load_pixels(manifest.of(Split.TRAIN)[:24], 64)


@pytest.fixture(scope="module", params=Dialect)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    found: Dialect = request.param
    return found


@pytest.fixture(scope="module")
def quantized(model: Path, pixels: GreyImage, dialect: Dialect) -> onnx.ModelProto:
    """INT8 graph with weights of 16 steps instead of 255, so that its error is large."""
    graph = onnx.load(model / "model.onnx")
    found = measure(graph, [pixels], lambda _: None)
    ranges = found.ranges(RangeMethod.MINMAX, dialect is Dialect.TENSORRT)
    weights = {i.name: numpy_helper.to_array(i) for i in graph.graph.initializer}
    coarse = {name: np.abs(weights[name]).max(axis=(1, 2, 3)) / 8 for name in ("w1", "w2", "w3")}
    return emit(graph, ranges, dialect, weight_scales=coarse)


def test_the_module_computes_what_the_graph_computes(
    quantized: onnx.ModelProto, pixels: GreyImage
) -> None:
    module = GraphModule(quantized)
    with torch.no_grad():
        found = module(torch.from_numpy(pixels)[:, None]).numpy()
    expected = infer_graph(quantized, pixels)
    # Another order of summation may move a value across the boundary of its step.
    assert logit_error(expected, found) < 0.02
    again = module.write_to(quantized)
    np.testing.assert_allclose(infer_graph(again, pixels), expected, atol=1e-5)


def test_fine_tuning_reduces_the_error_against_fp32(
    quantized: onnx.ModelProto, model: Path, pixels: GreyImage, manifest: Manifest, dialect: Dialect
) -> None:
    settings = FineTuning(steps=60, batch_size=8, weight_rate=1e-3, bias_rate=5e-3)
    tuned = fine_tune(quantized, model / "model.onnx", pixels, settings, Silent())
    require_legal(tuned, dialect)
    unseen = load_pixels(manifest.of(Split.TEST), 64)
    reference = infer_graph(onnx.load(model / "model.onnx"), unseen)
    before, after = (logit_error(reference, infer_graph(g, unseen)) for g in (quantized, tuned))
    assert after < before / 2
    kinds = [{i.name: i.data_type for i in g.graph.initializer} for g in (quantized, tuned)]
    assert kinds[0] == kinds[1]


def test_same_seed_same_weights(quantized: onnx.ModelProto, model: Path, pixels: GreyImage) -> None:
    settings = FineTuning(steps=3, batch_size=4)
    one, other = (
        fine_tune(quantized, model / "model.onnx", pixels, settings, Silent()) for _ in range(2)
    )
    assert one == other


def test_an_unknown_operator_is_named(quantized: onnx.ModelProto) -> None:
    strange = onnx.ModelProto()
    strange.CopyFrom(quantized)
    strange.graph.node.append(onnx.helper.make_node("Erf", ["logits"], ["more"]))
    with pytest.raises(CxredgeError, match="Erf"):
        GraphModule(strange)


def test_a_model_is_not_accepted_as_a_run(model: Path) -> None:
    with pytest.raises(CxredgeError):
        training_pixels(read_artifact(model, RunCard), Silent())


def test_images_are_the_training_images_of_the_run(run_folder: Path, manifest: Manifest) -> None:
    found = training_pixels(read_artifact(run_folder, RunCard), Silent())
    np.testing.assert_array_equal(found, load_pixels(manifest.of(Split.TRAIN), 64))
