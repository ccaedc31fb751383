"""Folders of images to rows, and what batch suits the runtime."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.conftest import PREDICTED
from cxredge.backends import open_session
from cxredge.backends.base import available_cores
from cxredge.bundle.bundle import open_bundle
from cxredge.inference.pipeline import infer_images
from cxredge.inference.predict import predict
from cxredge.progress import Silent
from cxredge.vocabulary import Precision


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_predict(benchmark, precision: str, bundle: Path, folder: Path, tmp_path: Path) -> None:
    opened = replace(open_bundle(bundle), precision=Precision(precision))
    out = tmp_path / "predictions.csv"
    arguments = (opened, [folder], out, False, Silent())
    tally = benchmark.pedantic(predict, arguments, rounds=5, warmup_rounds=1)
    benchmark.extra_info["images"] = PREDICTED
    assert tally.status["ok"] + tally.status["unfamiliar"] == PREDICTED


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_batch(benchmark, batch: int, bundle: Path, folder: Path) -> None:
    paths = sorted(folder.iterdir())
    opened = open_bundle(bundle)
    with open_session(opened.engine, opened.backend, 1, opened.precision, batch) as session:

        def run() -> int:
            with closing(infer_images(session, iter(paths), available_cores())) as batches:
                return sum(len(some.sources) for some in batches)

        assert benchmark.pedantic(run, rounds=5, warmup_rounds=1) == PREDICTED
    benchmark.extra_info["images"] = PREDICTED
