"""The class that Triton's Python backend calls; ``model.py`` of a repository imports it.

Nothing about an image is written to the log.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.errors import CxredgeError
from cxredge.triton.served_model import ServedModel, Tensors
from cxredge.vocabulary import INPUT_NAME

BUNDLE_FOLDER = "bundle"
_NUMPY_2 = (2, 53)
"""First version of Triton whose Python backend supports NumPy 2."""


class TritonPythonModel:
    """Answers the requests of one instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the bundle of this version and run its golden images.

        Args:
            args: Triton's description of the instance.

        Raises:
            RuntimeError: The bundle cannot be served here; Triton shows the message.
        """
        import triton_python_backend_utils as triton

        self._triton = triton
        folder = Path(args["model_repository"]) / args["model_version"] / BUNDLE_FOLDER
        try:
            _check_numpy()
            self._model = ServedModel(folder, triton.Logger.log_warn)
        except CxredgeError as error:
            raise RuntimeError(str(error)) from None

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return a response for each request; all their files are one batch."""
        batches = [_files(self._triton, request) for request in requests]
        try:
            found = self._model.answers([file for batch in batches for file in batch])
        except Exception:
            # One file must not fail the others of its batch, which other clients may have sent.
            return [self._alone(batch) for batch in batches]
        ends = accumulate(map(len, batches), initial=0)
        return [self._response(found, first, last) for first, last in pairwise(ends)]

    def finalize(self) -> None:
        """Close the session."""
        self._model.close()

    def _alone(self, files: Sequence[bytes]) -> Any:
        try:
            return self._response(self._model.answers(files), 0, len(files))
        except Exception as error:
            # The message of an unknown error may quote what is in the file.
            problem = self._triton.TritonError(f"Internal error: {type(error).__name__}")
            return self._triton.InferenceResponse(output_tensors=[], error=problem)

    def _response(self, found: Tensors, first: int, last: int) -> Any:
        tensors = [self._triton.Tensor(name, values[first:last]) for name, values in found.items()]
        return self._triton.InferenceResponse(output_tensors=tensors)


def _files(triton: Any, request: Any) -> list[bytes]:
    files: list[bytes] = triton.get_input_tensor_by_name(request, INPUT_NAME).as_numpy().ravel()
    return list(files)


def _check_numpy() -> None:
    """Require a Triton that reads arrays of the installed NumPy, if its container states a version.

    Triton's Python backend up to 24.11 (2.52) reads wrong values from NumPy 2
    (triton-inference-server/python_backend, pull request 384).

    Raises:
        CxredgeError: It reads wrong values.
    """
    version = os.environ.get("TRITON_SERVER_VERSION", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers and numbers < _NUMPY_2 and int(np.__version__.split(".")[0]) >= 2:
        raise CxredgeError(
            f"The Python backend of Triton {version} does not support NumPy {np.__version__}.",
            "Install NumPy 1 in its Python: pip install 'numpy<2'. Or use a newer Triton.",
        )
