"""Settings of an export to NVIDIA Triton."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cxredge.errors import WrongUsage
from cxredge.vocabulary import Precision, TritonBackend, TritonDevice

MAX_BATCH = 16
"""Default of the largest number of images per execution."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class TritonOptions:
    """Settings of an export.

    Attributes:
        name: Name of the model that takes files; that of the bare network is ``NAME_network``.
        version: Version to add to an existing repository; None for version 1 of a new one.
        backend: Backend of the bare network; None for that of the bundle.
        precision: Precision of the bare network; None for the one that serves.
        device: Device of the bare network; None for the one that the backend suggests.
        max_batch: Maximum number of images per execution.
        instances: Number of instances of the bare network; 0 for what the passport suggests.
        threads: Number of threads per inference of the bare network; 0 for what the passport
            suggests, or all cores without one. Not used on a GPU.
        served_versions: Number of versions that Triton serves, the newest ones.
        images: Whether golden images travel with the bundle, which are X-rays.
    """

    name: str = "cxr"
    version: int | None = None
    backend: TritonBackend | None = None
    precision: Precision | None = None
    device: TritonDevice | None = None
    max_batch: int = MAX_BATCH
    instances: int = 0
    threads: int = 0
    served_versions: int = 1
    images: bool = True

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise WrongUsage(
                f"'{self.name}' is not a valid name of a model.",
                "Use letters, digits, '_', '-' and '.', at most 100 of them.",
            )

    @property
    def network_name(self) -> str:
        """Name of the bare network."""
        return f"{self.name}_network"
