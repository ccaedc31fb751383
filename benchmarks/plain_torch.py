"""Plain alternative with the trained weights: a DataLoader, and torch, eager or compiled.

    python benchmarks/plain_torch.py eager|compiled RUN FOLDER OUT.csv

RUN is a run of ``cxredge train``. Output as in ``plain_loop.py``; the time of the first images is
that of a batch and includes the compilation.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from cxredge.artifacts.card import read_card
from cxredge.artifacts.run_card import RunCard
from cxredge.models import build_model

BATCH = 32


class Xrays(Dataset):
    """The images of a folder, preprocessed as for training."""

    def __init__(self, paths: list[Path], size: int, mean: float, std: float) -> None:
        self._paths, self._size, self._mean, self._std = paths, size, mean, std

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return float32 (3, size, size)."""
        square = (self._size, self._size)
        image = Image.open(self._paths[index]).convert("L")
        grey = np.asarray(image.resize(square, Image.Resampling.BILINEAR), np.float32)
        scaled = torch.from_numpy((grey / 255 - self._mean) / self._std)
        return scaled.expand(3, -1, -1).contiguous()


def main() -> None:
    mode, run, folder, out = sys.argv[1:]
    start = time.perf_counter()
    about = read_card(Path(run), RunCard).classifier
    model = build_model(about.network, len(about.classes), Path(run) / "model.safetensors").eval()
    forward = torch.compile(model) if mode == "compiled" else model
    paths = sorted(Path(folder).iterdir())
    xrays = Xrays(paths, about.input_size, about.mean, about.std)
    found, first, first_s = [], 0, 0.0
    with torch.inference_mode():
        for images in DataLoader(xrays, BATCH, num_workers=os.cpu_count() or 1):
            found += forward(images).argmax(dim=1).tolist()
            first, first_s = first or len(found), first_s or time.perf_counter() - start
    with Path(out).open("w", newline="") as stream:
        csv.writer(stream).writerows(zip(paths, found, strict=True))
    seconds = time.perf_counter() - start
    summary = {"images": len(found), "first": first, "first_s": first_s, "seconds": seconds}
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
