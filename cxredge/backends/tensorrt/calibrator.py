"""INT8 by TensorRT's entropy calibrator (legacy), which version 11 removed.

Disabled by default. Explicit Q/DQ computes the same on every version and passes the gate before it
reaches a device; this is for devices on which only TensorRT's own tables can be used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.hashing import sha256_of_json
from cxredge.backends.cuda.memory import CudaMemory
from cxredge.backends.tensorrt.api import Api
from cxredge.backends.tensorrt.settings import LegacyCalibration
from cxredge.data.images import PREPROCESSING, GreyImage, load_grey
from cxredge.data.manifest import Manifest, read_manifest
from cxredge.errors import CxredgeError, DataError
from cxredge.vocabulary import INPUT_NAME


def make_calibrator(
    api: Api, onnx: bytes, size: int, calibration: LegacyCalibration, memory: CudaMemory
) -> Any:
    """Return a calibrator for the builder's configuration.

    Args:
        api: The bindings.
        onnx: The model; its hash, the images and the version determine the table's name.
        size: Height and width of the input in pixels.
        calibration: The images and the folder of tables.
        memory: GPU memory; must stay open until the engine is built.

    Raises:
        CxredgeError: This TensorRT has no calibrator.
        DataError: There are fewer images than in one batch.
    """
    calibrator_class = _calibrator_class(api)
    manifest = read_manifest(calibration.manifest)
    if len(manifest.entries) < calibration.batch:
        raise DataError(
            f"{calibration.manifest} has {len(manifest.entries)} images, fewer than one batch of "
            f"{calibration.batch}.",
            "Choose more: cxredge calibrate MANIFEST --count 128",
        )
    table = table_path(api, onnx, manifest, calibration)
    batches = read_batches(manifest, size, calibration.batch)
    return calibrator_class(batches, calibration.batch, size, table, memory)


def table_path(api: Api, onnx: bytes, manifest: Manifest, calibration: LegacyCalibration) -> Path:
    """Return the path of the calibration table for a model, its images and a version."""
    key = sha256_of_json(
        {
            "onnx": hashlib.sha256(onnx).hexdigest(),
            "images": [entry.sha256 for entry in manifest.entries],
            "preprocessing": PREPROCESSING,
            "batch": calibration.batch,
            "tensorrt": api.version,
        }
    )
    return calibration.cache_folder / f"calibration-{key[:16]}.table"


def read_batches(manifest: Manifest, size: int, batch: int) -> Iterator[GreyImage]:
    """Yield batches, uint8 (batch, 1, size, size), without an incomplete last one.

    An unreadable image ends the calibration: other images would be another calibration.
    """
    entries = manifest.entries
    for start in range(0, len(entries) - batch + 1, batch):
        images = [load_grey(entry.path, size) for entry in entries[start : start + batch]]
        yield np.stack(images)[:, None]


def _calibrator_class(api: Api) -> Any:
    trt: Any = api.trt
    if not api.has("IInt8EntropyCalibrator2"):
        raise CxredgeError(
            f"{api.title} has no calibrators: TensorRT 11 removed them.",
            "Omit the legacy calibration; INT8 comes with Q/DQ in the ONNX file.",
        )

    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def __init__(
            self,
            batches: Iterator[GreyImage],
            batch: int,
            size: int,
            table: Path,
            memory: CudaMemory,
        ) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)
            self._batches, self._batch, self._table = batches, batch, table
            self._memory = memory
            self._address = memory.device(batch * size * size)
            self.failure: Exception | None = None

        def get_batch_size(self) -> int:
            return self._batch

        def get_batch(self, names: list[str]) -> list[int] | None:
            if list(names) != [INPUT_NAME]:
                self.failure = CxredgeError(f"The network has the inputs {names}, not 'image'.")
                return None
            try:
                images = next(self._batches, None)
                if images is None:
                    return None
                self._memory.to_device(self._address, images.reshape(-1))
                self._memory.synchronize()
            except Exception as error:
                self.failure = error
                return None
            return [self._address]

        def read_calibration_cache(self) -> bytes | None:
            return self._table.read_bytes() if self._table.is_file() else None

        def write_calibration_cache(self, table: Any) -> None:
            if self.failure is None:
                with atomic_file(self._table) as temporary:
                    temporary.write_bytes(bytes(table))

    return Calibrator
