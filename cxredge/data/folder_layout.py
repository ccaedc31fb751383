"""The folders of a data set: which are splits, which are classes, and what lies outside of both."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cxredge.data.images import is_image_file
from cxredge.data.inputs import Skipped, walk_images
from cxredge.data.sources import ImageSource
from cxredge.data.zip_members import is_archive_name
from cxredge.errors import DataError, quoted
from cxredge.vocabulary import Split

_SPLIT_NAMES = {
    Split.TRAIN: ("train", "training", "trn"),
    Split.VAL: ("val", "valid", "validation"),
    Split.TEST: ("test", "testing", "tst"),
}
_SUFFIX = re.compile(r"[ _-]*(set|data|images|split)$")
_SEPARATORS = re.compile(r"[\s_-]+")
_MAX_CLASSES = 8
_NO_FOLDERS = ("__macosx",)


@dataclass(frozen=True)
class ClassFolder:
    """A folder with images of one class, or of one kind of controls.

    Attributes:
        path: The folder.
        label: The class; empty for controls.
        split: The split that the folder belongs to; None if the set is not split.
        finding: Kind of the controls.
    """

    path: Path
    label: str
    split: Split | None
    finding: str = ""


@dataclass(frozen=True)
class Layout:
    """The folders of a data set.

    Attributes:
        folders: Folders with the images of one class, in order.
        outside: Images in no class folder, and the reason why they are left out.
        notes: What was understood that is not obvious, in sentences.
    """

    folders: tuple[ClassFolder, ...]
    outside: tuple[tuple[ImageSource, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> frozenset[Split]:
        """The splits that have folders; empty if the set is not split."""
        return frozenset(folder.split for folder in self.folders if folder.split)

    def split_of(self, path: Path) -> Split:
        """Return the split of an image's folder; the set has splits."""
        split_of = {folder.path: folder.split for folder in self.folders}
        found = next(split_of[above] for above in path.parents if above in split_of)
        return found or Split.TRAIN


@dataclass
class _Found:
    folders: list[ClassFolder] = field(default_factory=list)
    outside: list[tuple[ImageSource, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def split_named(name: str, given: Mapping[str, Split] | None = None) -> Split | None:
    """Return the split that a folder's name means, such as ``Train`` or ``test_set``; else None.

    Args:
        name: The name.
        given: Splits of further names.
    """
    if given and name in given:
        return given[name]
    plain = _SUFFIX.sub("", name.strip().casefold())
    return next((split for split, names in _SPLIT_NAMES.items() if plain in names), None)


def find_layout(directory: Path, given: Mapping[str, Split] | None = None) -> Layout:
    """Return the layout of ``DIR/CLASS/``, ``DIR/SPLIT/CLASS/`` or ``DIR/CLASS/SPLIT/``.

    Args:
        directory: The data set.
        given: Splits of folders whose names are not usual.

    Raises:
        DataError: It is unclear whether a folder is a split or a class, or a split for training is
            missing.
    """
    tops = _subfolders(directory)
    _check_given(directory, tops, given or {})
    splits = {top: split for top in tops if (split := split_named(top.name, given))}
    found = _Found()
    found.outside += [(source, "no_class") for source in _loose(directory)]
    if splits:
        _read_splits(directory, tops, splits, found)
    else:
        _read_classes(tops, found)
    return Layout(_same_classes(found), tuple(found.outside), tuple(found.notes))


def find_kinds(directory: Path) -> list[ClassFolder]:
    """Return the folders of a folder of controls, each a kind.

    Images in no folder belong to a kind with the name of ``directory``.
    """
    kinds = [ClassFolder(path, "", None, path.name) for path in _subfolders(directory)]
    loose = [
        ClassFolder(path, "", None, directory.name)
        for path in sorted(directory.iterdir())
        if not path.is_dir() and (is_archive_name(path.name) or is_image_file(path))
    ]
    return [*kinds, *loose]


def inner_set(directory: Path) -> Path | None:
    """Return the only folder of a set, if it has several folders: it may be the set itself."""
    tops = _subfolders(directory)
    return tops[0] if len(tops) == 1 and len(_subfolders(tops[0])) > 1 else None


def _read_splits(
    directory: Path, tops: Sequence[Path], splits: Mapping[Path, Split], found: _Found
) -> None:
    others = [top for top in tops if top not in splits and _has_images(top)]
    held = {*splits.values()}
    if others and not (Split.TRAIN in held and len(held) > 1):
        raise _unclear(directory, next(iter(splits)), others[0])
    if Split.TRAIN not in held:
        raise DataError(
            f"{directory} has {_names(splits)}, but no folder for training.",
            "Rename one to 'train', or name it: --split-folder NAME=train",
        )
    for top, split in splits.items():
        found.outside += [(source, "no_class") for source in _loose(top)]
        found.folders += [ClassFolder(path, path.name, split) for path in _subfolders(top)]
    for other in others:
        images = [(source, "unknown_split") for source in walk_images([other], Skipped())]
        found.outside += images
        found.notes.append(
            f"{len(images)} images in '{other.name}' are left out, as it is neither train, val nor "
            f"test. To use them: --split-folder {quoted(other.name)}=val"
        )


def _read_classes(tops: Sequence[Path], found: _Found) -> None:
    """Read class folders; some sets have the splits inside them."""
    inner = {top: _splits_in(top) for top in tops}
    if len(tops) > 1:
        _check_no_sets(inner)
    divided = [top for top, parts in inner.items() if _is_divided(parts)]
    whole = [top for top in tops if top not in divided and _has_images(top)]
    if divided and whole:
        parts = _names(inner[divided[0]])
        raise DataError(
            f"{divided[0]} is divided into {parts}, {whole[0]} is not.",
            "Divide every class folder, or none: DIR/CLASS/train/, DIR/CLASS/test/.",
        )
    if not divided:
        found.folders += [ClassFolder(top, top.name, None) for top in tops]
        found.notes += [*_perhaps_splits(tops), *_perhaps_sets(tops), *_perhaps_one_class(tops)]
        return
    for top in divided:
        found.folders += [ClassFolder(p, top.name, split) for p, split in inner[top].items()]
        found.outside += [(source, "no_split") for source in _loose(top)]
        for other in _subfolders(top):
            if other not in inner[top]:
                images = walk_images([other], Skipped())
                found.outside += [(source, "unknown_split") for source in images]
    found.notes.append(f"Class folders are divided into {_names(inner[divided[0]])}: kept.")


def _perhaps_splits(tops: Sequence[Path]) -> Iterator[str]:
    """Yield a sentence if all folders hold the same few folders, as splits in any language do."""
    inside = {frozenset(sub.name for sub in _subfolders(top)) for top in tops}
    if len(tops) > 1 and len(inside) == 1 and 1 < len(names := inside.pop()) <= _MAX_CLASSES:
        listed = ", ".join(f"'{top.name}'" for top in tops)
        yield (
            f"{listed} are read as classes, although each holds {', '.join(sorted(names))}. If "
            f"they are splits, name each: --split-folder {quoted(tops[0].name)}=train"
        )


def _check_no_sets(inner: Mapping[Path, Mapping[Path, Split]]) -> None:
    """Raise DataError if a folder is a whole set: its splits hold the same class folders.

    Folders of patients differ between splits.
    """
    for top, parts in inner.items():
        held = [{sub.name for sub in _subfolders(part)} for part in parts]
        if _is_divided(parts) and len(classes := set.intersection(*held)) > 1:
            listed = ", ".join(sorted(classes)[:_MAX_CLASSES])
            raise DataError(
                f"{top} is a data set of its own: {_names(parts)} in it hold {listed}.",
                f"Give a single set: cxredge data folder {quoted(top)} --out OUT",
            )


def _perhaps_sets(tops: Sequence[Path]) -> Iterator[str]:
    """Yield a sentence if several folders have no images, but a few folders with other names."""
    inside = {
        top: subs
        for top in tops
        if 1 < len(subs := [sub.name for sub in _subfolders(top)]) <= _MAX_CLASSES
        and next(_loose(top), None) is None
    }
    if len(inside) > 1 and len({frozenset(subs) for subs in inside.values()}) > 1:
        listed = " and ".join(f"'{top.name}' ({', '.join(subs)})" for top, subs in inside.items())
        yield (
            f"{listed} are read as classes, with all folders in them. If they are data sets of "
            f"their own, give a single one: cxredge data folder {quoted(next(iter(inside)))}"
        )


def _perhaps_one_class(tops: Sequence[Path]) -> Iterator[str]:
    """Yield a sentence for folders whose names differ only in case, spaces, dashes or encoding."""
    alike: dict[str, list[str]] = defaultdict(list)
    for top in tops:
        plain = unicodedata.normalize("NFKC", top.name).casefold()
        alike[_SEPARATORS.sub("", plain)].append(f"'{top.name}'")
    for names in alike.values():
        if len(names) > 1:
            yield f"{', '.join(names)} are {len(names)} classes. If they are one, join the folders."


def _splits_in(folder: Path) -> dict[Path, Split]:
    return {sub: split for sub in _subfolders(folder) if (split := split_named(sub.name))}


def _is_divided(parts: Mapping[Path, Split]) -> bool:
    held = {*parts.values()}
    return Split.TRAIN in held and len(held) > 1


def _same_classes(found: _Found) -> tuple[ClassFolder, ...]:
    """Give class folders of different splits whose names differ in case only the same label."""
    spellings: dict[str, dict[str, set[Path]]] = defaultdict(lambda: defaultdict(set))
    for folder in found.folders:
        spellings[folder.label.strip().casefold()][folder.label].add(folder.path.parent)
    label_of: dict[str, str] = {}
    for used in spellings.values():
        if len(used) > 1 and not set.intersection(*used.values()):
            # Training folders come first, not the first name.
            split_of = {folder.label: folder.split for folder in found.folders}
            first = min(used, key=lambda label: (split_of[label] is not Split.TRAIN, label))
            label_of |= dict.fromkeys(used, first)
            shown = ", ".join(f"'{label}'" for label in used)
            found.notes.append(f"The folders {shown} are one class: '{first}'.")
    return tuple(replace(f, label=label_of.get(f.label, f.label)) for f in found.folders)


def _unclear(directory: Path, split: Path, other: Path) -> DataError:
    return DataError(
        f"{directory} has '{split.name}', which is the name of a split, beside '{other.name}', "
        "which is not: it is unclear which folders are classes.",
        f"If '{other.name}' is a split, name it: --split-folder {quoted(other.name)}=val, or "
        f"test. If '{split.name}' is a class, rename it.",
    )


def _check_given(directory: Path, tops: Sequence[Path], given: Mapping[str, Split]) -> None:
    held = [top.name for top in tops]
    if missing := [name for name in given if name not in held]:
        raise DataError(
            f"--split-folder: {directory} has no folder '{missing[0]}'; it has "
            f"{', '.join(held[:12]) or 'none'}."
        )


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and _is_shown(path)]


def _is_shown(path: Path) -> bool:
    return not path.name.startswith(".") and path.name.casefold() not in _NO_FOLDERS


def _loose(folder: Path) -> Iterator[ImageSource]:
    """Yield the images directly in a folder that should hold folders."""
    for path in sorted(folder.iterdir()):
        if not path.is_dir() and (is_archive_name(path.name) or is_image_file(path)):
            yield from walk_images([path], Skipped())


def _has_images(folder: Path) -> bool:
    return next(walk_images([folder], Skipped()), None) is not None


def _names(folders: Mapping[Path, Split]) -> str:
    return ", ".join(f"'{path.name}'" for path in folders)
