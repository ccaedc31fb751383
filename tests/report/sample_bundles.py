"""Sample bundles of classifiers by brightness, built by the library itself."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from cxredge.artifacts.card import AnyCard, ClassifierSpec, read_artifact, write_card
from cxredge.artifacts.hashing import with_content_hash
from cxredge.artifacts.model_card import (
    ExportConfig,
    ExportedCard,
    ExportFacts,
    QuantizationConfig,
    QuantizationFacts,
    QuantizedCard,
)
from cxredge.artifacts.quantization_record import LayerNoise, TimedStep
from cxredge.artifacts.run_config import TrainedOn, TrainingSummary
from cxredge.build.config import BuildConfig, plan
from cxredge.build.describe import describe
from cxredge.build.measure import measure
from cxredge.build.outputs import add_outputs, load_training_images, map_grid
from cxredge.build.pack import pack
from cxredge.data.images import PREPROCESSING
from cxredge.data.manifest import Entry, Manifest, write_manifest
from cxredge.gate.gate import GateLimits, compare
from cxredge.graph import model_file as onnx_graph
from cxredge.metrics.orientation import fit_orientation
from cxredge.progress import Silent
from cxredge.quantization.config import QuantizeConfig
from cxredge.report import write_report
from cxredge.targets.registry import target_of_this_machine
from cxredge.training.config import TrainConfig
from cxredge.vocabulary import (
    CLASS_SPLITS,
    Augmentation,
    Dialect,
    Effort,
    JudgedOn,
    Precision,
    Split,
)
from tests.fitted_images import write_fitted_images

HOSTILE = "<script>alert(1)</script>"
CLASSES = (HOSTILE, "normal", "viral|*x*")
SIZE = 32
BRIGHTNESS = (60, 120, 180)
SECRET_FOLDER = "mueller-hans-1953"


def brightness_network(shift: float) -> onnx.ModelProto:
    """Return a classifier by mean brightness, to the nearest of three levels moved by ``shift``."""
    levels = np.array(BRIGHTNESS, np.float32) + shift
    weights = (2 * levels / 900)[None, :].astype(np.float32)
    biases = (-(levels**2) / 900).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["grey"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(CLASSES)])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(biases, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_model(folder: Path, shift: float, card: type[AnyCard], config: Any, facts: Any) -> Path:
    folder.mkdir()
    onnx.save(brightness_network(shift), folder / onnx_graph.FP32_NAME)
    classifier = ClassifierSpec("mobilenet_v1", CLASSES, SIZE, 0.5, 0.5, PREPROCESSING)
    write_card(folder, card(classifier, {}, config, facts))
    return folder


def write_images(folder: Path) -> Manifest:
    rng = np.random.default_rng(0)
    images = folder / SECRET_FOLDER
    images.mkdir(parents=True)
    entries = []
    for split in CLASS_SPLITS:
        for index in range(36):
            label = index % len(CLASSES)
            level = BRIGHTNESS[label] + rng.normal(0, 22)
            # Neighbouring regions are alike, as in an X-ray; the mean stays the same.
            ramp = np.linspace(-25, 25, SIZE)[:, None]
            pixels = np.clip(rng.normal(level, 10, (SIZE, SIZE)) + ramp, 0, 255).astype(np.uint8)
            path = images / f"{split.value}-{index}.png"
            Image.fromarray(pixels).save(path)
            patient = f"{split.value}-{index // 2}"
            # Each class has its own source, which must be reported as a warning.
            entries.append(Entry(path, CLASSES[label], patient, f"source-{label}", "", split, ""))
    return write_manifest(folder / "manifest.csv", entries)


def quantized() -> tuple[QuantizationConfig, QuantizationFacts]:
    config = QuantizeConfig(Dialect.CPU, Effort.QUICK).record(24)
    step = TimedStep("min-max ranges", 0.9, 0.8, 0.05, 100, (), 1.0, 2.0)
    layers = (
        LayerNoise("first", "image", 31.5, False, (-2.0, 2.0), (-1.0, 3.0), (1, 20, 5, 1)),
        LayerNoise("second", "a", None, True, None, None),
    )
    logits, labels = np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 0])
    facts = QuantizationFacts(
        agreement=1.0,
        accuracy_fp32=1.0,
        accuracy_int8=1.0,
        size_bytes=100,
        size_bytes_fp32=370,
        judged_on=JudgedOn.VALIDATION,
        chosen="min-max ranges",
        in_float=(),
        steps=(step,),
        latency_ms_here_fp32=3.0,
        comparison=compare(logits, logits, labels, list("abcd"), GateLimits()),
        warnings=(),
        recommended=Precision.INT8,
        layers=layers,
        seconds=1.0,
        peak_rss_mb=100.0,
    )
    return config, facts


def build_bundle(folder: Path, manifest: Manifest, shift: float, name: str) -> Path:
    exported = ExportConfig(17), ExportFacts(0.0, 370, 0.8)
    fp32 = write_model(folder / f"{name}-fp32", 0, ExportedCard, *exported)
    write_fitted_images(fp32, manifest, SIZE)
    write_card(fp32, read_artifact(fp32, ExportedCard).card)
    int8 = write_model(folder / f"{name}-int8", shift, QuantizedCard, *quantized())
    write_manifest(int8 / "calibration.csv", manifest.of(Split.TRAIN))
    (int8 / "ranges.json").write_text('{"a": [0.0, 6.0]}')
    settings = BuildConfig(
        target_of_this_machine(), Precision.INT8, GateLimits(1, 0, 1, 1, 1), Split.TEST
    )
    config = TrainConfig(
        network="mobilenet_v1", weights="none", freeze="none", epochs=9, patience=4, batch_size=8,
        learning_rate=1e-3, backbone_rate=1.0, weight_decay=0.05, label_smoothing=0.1,
        dropout=0.0,
        average_decay=0.9, augmentation=Augmentation.NONE, balance=True, seed=0, input_size=SIZE,
        mean=0.5, std=0.5,
    )  # fmt: skip
    training = TrainingSummary(
        **vars(config), hardware=TrainedOn(), best_epoch=7, trainable=3_206_976,
        validation_accuracy=0.75,
    )  # fmt: skip
    out = folder / name
    source, made = read_artifact(fp32, ExportedCard), read_artifact(int8, QuantizedCard)
    scratch = folder / f"{name}-outputs"
    scratch.mkdir()
    stages = {Precision.FP32: source, Precision.INT8: made}
    images = load_training_images(manifest, source.card.classifier, settings, Silent())
    models = add_outputs(stages, images, settings, scratch, Silent())
    measured = measure(models, manifest, settings, Silent())
    facts = describe(source, made.card, manifest, measured, settings)
    grid = map_grid(models[Precision.FP32], measured.held_out.reference.maps)
    planned = plan(source, manifest, None, settings)
    pack(
        models,
        measured,
        planned,
        replace(facts, training=training, map_grid=grid),
        settings,
        fit_orientation(images.pixels) if images else None,
        out,
        Silent(),
    )
    return out


def gate_of(bundle: Path) -> dict:
    """Return what the card states about INT8, as JSON values."""
    return json.loads((bundle / "card.json").read_text())["facts"]["gate"]["int8"]


def result_of(bundle: Path, name: str) -> dict:
    return json.loads((bundle / "results" / name).read_text())


def change_result(path: Path, **changes: Any) -> None:
    """Replace values of a result as its writer would have written them."""
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(with_content_hash(values)))


def words_of(page: str) -> str:
    """Return a page's text without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))


def page_of(out: Path, *paths: Path, xrays: bool = True) -> str:
    write_report(paths, out, xrays)
    return out.read_text(encoding="utf-8")
