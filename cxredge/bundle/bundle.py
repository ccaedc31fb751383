"""A bundle: what goes to a device, and how the device checks that it still computes the same.

``card.json`` says what the bundle is and never changes; ``passport.json`` is written on the device
that the engine was chosen on, and is bound to the card and to the engine by their hashes. Engines
that were built on a device (``model-<precision>.plan``) are no part of what the card lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cxredge.artifacts.card import read_artifact
from cxredge.backends import CPU_BACKENDS, open_session, reduced_precisions
from cxredge.backends.base import Session
from cxredge.backends.cascade import CascadeSession
from cxredge.backends.tensorrt.facts import read_facts
from cxredge.backends.tensorrt.timing_cache import SUFFIX as TIMINGS_SUFFIX
from cxredge.bundle.archive import refuse_archive
from cxredge.bundle.card import BundleCard
from cxredge.bundle.golden import Golden
from cxredge.bundle.golden import read_golden as read_golden_file
from cxredge.bundle.layout import GOLDEN_NAME, engine_name, model_name, plan_name
from cxredge.bundle.passport import (
    PASSPORT_NAME,
    Passport,
    check_backend,
    check_engine,
    read_passport,
    strange_here,
)
from cxredge.bundle.serving import RuntimeSettings
from cxredge.data.images import PREPROCESSING
from cxredge.errors import ArtifactError
from cxredge.progress import Progress
from cxredge.vocabulary import Precision

if TYPE_CHECKING:
    from cxredge.backends.tensorrt.session import SessionOptions


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were checked.

    Attributes:
        path: Its folder.
        card: Its card.
        passport: What was found on this device, or None when it was not finished on one.
        precision: The precision that serves.
        backend: What runs it: the runtime that the bundle was finished with on a device. Until
            then it holds ONNX files alone, and ONNX Runtime runs them.
    """

    path: Path
    card: BundleCard
    passport: Passport | None
    precision: Precision
    backend: str = "onnxruntime"

    @property
    def engine(self) -> Path:
        """The file that the backend loads."""
        return self.engine_of(self.precision)

    def engine_of(self, precision: Precision) -> Path:
        """Return the file that the backend loads for a precision, be it there or not."""
        return self.path / engine_name(precision, self.backend)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions that were compared with FP32 for the bundle, and FP32."""
        return tuple(p for p in Precision if p in self.card.facts.gate)

    @property
    def runnable(self) -> tuple[Precision, ...]:
        """The precisions that the backend can serve here; an engine may have failed to build."""
        return tuple(p for p in self.precisions if self._runs(p))

    def _runs(self, precision: Precision) -> bool:
        if self.backend in CPU_BACKENDS and not self._is_packed(precision):
            return precision in reduced_precisions(self.backend)
        return self.engine_of(precision).is_file()

    def _is_packed(self, precision: Precision) -> bool:
        return model_name(precision) in self.card.files

    def model_of(self, precision: Precision) -> Path:
        """Return the ONNX file of a precision: FP32's where the runtime reduces that one itself."""
        packed = precision if self._is_packed(precision) else Precision.FP32
        return self.path / model_name(packed)

    def was_calibrated_by_tensorrt(self, precision: Precision) -> bool:
        """Whether an engine's INT8 ranges are of TensorRT's calibrator, not of the INT8 file."""
        plan = self.engine_of(precision)
        facts = read_facts(plan) if self.backend not in CPU_BACKENDS and plan.is_file() else None
        return facts is not None and facts.settings.legacy_calibration

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Operating threshold by class, derived for the precision that serves."""
        return self.card.facts.thresholds[self.precision]

    @property
    def cascade_margin(self) -> float | None:
        """Up to which margin FP32 decides for the precision that serves; None where it does not.

        It does not where TensorRT's own calibrator made the INT8 that serves, for the margin is not
        of that one.
        """
        if not self.card.config.cascade or self.precision is Precision.FP32:
            return None
        if self.was_calibrated_by_tensorrt(self.precision):
            return None
        near_ties = self.card.facts.gate_of(self.precision, self.backend).near_ties
        return near_ties.margin if near_ties else None

    def open(
        self,
        precision: Precision | None = None,
        threads: int = 0,
        gpu: SessionOptions | None = None,
    ) -> Session:
        """Load what serves, or the engine of one precision in the bundle.

        Where the other one could not be built, ONNX Runtime runs its ONNX file: FP32 is what an
        evaluation compares with, whatever serves.

        Args:
            precision: That one, by itself; None for what serves, with FP32 for its near ties where
                the bundle was built so.
            threads: Threads of one inference; 0 for what was found best for one image at a time,
                or for all cores where nothing was.
            gpu: How an engine is run on a GPU.
        """
        margin = self.cascade_margin
        if precision is None and margin is not None:
            first = self.open(self.precision, threads, gpu)
            return _cascade(first, margin, lambda: self.open(Precision.FP32, threads, gpu))
        wanted = precision or self.precision
        if wanted is not self.precision and wanted not in self.runnable:
            return open_session(self.path / model_name(wanted), threads=threads)
        best = self.passport.threads if self.passport else 0
        return open_session(self.engine_of(wanted), self.backend, threads or best, wanted, gpu=gpu)

    def open_for_many(self) -> Session:
        """Load the engine with the settings that were found best for many images.

        Where nothing was found yet, an inference has one thread and one image: on a CPU, one such
        inference on each core is seldom far from the best.
        """
        found = self.passport.throughput if self.passport else None
        best = found.settings if found else RuntimeSettings(threads=1)
        threads, margin = best.threads, self.cascade_margin
        first = open_session(self.engine, self.backend, threads, self.precision, best.batch)
        if margin is None:
            return first
        # Near ties come one by one.
        fp32 = self.engine_of(Precision.FP32)
        return _cascade(first, margin, lambda: open_session(fp32, self.backend, threads))


def _cascade(first: Session, margin: float, open_second: Callable[[], Session]) -> Session:
    """Return a cascade; where its second session cannot be opened, the first is closed."""
    with ExitStack() as closing:
        closing.enter_context(first)
        cascade = CascadeSession(first, open_second(), margin)
        closing.pop_all()
    return cascade


def open_bundle(path: Path) -> Bundle:
    """Read a bundle and check all its files, the engine among them.

    Raises:
        ArtifactError: It is no bundle, a file is missing or differs, or it expects another
            preprocessing than this version has; or it was finished on a device and the engine is
            not the one that was found good there.
    """
    bundle, passport = open_unfinished(path), read_passport(path)
    if passport is None:
        return bundle
    backend = passport.backend
    check_backend(path, passport, bundle.card.config.backend)
    check_engine(path, passport, lambda p: engine_name(p, backend), bundle.card.files)
    return replace(bundle, passport=passport, precision=passport.precision, backend=backend)


def note_if_strange(bundle: Bundle, progress: Progress) -> None:
    """Say where a bundle was not finished on this machine, which costs speed, not correctness."""
    words = strange_here(bundle.path, bundle.card.config.target, bundle.passport)
    if words:
        progress.note(words)


def open_unfinished(path: Path) -> Bundle:
    """Read a bundle as it was packed, whatever a device has added since.

    Raises:
        ArtifactError: It is no bundle, a file is missing or differs, or it expects another
            preprocessing than this version has.
    """
    refuse_archive(path)
    card = read_artifact(path, BundleCard).card
    of_devices = {PASSPORT_NAME, *map(plan_name, Precision)}
    made_on_a_device = [n for n in card.files if n in of_devices or n.endswith(TIMINGS_SUFFIX)]
    if made_on_a_device:
        raise ArtifactError(
            f"The card of {path} lists {', '.join(sorted(made_on_a_device))}, which only a device "
            "makes.",
            "Do not use it before you know where it comes from.",
        )
    if card.classifier.preprocessing != PREPROCESSING:
        raise ArtifactError(
            f"{path} was built for preprocessing '{card.classifier.preprocessing}'; this cxredge "
            f"has '{PREPROCESSING}'.",
            f"Install cxredge {card.tools.get('cxredge', '')} or build the bundle again.",
        )
    return Bundle(path, card, None, card.facts.precision)


def read_golden(bundle: Bundle) -> Golden:
    """Read a bundle's goldens.

    Raises:
        ArtifactError: The file is not what a bundle holds.
    """
    return read_golden_file(bundle.path / GOLDEN_NAME, bundle.precisions)
