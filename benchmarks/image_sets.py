"""Folders of real images to predict, built outside the project from two public collections."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from PIL import Image

SETS = {
    "png-1024": "1024x1024 PNG (Cohen's images, scaled)",
    "jpeg-clinical": "clinical JPEG (Cohen's, as in the collection)",
    "jpeg-224": "224x224 JPEG (Kermany's)",
}
IMAGES = 2000
_ENDINGS = (".png", ".jpg", ".jpeg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that :func:`make_set` requires."""
    parser.add_argument("--cohen", type=Path, required=True, help="folder of Cohen's images")
    parser.add_argument("--kermany", type=Path, required=True, help="folder of Kermany's images")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made; stays")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))


def make_set(name: str, arguments: argparse.Namespace) -> Path:
    """Return a folder of 2,000 images of a set; images are repeated if there are fewer."""
    folder = Path(arguments.work) / name
    cohen = sorted(p for p in arguments.cohen.iterdir() if p.suffix.lower() in _ENDINGS)
    if name == "jpeg-224":
        sources = sorted(arguments.kermany.rglob("*.jpeg"))[::2]
    elif name == "jpeg-clinical":
        sources = [path for path in cohen if path.suffix.lower() != ".png"]
    else:
        sources = _as_png(cohen, folder.with_name(f"{name}-originals"))
    return linked(folder, sources, IMAGES)


def linked(folder: Path, sources: Sequence[Path], count: int) -> Path:
    """Fill a folder with ``count`` links to images, repeated if there are fewer."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, source in enumerate(islice(cycle(sources), count)):
        link = folder / f"{number:04d}{source.suffix.lower()}"
        if not link.is_symlink():
            link.symlink_to(source.resolve())
    return folder


def _as_png(sources: Sequence[Path], folder: Path) -> list[Path]:
    """Scale images to 1024x1024, a common size of published chest X-rays in PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / f"{source.stem}.png" for source in sources]
    unfinished = folder / "unfinished"
    for source, target in zip(sources, made, strict=True):
        if not target.exists():
            with Image.open(source) as image:
                grey = image.convert("L").resize((1024, 1024), Image.Resampling.BICUBIC)
            grey.save(unfinished, format="png")
            unfinished.rename(target)
    return made
