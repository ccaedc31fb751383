"""The further outputs of a bundle's models: distances from the training images, and maps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from cxredge.artifacts.card import AnyCard, Artifact, ClassifierSpec
from cxredge.backends.base import Maps
from cxredge.backends.onnxruntime import run_graph
from cxredge.build.config import BuildConfig
from cxredge.data.loading import LabelledImages, load_labelled
from cxredge.data.manifest import Entry, Manifest
from cxredge.graph.geometry import grid_of
from cxredge.graph.model_file import FP32_NAME, read_model
from cxredge.graph.outputs import add_distance, add_maps, feature_graph, feature_widths, find_head
from cxredge.metrics.maps import MapGrid
from cxredge.metrics.reference_bank import ReferenceBank, fit_bank
from cxredge.progress import Progress
from cxredge.vocabulary import Precision, Split

MAX_IMAGES_PER_CLASS = 500
"""Largest number of training images of a class that a bank is fitted to."""


@dataclass(frozen=True)
class ExtraOutputs:
    """What is added to a graph.

    Attributes:
        bank: Bank of the training images; None for no distance.
        heatmaps: Whether the graph also returns class activation maps.
    """

    bank: ReferenceBank | None
    heatmaps: bool

    def add_to(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """Return a copy of a graph that has the outputs."""
        if self.bank is not None:
            graph = add_distance(graph, self.bank)
        return add_maps(graph) if self.heatmaps else graph


@dataclass(frozen=True)
class BundleModel:
    """A model of a bundle.

    Attributes:
        artifact: The artifact of the stage that made it.
        file: Its ONNX file with the outputs of the bundle.
        extra: The outputs that were added.
    """

    artifact: Artifact[AnyCard]
    file: Path
    extra: ExtraOutputs


def load_training_images(
    training: Manifest, classifier: ClassifierSpec, config: BuildConfig, progress: Progress
) -> LabelledImages | None:
    """Return the training images that familiarity is measured from; None if it is left out.

    Args:
        training: Manifest with the training images.
        classifier: The network.
        config: The settings.
        progress: Progress listener.

    Raises:
        CxredgeError: A training image cannot be read.
    """
    if config.familiar_share is None:
        return None
    entries = _chosen(training.of(Split.TRAIN))
    return load_labelled(entries, classifier.classes, classifier.input_size, progress)


def add_outputs(
    models: Mapping[Precision, Artifact[AnyCard]],
    images: LabelledImages | None,
    config: BuildConfig,
    scratch: Path,
    progress: Progress,
) -> dict[Precision, BundleModel]:
    """Add the outputs of a bundle to its models.

    Every precision has its own bank, fitted to its own features of the same training images.

    Args:
        models: Models by precision.
        images: Training images; None to measure no familiarity.
        config: The settings.
        scratch: Folder for the files.
        progress: Progress listener.

    Raises:
        CxredgeError: The network has no pooled features.
    """
    heatmaps = config.heatmaps and _can_have_maps(models[Precision.FP32], progress)
    found = {}
    for precision, model in models.items():
        graph = read_model(model.path / FP32_NAME)
        bank = _fit(graph, images, precision, progress) if images else None
        extra = ExtraOutputs(bank, heatmaps)
        file = scratch / f"{precision.value}-with-outputs.onnx"
        onnx.save(extra.add_to(graph), file)
        found[precision] = BundleModel(model, file, extra)
    return found


def _can_have_maps(fp32: Artifact[AnyCard], progress: Progress) -> bool:
    """Return whether a network has class activation maps; note it if not."""
    if find_head(read_model(fp32.path / FP32_NAME)) is not None:
        return True
    progress.note(
        "This network has a layer between pooling and classes, so that no class activation map "
        "adds up to its logits: heatmaps are left out."
    )
    return False


def map_grid(fp32: BundleModel, maps: Maps | None) -> MapGrid | None:
    """Return where the cells of maps lie; None without maps.

    If the graph does not tell, the cells divide the picture evenly.

    Args:
        fp32: The FP32 model.
        maps: Any maps of it.
    """
    if maps is None:
        return None
    graph, size = read_model(fp32.file), fp32.artifact.card.classifier.input_size
    head = find_head(graph)
    found = grid_of(graph, head.features, size) if head else None
    return found or MapGrid.even(size, maps.shape[-1])


def _fit(
    graph: onnx.ModelProto, images: LabelledImages, precision: Precision, progress: Progress
) -> ReferenceBank:
    with progress.task(f"Measuring features in {precision.value}", len(images.labels)) as advance:
        features = run_graph(feature_graph(graph), images.pixels, advance)
    return fit_bank(features, images.labels, feature_widths(graph))


def _chosen(entries: Sequence[Entry]) -> list[Entry]:
    """Return at most so many images of each class, the first ones by hash."""
    by_class: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.sha256):
        by_class[entry.label].append(entry)
    return [entry for found in by_class.values() for entry in found[:MAX_IMAGES_PER_CLASS]]
