"""The list of training images that models made by tests have, as runs do."""

from pathlib import Path

from cxredge.artifacts.training_images import write_training_images
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest
from cxredge.data.seen_images import hash_training_images
from cxredge.vocabulary import Split


def write_fitted_images(folder: Path, manifest: Manifest, size: int) -> None:
    used = {
        split: (manifest.of(split), load_pixels(manifest.of(split), size))
        for split in (Split.TRAIN, Split.VAL)
    }
    write_training_images(folder, hash_training_images(used, None))
