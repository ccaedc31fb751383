"""Inference in every runtime and precision and with two batch sizes; pixels are in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxredge.backends import BACKENDS, open_session
from cxredge.bundle.bundle import open_bundle, read_golden
from cxredge.bundle.layout import engine_name
from cxredge.errors import CxredgeError
from cxredge.vocabulary import Precision


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("precision", list(Precision), ids=lambda precision: precision.value)
@pytest.mark.parametrize("backend", BACKENDS)
def test_inference(benchmark, backend: str, precision: Precision, batch: int, bundle: Path) -> None:
    path = bundle / engine_name(precision, backend)
    if not path.is_file():
        pytest.skip(f"the bundle has no {path.name}")
    golden = read_golden(open_bundle(bundle))
    pixels = np.repeat(golden.pixels[:1], batch, axis=0)
    try:
        session = open_session(path, backend, precision=precision, batch=batch)
    except CxredgeError as error:
        pytest.skip(error.message)
    with session:
        logits = benchmark(session.infer, pixels)
        assert logits.shape == (batch, session.spec.classes)
    benchmark.extra_info["threads"] = session.spec.threads


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_opening(benchmark, precision: str, bundle: Path) -> None:
    """Time before a command's first inference."""

    def run() -> int:
        with open_bundle(bundle).open(Precision(precision)) as session:
            return session.spec.classes

    assert benchmark(run) > 1
