"""Files of a version of the model that takes files: code, bundle and requirements."""

from __future__ import annotations

import io
import shutil
import struct
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from PIL import Image

import cxredge
from cxredge.artifacts.card import CARD_NAME, held_files
from cxredge.backends.tensorrt.facts import facts_path
from cxredge.bundle.archive import SIGNATURE_NAME
from cxredge.bundle.bundle import Bundle
from cxredge.bundle.layout import PICTURES
from cxredge.bundle.passport import PASSPORT_NAME
from cxredge.data.phantoms import render_phantom
from cxredge.triton.python_backend import BUNDLE_FOLDER

CODE_FOLDER = "code"
REQUIREMENTS_NAME = "requirements.txt"

CODE = (
    "__init__.py", "version.py", "errors.py", "progress.py", "vocabulary.py", "metrics",
    "telemetry", "gate", "artifacts", "targets", "data", "heatmaps", "graph", "backends", "bundle",
    "results", "inference", "triton",
)  # fmt: skip
"""Files and folders of the package that serving imports, by the import law."""
_CACHES = shutil.ignore_patterns("__pycache__")

_PIXELS = ("onnxruntime", "pillow")
"""Packages whose version may change the last digits of an answer."""
_OTHERS = (
    "numpy>=1.26",
    "msgspec>=0.19",
    "typing-extensions>=4",
    "tomli>=2; python_version < '3.11'",
)
_DICOM = ("pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg")

_MODEL = f'''"""Written by 'cxredge export-triton': the model that takes files."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "{CODE_FOLDER}"))

try:
    from cxredge.triton.python_backend import TritonPythonModel
except ModuleNotFoundError as error:
    raise RuntimeError(
        f"Triton's Python ({{sys.prefix}}) has no package '{{error.name}}'. Install what the model "
        f"requires: pip install -r {{Path(__file__).parent / '{REQUIREMENTS_NAME}'}}"
    ) from None

__all__ = ["TritonPythonModel"]
'''


def fill_version(folder: Path, bundle: Bundle, with_images: bool) -> None:
    """Write everything that the model needs except the packages of others.

    Args:
        folder: The version's folder.
        bundle: The bundle.
        with_images: Whether golden images travel with it.
    """
    (folder / "model.py").write_text(_MODEL, encoding="utf-8")
    (folder / REQUIREMENTS_NAME).write_text(_requirements(bundle), encoding="utf-8")
    copy_code(folder / CODE_FOLDER)
    for path in _bundle_files(bundle, with_images):
        target = folder / BUNDLE_FOLDER / path.relative_to(bundle.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def copy_code(folder: Path) -> None:
    """Copy what serves of this package, so that a version keeps the code it was exported with."""
    source = Path(cxredge.__file__).parent
    target = folder / source.name
    target.mkdir(parents=True)
    for path in (source / name for name in CODE):
        if path.is_dir():
            shutil.copytree(path, target / path.name, ignore=_CACHES)
        else:
            shutil.copyfile(path, target / path.name)


def warm_up_tensor(size: int) -> bytes:
    """Return a phantom as a PNG file, in the bytes of a tensor of one string."""
    stream = io.BytesIO()
    Image.fromarray(render_phantom("normal", 0, 0, size)).save(stream, format="png")
    return struct.pack("<I", len(stream.getvalue())) + stream.getvalue()


def _bundle_files(bundle: Bundle, with_images: bool) -> Iterator[Path]:
    """Yield the packed files of a bundle, its passport and its engines."""
    yield bundle.path / CARD_NAME
    for name in held_files(bundle.path, bundle.card):
        if with_images or name not in PICTURES:
            yield bundle.path / name
    engines = [] if bundle.passport is None else [bundle.engine_of(p) for p in bundle.runnable]
    added = [bundle.path / name for name in (PASSPORT_NAME, SIGNATURE_NAME)]
    for engine in engines:
        if engine.name not in bundle.card.files:
            added += [engine, facts_path(engine)]
    yield from (path for path in added if path.is_file())


def _requirements(bundle: Bundle) -> str:
    """Return the packages that Triton's Python requires, pinned where answers depend on it."""
    pinned = [*_PIXELS, *(["openvino"] if bundle.backend == "openvino" else [])]
    lines = [f"{name}=={metadata.version(name)}" for name in pinned]
    dicom = [f"{name}=={version}" for name in _DICOM if (version := _installed(name))]
    return "\n".join([*lines, *_OTHERS, "# DICOM", *(dicom or _DICOM)]) + "\n"


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
