"""Scores for prediction sets, compared by cross-validation over validation patients.

    python -m benchmarks.prediction_sets MANIFEST MODEL.onnx... --out TABLE.md

Each score is calibrated class by class, a patient counting once, on nine tenths of the validation
patients, and tried on the others: coverage of the class that is covered least, and mean size. The
test images show afterwards what the levels of all validation patients cover; nothing is chosen on
them. The most probable class is in every set.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from cxredge.artifacts.atomic import write_text
from cxredge.backends.batched import infer_file
from cxredge.data.loading import LabelledImages, load_labelled
from cxredge.data.manifest import read_manifest
from cxredge.metrics.classification import Floats, Ints, softmax, wilson
from cxredge.metrics.conformal import Sets, levels_of, scores
from cxredge.progress import Silent
from cxredge.vocabulary import Split

FOLDS, DRAWS, COVERAGE, SIZE = 10, 10, 0.9, 224


def by_chance(probabilities: Floats) -> Floats:
    """Return a number in [0, 1) for each image, derived from its probabilities."""
    digests = (hashlib.sha256(row.round(6).tobytes()).digest()[:4] for row in probabilities)
    return np.array([int.from_bytes(digest, "big") / 2**32 for digest in digests])[:, None]


def penalised(probabilities: Floats) -> Floats:
    """Return the score of RAPS (Angelopoulos et al. 2021) with a penalty of 0.1 per rank."""
    ranks = np.argsort(np.argsort(-probabilities, axis=1, kind="stable"), axis=1)
    return (scores(probabilities) + 0.1 * ranks) / (1 + 0.1 * probabilities.shape[1])


SCORES: dict[str, Callable[[Floats], Floats]] = {
    "APS without the class itself (cxredge)": scores,
    "APS with the class itself": lambda p: np.minimum(scores(p) + p, 1),
    "APS with half of the class itself": lambda p: scores(p) + p / 2,
    "APS with a random share of the class itself": lambda p: scores(p) + by_chance(p) * p,
    "RAPS, penalty 0.1": penalised,
    "LAC: 1 - p": lambda p: 1 - p,
    "margin: largest p - p": lambda p: p.max(axis=1, keepdims=True) - p,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    manifest = read_manifest(arguments.manifest)
    splits = [
        load_labelled(manifest.of(split), manifest.classes, SIZE, Silent())
        for split in (Split.VAL, Split.TEST)
    ]
    lines = [f"# Scores for prediction sets, coverage {COVERAGE:.0%}", ""]
    for model in arguments.models:
        found = [softmax(infer_file(model, images.pixels)) for images in splits]
        lines += [f"## {model.parent.name}", "", *table(manifest.classes, splits, found), ""]
    write_text(arguments.out, "\n".join(lines))


def table(
    classes: tuple[str, ...], splits: list[LabelledImages], found: Sequence[Floats]
) -> Iterator[str]:
    """Yield the rows of a table: cross-validation, then the test images."""
    yield (
        "| score | least coverage of a class | mean size | test: mean size | "
        + " | ".join(f"{name} covered" for name in classes)
        + " |"
    )
    yield "|---|---|---|---|" + "---|" * len(classes)
    (validation, test), (seen, new) = splits, found
    for name, score in SCORES.items():
        least, size = cross_validate(score(seen), seen, validation)
        levels = levels_of(score(seen), validation.labels, validation.patients, COVERAGE)
        sets = sets_of(score(new), new, levels)
        cells = [covered(sets, test.labels, index) for index in range(len(classes))]
        yield f"| {name} | {least:.2f} | {size:.2f} | {sets.sum(1).mean():.2f} | " + (
            " | ".join(cells) + " |"
        )


def sets_of(of_classes: Floats, probabilities: Floats, levels: list[float]) -> Sets:
    """Return the sets, with the most probable class in each."""
    sets: Sets = of_classes <= np.array(levels)
    sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
    return sets


def covered(sets: Sets, labels: Ints, index: int) -> str:
    """Return how many images of a class have it in their set, with Wilson's interval."""
    inside = sets[labels == index, index]
    low, high = wilson(int(inside.sum()), len(inside))
    return f"{int(inside.sum())} of {len(inside)} ({100 * low:.0f}-{100 * high:.0f}%)"


def cross_validate(
    of_classes: Floats, probabilities: Floats, images: LabelledImages
) -> tuple[float, float]:
    """Return the coverage of the class that is covered least, and the mean size of the sets."""
    labels, patients = images.labels, np.array(images.patients)
    hits, sizes = np.zeros((DRAWS, len(labels))), []
    for draw in range(DRAWS):
        fold = folds_of(labels, patients, np.random.default_rng(draw))
        for number in range(FOLDS):
            out = fold == number
            levels = levels_of(of_classes[~out], labels[~out], patients[~out].tolist(), COVERAGE)
            sets = sets_of(of_classes[out], probabilities[out], levels)
            hits[draw, out] = sets[np.arange(out.sum()), labels[out]]
            sizes += sets.sum(axis=1).tolist()
    by_class = [hits[:, labels == label].mean() for label in np.unique(labels)]
    return float(min(by_class)), float(np.mean(sizes))


def folds_of(labels: Ints, patients: np.ndarray, rng: np.random.Generator) -> Ints:
    """Return the fold of each image; the patients of a class are spread evenly."""
    fold = {}
    for label in np.unique(labels):
        names = np.unique(patients[labels == label])
        rng.shuffle(names)
        fold.update({name: number % FOLDS for number, name in enumerate(names)})
    return np.array([fold[name] for name in patients])


if __name__ == "__main__":
    main()
