"""Familiarity and prediction sets on real X-rays: refusals by kind, sets, and other methods.

    python benchmarks/familiarity.py --bundles PROCESSOR BOARD ... --manifest MANIFEST \
        --out benchmarks/results/familiarity

MANIFEST has controls (``cxredge data prepare --adults DIR``). Every bundle is of one network; those
for this machine and those for boards differ in their INT8. Everything runs in ONNX Runtime here.
Rows are named by the bundles' folders; bundles that OUT.json has are not measured again.
``--methods MODEL`` compares methods on the features of one FP32 model over random splits of the
manifest's X-rays by patient.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from familiarity_page import write_page

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.card import read_artifact, tool_versions
from cxredge.artifacts.model_card import ExportedCard
from cxredge.artifacts.records import read_json_file, to_json
from cxredge.backends.base import Outputs
from cxredge.backends.batched import run_file
from cxredge.backends.cascade import near_ties_of
from cxredge.backends.onnxruntime import run_graph
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.bundle.operating_point import OperatingPoint
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Entry, Manifest, read_manifest
from cxredge.graph.model_file import FP32_NAME, read_model
from cxredge.graph.outputs import feature_graph, feature_widths
from cxredge.metrics.classification import softmax, wilson
from cxredge.metrics.conformal import prediction_sets
from cxredge.metrics.reference_bank import fit_bank
from cxredge.telemetry.linux import read_machine
from cxredge.vocabulary import Precision, Split

SPLITS, TEST_PATIENT_SHARE, VAL_PATIENT_SHARE, FAMILIAR = 20, 0.2, 0.16, 0.95
Array = np.ndarray


@dataclass(frozen=True)
class Decided:
    """What one precision, or a cascade, makes of the images of each set.

    Attributes:
        decisions: int (N,) by set.
        refused: bool (N,) by set.
        probabilities: float (N, classes) of the test images.
        levels: float (N, classes) of the test images, see ``OperatingPoint.set_levels``.
    """

    decisions: Mapping[str, Array]
    refused: Mapping[str, Array]
    probabilities: Array
    levels: Array


def measure_bundle(bundle: Bundle, manifest: Manifest) -> dict[str, Any]:
    """Measure FP32, INT8, and INT8 with FP32 for its near ties, on test images and controls."""
    classes, size = bundle.card.classifier.classes, bundle.card.classifier.input_size
    test, controls = manifest.of(Split.TEST), manifest.of(Split.CONTROL)
    pixels = {"test": load_pixels(test, size), "control": load_pixels(controls, size)}
    altered = _altered(pixels["test"])
    outputs = {
        precision: {
            name: run_file(bundle.model_of(precision), images)
            for name, images in (pixels | altered).items()
        }
        for precision in (Precision.FP32, Precision.INT8)
    }
    facts = bundle.card.facts
    points = {p: facts.operating_point(p, "onnxruntime") for p in outputs}
    near_ties = facts.gate_of(Precision.INT8, "onnxruntime").near_ties
    if near_ties is None:
        raise SystemExit("The bundle was built without validation images.")
    near = {
        name: near_ties_of(one, near_ties.margin, points[Precision.INT8].distance_limit)
        for name, one in outputs[Precision.INT8].items()
    }
    alone = {
        precision: _decided(outputs[precision], points[precision], classes) for precision in outputs
    }
    served = _in_cascade(alone[Precision.FP32], alone[Precision.INT8], near)
    labels = np.array([classes.index(entry.label) for entry in test])
    rows = {**{p.value: one for p, one in alone.items()}, "cascade": served}
    found: dict[str, Any] = {
        "network": bundle.card.classifier.network,
        "target": bundle.card.config.target,
        "near": {name: _share(near[name]) for name in pixels},
    }
    for name, one in rows.items():
        fp32 = alone[Precision.FP32].refused
        found[name] = {
            "test": _share(one.refused["test"]),
            "test_by_class": {
                name: _share(one.refused["test"][labels == n]) for n, name in enumerate(classes)
            },
            "controls": _by_kind(controls, one, classes),
            "altered": {name: _share(one.refused[name]) for name in altered},
            "alike": _share(np.concatenate([one.refused[n] == fp32[n] for n in pixels])),
            "sets": _sets(one, labels, classes),
        }
    return found


def _decided(
    outputs: Mapping[str, Outputs], point: OperatingPoint, classes: Sequence[str]
) -> Decided:
    refused = {name: point.refused(one.distances) for name, one in outputs.items()}
    probabilities = softmax(outputs["test"].logits)
    levels = np.array([point.set_levels[name] for name in classes])
    return Decided(
        {name: one.logits.argmax(axis=1) for name, one in outputs.items()},
        {name: _required(one) for name, one in refused.items()},
        probabilities,
        np.broadcast_to(levels, probabilities.shape),
    )


def _in_cascade(fp32: Decided, int8: Decided, near: Mapping[str, Array]) -> Decided:
    """Return INT8's results, with FP32's for near ties."""
    of_test = near["test"][:, None]
    return Decided(
        {n: np.where(near[n], fp32.decisions[n], int8.decisions[n]) for n in near},
        {n: np.where(near[n], fp32.refused[n], int8.refused[n]) for n in near},
        np.where(of_test, fp32.probabilities, int8.probabilities),
        np.where(of_test, fp32.levels, int8.levels),
    )


def _required(refused: Array | None) -> Array:
    if refused is None:
        raise SystemExit("The bundle does not measure familiarity.")
    return refused


def _altered(pixels: Array) -> dict[str, Array]:
    """Return X-rays as they should not be given: uint8 (N, S, S) each."""
    size = pixels.shape[1]
    half = pixels[:, : size // 2, : size // 2]
    return {
        "upside down": pixels[:, ::-1].copy(),
        "on its side": np.rot90(pixels, axes=(1, 2)).copy(),
        "inverted": 255 - pixels,
        "upper left quarter": half.repeat(2, axis=1).repeat(2, axis=2),
    }


def _by_kind(entries: Sequence[Entry], one: Decided, classes: Sequence[str]) -> dict[str, Any]:
    """Return refusals of each kind, and the classes of the images that are answered."""
    kinds = np.array([entry.finding for entry in entries])
    refused, decided = one.refused["control"], one.decisions["control"]
    return {
        kind: _share(refused[kinds == kind])
        | {
            "called": {
                name: int(((kinds == kind) & ~refused & (decided == n)).sum())
                for n, name in enumerate(classes)
            }
        }
        for kind in sorted(set(kinds.tolist()))
    }


def _sets(one: Decided, labels: Array, classes: Sequence[str]) -> dict[str, Any]:
    """Return coverage by class and the mean size of the sets of answered test images."""
    kept = ~one.refused["test"]
    inside = prediction_sets(one.probabilities, one.levels)[kept]
    answered = labels[kept]
    right = inside[np.arange(len(answered)), answered]
    return {
        "mean_size": float(inside.sum(axis=1).mean()),
        "coverage": _share(right),
        "by_class": {name: _share(right[answered == n]) for n, name in enumerate(classes)},
    }


def _share(chosen: Array) -> dict[str, Any]:
    hits, total = int(chosen.sum()), len(chosen)
    return {"images": total, "share": hits / max(total, 1), "ci95": wilson(hits, max(total, 1))}


def compare_methods(model: Path, manifest: Manifest) -> dict[str, Any]:
    """Compare methods over random splits: refusals at the same share of familiar images.

    The features are those of a network that was trained on some of the X-rays. Its middle is
    frozen, so that only the features at its end know the training images.
    """
    artifact = read_artifact(model, ExportedCard)
    graph, size = read_model(model / FP32_NAME), artifact.card.classifier.input_size
    known = [entry for entry in manifest.entries if entry.split is not Split.CONTROL]
    controls = manifest.of(Split.CONTROL)
    features = {
        name: run_graph(feature_graph(graph), load_pixels(entries, size), lambda _: None)
        for name, entries in (("known", known), ("control", controls))
    }
    widths = np.array(feature_widths(graph))
    layer = np.repeat(np.arange(len(widths)), widths)
    parts = {"all layers": np.arange(len(widths)), "middle": np.arange(len(widths) - 1)}
    parts |= {"end": np.array([len(widths) - 1])}
    kinds = np.array([entry.finding for entry in controls])
    labels = np.array([artifact.card.classifier.classes.index(entry.label) for entry in known])
    patients = np.array([entry.patient for entry in known])
    rows: dict[str, dict[str, list[float]]] = {}
    for seed in range(SPLITS):
        train, val, test = _split(patients, labels, seed)
        for part, chosen in parts.items():
            columns = np.isin(layer, chosen)
            of_known, of_controls = features["known"][:, columns], features["control"][:, columns]
            for method, fit in METHODS.items():
                distances = fit(of_known[train], labels[train], widths[chosen])
                ordered = np.sort(distances(of_known[val]))
                limit = ordered[int(np.ceil(FAMILIAR * len(ordered))) - 1]
                row = rows.setdefault(f"{method}, {part}", {})
                row.setdefault("test", []).append((distances(of_known[test]) > limit).mean())
                refused = distances(of_controls) > limit
                for kind in sorted(set(kinds.tolist())):
                    row.setdefault(kind, []).append(refused[kinds == kind].mean())
    return {
        name: {kind: [float(np.mean(v)), float(np.std(v))] for kind, v in row.items()}
        for name, row in rows.items()
    }


def _split(patients: Array, labels: Array, seed: int) -> tuple[Array, Array, Array]:
    """Return the indices of train, val and test images; patients are kept whole."""
    rng = np.random.default_rng(seed)
    part: dict[str, str] = {}
    for label in np.unique(labels):
        of_class = np.unique(patients[labels == label])
        rng.shuffle(of_class)
        test = round(TEST_PATIENT_SHARE * len(of_class))
        val = test + round(VAL_PATIENT_SHARE * len(of_class))
        for number, patient in enumerate(of_class.tolist()):
            part[patient] = "test" if number < test else "val" if number < val else "train"
    found = np.array([part[patient] for patient in patients.tolist()])
    train, val, test = (np.flatnonzero(found == name) for name in ("train", "val", "test"))
    return train, val, test


def _bank(features: Array, labels: Array, widths: Array) -> Callable[[Array], Array]:
    return fit_bank(features, labels, widths).distances


def _unweighted_bank(features: Array, labels: Array, widths: Array) -> Callable[[Array], Array]:
    return fit_bank(features, labels, [widths.sum()]).distances


def _neighbour(features: Array, labels: Array, widths: Array) -> Callable[[Array], Array]:
    """Return the distance from the fifth neighbour among all images, with all features."""
    offset, scale = features.mean(axis=0), features.std(axis=0) + 1e-3 * features.std()
    known = (features - offset) / scale

    def distances(others: Array) -> Array:
        scaled = (others - offset) / scale
        squares = (scaled**2).sum(axis=1)[:, None] + (known**2).sum(axis=1)
        return np.sort(squares - 2 * scaled @ known.T, axis=1)[:, 4]

    return distances


def _mahalanobis(features: Array, labels: Array, widths: Array) -> Callable[[Array], Array]:
    """Return Lee et al.'s distance: class means, and one covariance, shrunk by a tenth."""
    offset, scale = features.mean(axis=0), features.std(axis=0) + 1e-3 * features.std()
    scaled = (features - offset) / scale
    means = np.stack([scaled[labels == label].mean(axis=0) for label in np.unique(labels)])
    within = scaled - means[np.searchsorted(np.unique(labels), labels)]
    _, singular, axes = np.linalg.svd(within, full_matrices=False)
    variances = singular**2 / len(within)
    floor = 0.1 * variances.sum() / features.shape[1]
    widths = 0.9 * variances + floor

    def distances(others: Array) -> Array:
        found = []
        for mean in means:
            apart = (others - offset) / scale - mean
            along = apart @ axes.T
            rest = (apart**2).sum(axis=1) - (along**2).sum(axis=1)
            found.append((along**2 / widths).sum(axis=1) + rest / floor)
        return np.min(found, axis=0)

    return distances


METHODS: Mapping[str, Callable[[Array, Array, Array], Callable[[Array], Array]]] = {
    "bank (as built)": _bank,
    "bank, layers by their number of features": _unweighted_bank,
    "fifth neighbour, all features": _neighbour,
    "class means, one covariance": _mahalanobis,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundles", type=Path, nargs="*", default=[])
    parser.add_argument("--methods", type=Path, help="folder of an FP32 model")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    arguments = parser.parse_args()
    out, manifest = arguments.out.with_suffix(".json"), read_manifest(arguments.manifest)
    found: dict[str, Any] = read_json_file(out) if out.is_file() else {}
    found |= {
        "machine": to_json(read_machine()),
        "tools": tool_versions("onnxruntime", "numpy"),
        "manifest_sha256": manifest.sha256,
    }
    measured = found.setdefault("bundles", {})
    for path in arguments.bundles:
        bundle = open_bundle(path)
        if path.name not in measured:
            measured[path.name] = measure_bundle(bundle, manifest)
            write_json(out, found)
    if arguments.methods and "methods" not in found:
        found["methods"] = compare_methods(arguments.methods, manifest)
    write_json(out, found)
    write_page(found, arguments.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
