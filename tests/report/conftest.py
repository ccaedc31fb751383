"""Bundles to report on: built, evaluated and benchmarked by the library itself."""

from __future__ import annotations

import shutil

import pytest

from cxredge import bench as bench_stage
from cxredge.bundle.bundle import open_bundle
from cxredge.inference import evaluate as evaluate_stage
from cxredge.progress import Silent
from cxredge.results.write import write_result
from cxredge.vocabulary import Scenario, Split
from tests.report.sample_bundles import build_bundle, write_images


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Two bundles: the first evaluated and benchmarked, the second only built."""
    folder = tmp_path_factory.mktemp("made")
    manifest = write_images(folder / "data")
    first = build_bundle(folder, manifest, 12, "first")
    build_bundle(folder, manifest, 25, "second")
    opened = open_bundle(first)
    evaluation = evaluate_stage.evaluate(opened, manifest, Split.TEST, Silent())
    write_result(first / "results" / "evaluate-test-int8.json", evaluation)
    config = bench_stage.BenchConfig(Scenario.SINGLE_STREAM, 0.0, 40, 2, 1)
    for name, images in (("memory", []), ("files", [folder / "data"])):
        result = bench_stage.bench(opened, images, config, Silent())
        write_result(first / "results" / f"bench-{name}.json", result)
    return folder


@pytest.fixture
def bundles(made, tmp_path):
    for name in ("first", "second"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path
