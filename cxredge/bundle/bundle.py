"""A bundle: the folder that is deployed to a device.

``card.json`` states what the bundle is and never changes. ``passport.json`` is written on the
device on which the engine was chosen, and refers to the card and the engine by their hashes. The
card does not list engines that were built on a device (``model-<precision>.plan``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cxredge.artifacts.card import read_artifact
from cxredge.artifacts.records import shorten
from cxredge.backends import BACKENDS, CPU_BACKENDS, open_session, reduced_precisions
from cxredge.backends.base import Session, SessionSpec, available_cores
from cxredge.backends.cascade import CascadeSession
from cxredge.backends.tensorrt.facts import read_facts
from cxredge.backends.tensorrt.timing_cache import SUFFIX as TIMINGS_SUFFIX
from cxredge.bundle.archive import refuse_archive
from cxredge.bundle.card import BundleCard
from cxredge.bundle.flipped import read_flipped
from cxredge.bundle.golden import Golden
from cxredge.bundle.golden import read_golden as read_golden_file
from cxredge.bundle.layout import GOLDEN_NAME, PLAN_SUFFIX, engine_name, model_name, plan_name
from cxredge.bundle.operating_point import OperatingPoint
from cxredge.bundle.orientation import read_orientation
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
from cxredge.metrics.orientation import OrientationTemplates
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
        passport: The choice on the device; None if the bundle was not finished on one.
        precision: The precision that serves.
        backend: The runtime that serves: that of the passport, or ONNX Runtime without one.
        orientation: Templates that tell upside down and inverted X-rays; None if it has none.
    """

    path: Path
    card: BundleCard
    passport: Passport | None
    precision: Precision
    backend: str = "onnxruntime"
    orientation: OrientationTemplates | None = field(default=None, compare=False, repr=False)

    @property
    def engine(self) -> Path:
        """The file that the backend loads."""
        return self.engine_of(self.precision)

    def engine_of(self, precision: Precision) -> Path:
        """Return the path that the backend loads for a precision; the file may not exist."""
        return self.path / engine_name(precision, self.backend)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """FP32 and the precisions that were compared with it."""
        return tuple(p for p in Precision if p in self.card.facts.gate)

    @property
    def runnable(self) -> tuple[Precision, ...]:
        """The precisions that the backend can run here; an engine may have failed to build."""
        return tuple(p for p in self.precisions if self._runs(p))

    def _runs(self, precision: Precision) -> bool:
        if self.backend in CPU_BACKENDS and not self._is_packed(precision):
            return precision in reduced_precisions(self.backend)
        return self.engine_of(precision).is_file()

    def _is_packed(self, precision: Precision) -> bool:
        return model_name(precision) in self.card.files

    def model_of(self, precision: Precision) -> Path:
        """Return the ONNX file of a precision; FP32's if the runtime converts it on loading."""
        packed = precision if self._is_packed(precision) else Precision.FP32
        return self.path / model_name(packed)

    def was_calibrated_by_tensorrt(self, precision: Precision) -> bool:
        """Return whether TensorRT's calibrator chose an engine's ranges, not the INT8 file."""
        plan = self.engine_of(precision)
        facts = read_facts(plan) if self.backend not in CPU_BACKENDS and plan.is_file() else None
        return facts is not None and facts.settings.legacy_calibration

    def operating_point(self, precision: Precision | None = None) -> OperatingPoint:
        """Return the limits in the runtime that serves; None for the precision that serves."""
        return self.card.facts.operating_point(precision or self.precision, self.backend)

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Operating thresholds by class, of the precision and runtime that serve."""
        return self.operating_point().thresholds

    @property
    def cascade_margin(self) -> float | None:
        """Largest margin at which FP32 decides instead of the precision that serves.

        None if FP32 does not decide, or if TensorRT's own calibrator chose the ranges of the INT8
        engine: the margin was measured on other ranges.
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
        """Load the precision that serves, or another one of the bundle.

        If another precision has no engine, ONNX Runtime runs its ONNX file: evaluations always
        compare with FP32.

        Args:
            precision: A precision alone; None for the one that serves, with FP32 for its near ties
                if the bundle is a cascade.
            threads: Number of threads per inference; 0 for the passport's, or all cores without
                one.
            gpu: Settings of a GPU session.
        """
        margin = self.cascade_margin
        if precision is None and margin is not None:
            return self._cascade(margin, lambda p: self.open(p, threads, gpu))
        wanted = precision or self.precision
        if wanted is not self.precision and wanted not in self.runnable:
            model = self.path / model_name(wanted)
            self._require_listed(model)
            return self._fitting(open_session(model, threads=threads), model, wanted)
        best = min(self.passport.threads, available_cores()) if self.passport else 0
        engine = self.engine_of(wanted)
        self._require_listed(engine)
        session = open_session(engine, self.backend, threads or best, wanted, gpu=gpu)
        return self._fitting(session, engine, wanted)

    def open_for_many(self, cores: int = 0) -> Session:
        """Load the precision that serves with the fastest settings for many images.

        Without a passport, an inference has one thread and one image: one such inference per core
        is close to the best on most CPUs.

        Args:
            cores: Number of cores to use; 0 for all that this process may use.
        """
        found = self.passport.throughput if self.passport else None
        best = found.settings if found else RuntimeSettings(threads=1)
        threads, margin = min(best.threads, cores or available_cores()), self.cascade_margin

        def load(precision: Precision) -> Session:
            # Near ties are inferred one at a time.
            batch = best.batch if precision is self.precision else 1
            engine = self.engine_of(precision)
            self._require_listed(engine)
            session = open_session(engine, self.backend, threads, precision, batch)
            return self._fitting(session, engine, precision)

        return load(self.precision) if margin is None else self._cascade(margin, load)

    def _require_listed(self, path: Path) -> None:
        """Raise ArtifactError if a file of the build is not on the card, so was not compared.

        Engines of a device are on its passport instead.
        """
        if path.suffix != PLAN_SUFFIX and path.is_file() and path.name not in self.card.files:
            raise ArtifactError(
                f"{path} is not on the bundle's card, so nothing is known about its content.",
                "Do not use the bundle before you know where it comes from.",
            )

    def _fitting(self, session: Session, engine: Path, precision: Precision) -> Session:
        """Return a session, or close it and raise ArtifactError if it does not fit the card."""
        problem = self._misfit(session.spec, precision)
        if problem is None:
            return session
        session.close()
        raise ArtifactError(
            f"{engine} {problem}.", "Do not use the bundle before you know where it comes from."
        )

    def _misfit(self, spec: SessionSpec, precision: Precision) -> str | None:
        """Return what the card and a model contradict each other in; None if they agree."""
        classifier = self.card.classifier
        expected = (classifier.input_size, len(classifier.classes))
        if (spec.size, spec.classes) != expected:
            return (
                f"takes images of {spec.size} pixels and has {spec.classes} classes; its card "
                f"states {expected[0]} pixels and {expected[1]} classes"
            )
        limit = self.operating_point(precision).max_distance
        if spec.has_distances != (limit is not None):
            found = "a distance" if spec.has_distances else "no distance"
            stated = "no limit of it" if limit is None else f"a largest distance of {limit:.3f}"
            return f"returns {found}, but its card states {stated}; no image could be refused"
        has_maps = self.card.facts.map_grid is not None
        if (spec.map_sides is not None) != has_maps:
            found = "no maps" if spec.map_sides is None else "class activation maps"
            stated = "with" if has_maps else "without"
            return f"returns {found}, but its card states that it was built {stated} heatmaps"
        return None

    def _cascade(self, margin: float, load: Callable[[Precision], Session]) -> Session:
        """Return a cascade of the precision that serves and FP32.

        A runtime on the processor loads both models at once, so that the first row comes earlier.
        Engines are loaded one after the other: a CUDA context belongs to the thread that made it.
        """
        with ThreadPoolExecutor(1) as pool, ExitStack() as closing:
            loading = pool.submit(load, Precision.FP32) if self.backend in CPU_BACKENDS else None
            if loading is not None:
                closing.callback(_close_when_loaded, loading)
            first = closing.enter_context(load(self.precision))
            second = load(Precision.FP32) if loading is None else loading.result()
            closing.pop_all()
        return CascadeSession(first, second, margin, self.operating_point().distance_limit)


def _close_when_loaded(loading: Future[Session]) -> None:
    """Close a session that another thread loads, unless loading fails."""
    if loading.exception() is None:
        loading.result().close()


def open_bundle(path: Path) -> Bundle:
    """Read a bundle and check all its files, including the engine.

    Raises:
        ArtifactError: It is not a bundle, a file is missing or differs, or its preprocessing is not
            that of this version; or it was finished on a device and the engine is not the one
            that was chosen there.
    """
    bundle, passport = open_unfinished(path), read_passport(path)
    if passport is None:
        return bundle
    backend = passport.backend
    check_backend(path, passport, bundle.card.config.backend)
    check_engine(path, passport, lambda p: engine_name(p, backend), bundle.card.files)
    return replace(bundle, passport=passport, precision=passport.precision, backend=backend)


def note_if_strange(bundle: Bundle, progress: Progress) -> None:
    """Report a bundle that was not finished on this machine, which costs speed, not accuracy."""
    words = strange_here(bundle.path, bundle.card.config.target, bundle.passport)
    if words:
        progress.note(words)


def open_unfinished(path: Path) -> Bundle:
    """Read a bundle as it was packed, without the files that a device has added.

    Raises:
        ArtifactError: It is not a bundle, a file is missing or differs, or its preprocessing is not
            that of this version.
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
    if card.config.backend not in BACKENDS:
        raise ArtifactError(
            f"{path} is for the runtime {shorten(card.config.backend)}; this cxredge has "
            f"{', '.join(BACKENDS)}.",
            "Build it again, or install the cxredge that built it.",
        )
    if card.classifier.preprocessing != PREPROCESSING:
        raise ArtifactError(
            f"{path} was built for preprocessing {shorten(card.classifier.preprocessing)}; this "
            f"cxredge has '{PREPROCESSING}'.",
            f"Install cxredge {card.tools.get('cxredge', '')} or build the bundle again.",
        )
    orientation = read_orientation(path, card)
    return Bundle(path, card, None, card.facts.precision, orientation=orientation)


def read_golden(bundle: Bundle) -> Golden:
    """Read a bundle's goldens.

    Raises:
        ArtifactError: The file is damaged, or was deleted.
    """
    path = bundle.path / GOLDEN_NAME
    if not path.exists():
        raise ArtifactError(
            f"{path} is missing, so that results here cannot be compared with those of the build.",
            "Get the bundle with its golden images; predict, evaluate and report work without.",
        )
    if GOLDEN_NAME not in bundle.card.files:
        raise ArtifactError(
            f"The card of {bundle.path} lists no {GOLDEN_NAME}, so no machine can check itself.",
            "Build the bundle again.",
        )
    return read_golden_file(path, bundle.precisions, bundle.card.classifier)


def count_pictures(bundle: Bundle) -> Mapping[str, int]:
    """Return the number of X-rays that travel inside a bundle: ``golden`` and ``flipped``."""
    has_golden = (bundle.path / GOLDEN_NAME).exists()
    return {
        "golden": len(read_golden(bundle).labels) if has_golden else 0,
        "flipped": len(read_flipped(bundle.path, bundle.card.classifier.input_size)),
    }
