"""Commands that are killed before each of their file changes.

A command replaces its earlier outputs in a child process. Before each change that it makes, all
files are copied: what a kill at that moment leaves. In each copy the outputs are looked at; then
the same command runs to its end there. A kill does not show what a power failure would lose.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from benchmarks.campaign.crash_cases import CASES, Case, make_inputs
from benchmarks.campaign.killed import copy_at_each, fingerprint, run_child
from benchmarks.campaign.section import Section
from benchmarks.commands import cxredge
from cxredge.artifacts.card import CARD_NAME, check_files, read_card
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.artifacts.model_card import ExportedCard, HalfPrecisionCard, QuantizedCard
from cxredge.artifacts.run_card import RunCard
from cxredge.backends.base import available_cores
from cxredge.bundle.card import BundleCard
from cxredge.data.manifest import read_manifest
from cxredge.errors import CxredgeError

_CARDS = (RunCard, ExportedCard, QuantizedCard, HalfPrecisionCard, BundleCard)
_MEASURED = {"quantization.json", "history.csv"}
"""Files with durations, which differ between two runs."""
_UNFINISHED = "unfinished"
_NOTES = (
    "Every change of a file or folder: creating, opening for writing, renaming, exchanging, "
    "flushing, removing. Before each, all files are copied as a kill (SIGKILL) at that moment "
    "would leave them; then the same command runs on the copy, once for copies that are the same. "
    "A test compares such copies with what real kills leave.",
    "`train`: before the run has a card, it is unfinished, and the same command resumes it. "
    "Searches for settings are short, as deploy times candidates for a minute otherwise.",
)


@dataclass(frozen=True)
class Trial:
    """A command after a crash.

    Attributes:
        whole: Whether the earlier or the new outputs were there, each whole.
        finished: Whether the command then ran to its end, with the same outputs.
        clean: Whether that left the files of a run that nothing disturbed, and no hidden ones.
        words: What was found.
    """

    whole: bool
    finished: bool
    clean: bool
    words: str


@dataclass(frozen=True)
class Tried:
    """The trials of a command.

    Attributes:
        changes: Kinds of the file changes of the command, in order.
        states: Number of different states before them, in each of which it was run again.
        trials: The trial of each change.
    """

    changes: tuple[str, ...]
    states: int
    trials: tuple[Trial, ...]

    @property
    def problems(self) -> list[str]:
        """What was wrong, in words."""
        wrong = [t.words for t in self.trials if not (t.whole and t.finished and t.clean)]
        return list(dict.fromkeys(wrong))

    def row(self, name: str) -> tuple[str, ...]:
        """Return the cells of the table."""
        total = len(self.changes)
        held = [
            sum(kind)
            for kind in zip(*((t.whole, t.finished, t.clean) for t in self.trials), strict=True)
        ]
        return (f"`{name}`", str(total), str(self.states), *(f"{n} of {total}" for n in held))


def run(scratch: Path) -> Section:
    base = scratch / "base"
    # Each core has a command; read when torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    make_inputs(base)
    rows, problems = [], []
    with ProcessPoolExecutor(available_cores(), get_context("fork")) as pool:
        jobs = {
            name: pool.submit(try_case, case, base, scratch / str(number) / "trials")
            for number, (name, case) in enumerate(CASES.items())
        }
        for name, job in jobs.items():
            tried = job.result()
            rows.append(tried.row(name))
            problems += [f"`{name}`: {problem}" for problem in tried.problems]
            print(*rows[-1], *tried.problems, sep="  ", flush=True)
    columns = (
        "command", "file changes", "states", "old or new, whole", "rerun succeeds", "no litter",
    )  # fmt: skip
    return Section("Commands that are killed", columns, tuple(rows), (*_NOTES, *problems))


def try_case(case: Case, base: Path, root: Path) -> Tried:
    """Copy what a command would leave if it were killed at each change, and run it on each copy."""
    copies, log = root.with_name("copies"), root.with_name("log.txt")
    _restore(root, None)
    _restore(copies, None)
    for words in case.before:
        _prepare(words, base, root)
    words = _words(case.command, base, root)
    old = _states(root, case)
    undisturbed = run_child(words, root, log, copy_at_each(root, copies))
    if undisturbed.code:
        raise SystemExit(f"{case.command}: exit code {undisturbed.code}\n{log.read_text()}")
    new, names = _states(root, case), _names(root)
    trials: dict[str, Trial] = {}
    at: list[Trial] = []
    for number, kind in enumerate(undisturbed.changes, start=1):
        _restore(root, copies / str(number))
        shutil.rmtree(copies / str(number))
        state = fingerprint(root)
        if state not in trials:
            found = _states(root, case)
            pairs = zip(found, old, new, strict=True)
            is_whole = all(one in (a, b, _UNFINISHED) for one, a, b in pairs)
            again = run_child(words, root, log)
            is_finished = again.code == 0 and _states(root, case) == new
            litter = sorted(_names(root) ^ names | _hidden(root))
            said = log.read_text().strip().splitlines()[-1:] if again.code else []
            words_of_it = f"{kind} {number}: {found}, then {_states(root, case)} {litter} {said}"
            trials[state] = Trial(is_whole, is_finished, not litter, words_of_it)
        at.append(trials[state])
    return Tried(undisturbed.changes, len(trials), tuple(at))


def _states(root: Path, case: Case) -> list[str]:
    """Return what each output is: absent, a hash of its content, or what is wrong with it."""
    return [_state(root / name, case) for name in case.outputs]


def _state(path: Path, case: Case) -> str:
    if not path.exists():
        return "absent"
    try:
        if path.is_dir():
            return _state_of_folder(path, case)
        if path.name == "manifest.csv":
            return _state_of_set(path)
        if case.measured:
            json.loads(path.read_text())
            return "measurements"
    except (CxredgeError, ValueError) as error:
        return f"not whole ({error})"
    return _digest(path.read_bytes())


def _state_of_folder(path: Path, case: Case) -> str:
    if not case.has_card:
        return _digest([(p.name, sha256_of_file(p)) for p in sorted(path.iterdir())])
    if case.grows and not (path / CARD_NAME).exists():
        return _UNFINISHED
    check_files(path, card := read_card(path, *_CARDS))
    return _digest(sorted((n, h) for n, h in card.files.items() if n not in _MEASURED))


def _state_of_set(path: Path) -> str:
    """Return the state of a manifest, whose images must be the ones that it lists."""
    for entry in read_manifest(path).entries:
        if sha256_of_file(entry.path) != entry.sha256:
            raise ValueError(f"{entry.path} is another image")
    return _digest(path.read_bytes())


def _digest(content: object) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return hashlib.sha256(raw).hexdigest()[:12]


def _names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def _hidden(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob(".*")}


def _prepare(words: str, base: Path, root: Path) -> None:
    name, *arguments = _words(words, base, root)
    if name == "copy":
        shutil.copytree(arguments[0], arguments[1])
    else:
        cxredge(name, *arguments)


def _words(command: str, base: Path, root: Path) -> list[str]:
    return [word.format(base=base, root=root) for word in command.split()]


def _restore(folder: Path, source: Path | None) -> None:
    """Make a folder a copy of another, or empty."""
    shutil.rmtree(folder, ignore_errors=True)
    if source is None:
        folder.mkdir(parents=True)
    else:
        shutil.copytree(source, folder, symlinks=True)
