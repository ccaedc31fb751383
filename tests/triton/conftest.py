"""Exports of the shared bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run


@pytest.fixture(scope="session")
def protobuf() -> Any:
    """Triton's own configuration message; skip without its client library."""
    pytest.importorskip("tritonclient", reason="needs the triton extra")
    from tritonclient.grpc import model_config_pb2

    return model_config_pb2


@pytest.fixture(scope="session")
def repository(
    protobuf: Any, built: Path, tmp_path_factory: pytest.TempPathFactory, cxredge: Run
) -> Path:
    """A model repository. Shared: copy it before changing it."""
    out = tmp_path_factory.mktemp("triton") / "repository"
    ran = cxredge("export-triton", built, "--out", out)
    assert ran.code == 0, ran.err
    return out
