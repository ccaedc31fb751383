"""Limits of the candidates, from their outputs for the validation images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from cxredge.backends.base import Outputs
from cxredge.build.config import BuildConfig
from cxredge.build.held_out import SplitOutputs
from cxredge.build.operating_points import distance_limits
from cxredge.build.speed import Variant
from cxredge.gate.limits import GateLimits
from cxredge.targets.registry import find_target
from cxredge.vocabulary import Precision

FP32 = Variant("onnxruntime", Precision.FP32, Path("fp32"))
INT8 = Variant("onnxruntime", Precision.INT8, Path("int8"))


def outputs(distances: np.ndarray | None) -> Outputs:
    return Outputs(np.zeros((100, 2), np.float32), distances)


def limits(fp32: np.ndarray | None, int8: np.ndarray | None, share: float | None) -> Any:
    validation = SplitOutputs(cast(Any, None), {FP32: outputs(fp32), INT8: outputs(int8)})
    config = BuildConfig(find_target("cpu-x86"), None, GateLimits(), familiar_share=share)
    return {
        v: found and found.max_distance for v, found in distance_limits(validation, config).items()
    }


def test_the_share_of_the_validation_images_is_familiar_in_fp32() -> None:
    distances = np.arange(1, 101, dtype=np.float32)
    for share in (0.5, 0.95, 1.0):
        limit = limits(distances, distances, share)[FP32]
        assert (distances <= limit).mean() == pytest.approx(share)


def test_int8_refuses_what_fp32_refuses_at_its_own_scale() -> None:
    rng = np.random.default_rng(0)
    distances = np.sort(rng.lognormal(0, 0.3, 100)).astype(np.float32)
    int8 = (1.5 * distances * (1 + rng.normal(0, 1e-4, 100))).astype(np.float32)
    found = limits(distances, int8, 0.95)
    assert found[INT8] == pytest.approx(1.5 * found[FP32], rel=1e-3)
    # Two images of INT8 that are far out do not move its limit.
    int8[:2] *= 50
    assert limits(distances, int8, 0.95)[INT8] == pytest.approx(found[INT8], rel=1e-3)


def test_a_bundle_without_familiarity_has_no_limit() -> None:
    distances = np.ones(100, np.float32)
    assert limits(distances, distances, None) == {FP32: None, INT8: None}
    assert limits(None, None, 0.95) == {FP32: None, INT8: None}
    assert limits(distances, None, 0.95)[INT8] is None
