"""The data sets of the paper, and two that carry on from them, from the public collections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxredge.artifacts.records import Count
from cxredge.data.adults import read_adults
from cxredge.data.appearance import hash_images
from cxredge.data.cohen import read_cohen
from cxredge.data.controls import choose_controls
from cxredge.data.cxr_d import add_adults
from cxredge.data.duplicates import keep_one_of_each
from cxredge.data.kermany import read_kermany
from cxredge.data.kermany_official import is_official_test, split_officially
from cxredge.data.left_out import LeftOut
from cxredge.data.manifest import Entry, Sample
from cxredge.data.perceptual_hash import Hashes
from cxredge.data.prepare import PreparedSet, check_all, write_set
from cxredge.data.protocols import draw_full, draw_protocol
from cxredge.progress import Progress
from cxredge.vocabulary import ProtocolName, SplitBy


@dataclass(frozen=True)
class ProtocolSet(PreparedSet):
    """Summary of a protocol's data set.

    Attributes:
        patients_joined: Number of patient names joined to another, as both share an X-ray.
        not_drawn: Number of usable images that the protocol has no place for.
    """

    patients_joined: Count = 0
    not_drawn: Count = 0


@dataclass(frozen=True)
class ProtocolOptions:
    """Options of :func:`prepare_protocol`.

    Attributes:
        protocol: Name of the data set; None splits all images 70/15/15.
        split_by: Whether patients are kept whole, or images are split as in the paper.
        seed: The same seed draws the same images.
        balanced: Without a protocol: use as many images of each class as the smallest has.
        sars: Without a protocol: keep SARS as a class.
        adults: Folder of a collection of adults, who become controls; None without it. ``cxr-d``
            requires it, and its adults without a finding become ``normal``.
        other_share: Of ``cxr-d``: share of the patients with other findings who are trained on as
            the class ``other``.
    """

    protocol: ProtocolName | None
    split_by: SplitBy = SplitBy.PATIENT
    seed: int = 0
    balanced: bool = False
    sars: bool = False
    adults: Path | None = None
    other_share: float = 0.0


def prepare_protocol(
    cohen: Path, kermany: Path, out: Path, options: ProtocolOptions, progress: Progress
) -> ProtocolSet:
    """Write the manifest of a protocol of both collections, or of all images.

    Of an X-ray that exists in several files, one is used, and its patients are joined. The other
    pictures of the Cohen collection become controls, unless their patient is in train or val.

    Args:
        cohen: Folder of the Cohen collection.
        kermany: Folder of the Kermany set.
        out: Folder for ``manifest.csv``.
        options: Protocol and options of the draw.
        progress: Progress listener.

    Raises:
        DataError: A folder has another layout, or a class has too few images.
    """
    found, dropped_covid = read_cohen(cohen, with_controls=True)
    covid = [sample for sample in found if sample.label]
    others = [sample for sample in found if not sample.label]
    pneumonia, dropped_pneumonia = read_kermany(kermany)
    adults, dropped_adults = _adults(options.adults)
    usable, unusable = check_all([*covid, *pneumonia], progress)
    hashes = _hash(usable, progress)
    kept, joined = keep_one_of_each(usable, hashes)
    used, copies = {entry.sha256 for entry in kept}, LeftOut()
    for entry in usable:
        if entry.sha256 not in used:
            copies.leave(entry.path, "near_duplicate")
    entries, not_drawn = _draw(kept, options)
    controls, no_controls = _controls([*others, *adults], usable, hashes, entries, progress)
    seen = LeftOut()
    if options.protocol is ProtocolName.CXR_D:
        entries, controls, seen = add_adults(entries, controls, options.other_share, options.seed)
    lost = [dropped_pneumonia, dropped_adults, unusable, copies, not_drawn, no_controls, seen]
    prepared = write_set(out, [*entries, *controls], dropped_covid.join(*lost))
    unused = len(kept) - sum(entry.sha256 in used for entry in entries) if options.protocol else 0
    return ProtocolSet(**vars(prepared), patients_joined=joined, not_drawn=unused)


def prepare_kermany(
    kermany: Path, out: Path, options: ProtocolOptions, progress: Progress
) -> ProtocolSet:
    """Write the manifest of Kermany's official split; adults become controls.

    Args:
        kermany: Folder of the Kermany set.
        out: Folder for ``manifest.csv``.
        options: Seed and folder of the adults; other options do not apply.
        progress: Progress listener.

    Raises:
        DataError: A folder has another layout, or there is no official split.
    """
    samples, dropped = read_kermany(kermany)
    adults, dropped_adults = _adults(options.adults)
    # Of equal files, the first is kept: that of the test folder.
    samples.sort(key=lambda sample: not is_official_test(sample.path, kermany))
    usable, unusable = check_all(samples, progress)
    hashes = _hash(usable, progress)
    entries, left_out, joined = split_officially(usable, hashes, kermany, options.seed)
    controls, no_controls = _controls(adults, usable, hashes, entries, progress)
    lost = dropped.join(dropped_adults, unusable, left_out, no_controls)
    prepared = write_set(out, [*entries, *controls], lost)
    return ProtocolSet(**vars(prepared), patients_joined=joined)


def _draw(kept: Sequence[Entry], options: ProtocolOptions) -> tuple[list[Entry], LeftOut]:
    """Return the images of a protocol with their splits, and those left out of a full set."""
    if options.protocol is None:
        return draw_full(
            kept, options.split_by, options.seed, balanced=options.balanced, sars=options.sars
        )
    is_extended = options.protocol is ProtocolName.CXR_D
    name = ProtocolName.CXR_B if is_extended else options.protocol
    return draw_protocol(kept, name, options.split_by, options.seed), LeftOut()


def _adults(directory: Path | None) -> tuple[list[Sample], LeftOut]:
    return read_adults(directory) if directory else ([], LeftOut())


def _controls(
    candidates: Sequence[Sample],
    usable: Sequence[Entry],
    hashes: Hashes,
    entries: Sequence[Entry],
    progress: Progress,
) -> tuple[list[Entry], LeftOut]:
    with progress.task("Checking controls", 2 * len(candidates)) as advance:
        return choose_controls(candidates, usable, hashes, entries, lambda: advance(1))


def _hash(usable: Sequence[Entry], progress: Progress) -> Hashes:
    with progress.task("Comparing images", len(usable)) as advance:
        return hash_images(usable, lambda: advance(1))
