"""Cautions of upside down and inverted X-rays, on real X-rays shown rightly and wrongly.

    python -m benchmarks.orientation --manifest MANIFEST --out benchmarks/results/orientation

MANIFEST has controls (``cxredge data prepare --adults DIR``). Templates are fitted as a build fits
them, to the manifest's training images and to those of random splits by patient.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest, read_manifest
from cxredge.metrics.classification import wilson
from cxredge.metrics.orientation import Orientation, OrientationTemplates, fit_orientation
from cxredge.telemetry.linux import read_machine
from cxredge.vocabulary import Split

SIZE, SPLITS, TRAINED_SHARE = 224, 20, 0.64
WAYS = {
    "upright": Orientation(upside_down=False, inverted=False),
    "upside down": Orientation(upside_down=True, inverted=False),
    "inverted": Orientation(upside_down=False, inverted=True),
    "both": Orientation(upside_down=True, inverted=True),
}
Array = np.ndarray


def measure(manifest: Manifest) -> dict[str, Any]:
    """Return the shares of each kind of image that are judged rightly, by how they are shown."""
    entries = list(manifest.entries)
    pixels = load_pixels(entries, SIZE)
    kinds = np.array([one.finding or "of the classes" for one in entries])
    of_classes = np.array([one.split is not Split.CONTROL for one in entries])
    patients = np.array([one.patient for one in entries])
    trained = np.array([one.split is Split.TRAIN for one in entries])
    templates = fit_orientation(pixels[trained])
    own = {
        kind: {
            way: _counted(_right(templates, pixels[(kinds == kind) & ~trained], shown))
            for way, shown in WAYS.items()
        }
        for kind in sorted(set(kinds.tolist()))
    }
    shares: dict[str, list[float]] = {kind: [] for kind in own}
    for seed in range(SPLITS):
        known = of_classes & np.isin(patients, _some(patients[of_classes], seed))
        fitted = fit_orientation(pixels[known])
        for kind, values in shares.items():
            chosen = (kinds == kind) & ~known
            values.append(_right(fitted, pixels[chosen], WAYS["upright"]).mean())
    spread = {kind: [float(np.mean(v)), float(np.std(v))] for kind, v in shares.items()}
    return {"own": own, "splits": spread}


def _some(patients: Array, seed: int) -> Array:
    """Return the patients of a random training split."""
    shuffled = np.random.default_rng(seed).permutation(np.unique(patients))
    return shuffled[: round(TRAINED_SHARE * len(shuffled))]


def _right(templates: OrientationTemplates, pixels: Array, shown: Orientation) -> Array:
    """Return which pictures are judged as they are shown, bool (N,)."""
    turned = pixels[:, ::-1] if shown.upside_down else pixels
    pictures = 255 - turned if shown.inverted else turned
    return np.array([templates.judge(one) == shown for one in pictures])


def _counted(right: Array) -> dict[str, Any]:
    hits, total = int(right.sum()), len(right)
    return {"images": total, "right": hits, "ci95": wilson(hits, total)}


def page(found: Mapping[str, Any]) -> str:
    """Return the page."""
    machine, own, splits = found["machine"], found["own"], found["splits"]
    lines = [
        "# Orientation",
        "",
        f"X-rays of CXR B and controls at {SIZE} pixels, as they are and turned or inverted here: "
        "how many are judged as they are shown. Templates are fitted to the training images of the "
        "manifest, or of 20 random splits by patient; none of the images below is among them. "
        f"Wilson's 95% interval; mean and standard deviation. {machine['cpu']}; "
        f"{', '.join(f'{name} {version}' for name, version in found['tools'].items())}.",
        "",
        f"| images | {' | '.join(WAYS)} | upright, 20 splits |",
        "|---" * (len(WAYS) + 2) + "|",
    ]
    for kind, ways in own.items():
        cells = [
            f"{one['right']} of {one['images']} "
            f"({100 * one['ci95'][0]:.0f}-{100 * one['ci95'][1]:.0f}%)"
            for one in ways.values()
        ]
        mean, deviation = splits[kind]
        cells.append(f"{100 * mean:.1f} ± {100 * deviation:.1f}%")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    arguments = parser.parse_args()
    manifest = read_manifest(arguments.manifest)
    found = {
        "machine": to_json(read_machine()),
        "tools": tool_versions("numpy", "pillow"),
        "manifest_sha256": manifest.sha256,
        **measure(manifest),
    }
    write_json(arguments.out.with_suffix(".json"), found)
    write_text(arguments.out.with_suffix(".md"), page(found))


if __name__ == "__main__":
    main()
