"""Commands that are killed before each of their file changes.

Each trial restores the earlier outputs, starts the command in a child process, kills it (SIGKILL)
before one of the changes that it makes below a folder, and looks at the outputs; then the same
command runs to its end. A kill does not show what a power failure would lose.
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
from benchmarks.campaign.killed import run_killed
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

TRIALS, LAST = 30, 16
"""Number of trials per command that are evenly spread over its changes, and number of changes at
its end that are tried in any case: there the outputs are put in place. Fewer changes than
`TRIALS` are all tried."""
_CARDS = (RunCard, ExportedCard, QuantizedCard, HalfPrecisionCard, BundleCard)
_MEASURED = {"quantization.json", "history.csv"}
"""Files with durations, which differ between two runs."""
_UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Tried:
    """The trials of a command.

    Attributes:
        changes: Kinds of the file changes of the command, in order.
        trials: Number of trials.
        whole: Trials after which the earlier or the new outputs were there, each whole.
        finished: Trials after which the command ran to its end, with the same outputs.
        clean: Trials after which that left the files of a run that nothing disturbed, and no
            hidden ones.
        problems: What was wrong, in words.
    """

    changes: tuple[str, ...]
    trials: int
    whole: int
    finished: int
    clean: int
    problems: tuple[str, ...]


def run(scratch: Path) -> Section:
    base = scratch / "base"
    # Each core has a command; read when torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    make_inputs(base)
    rows, problems = [], []
    with ProcessPoolExecutor(available_cores(), get_context("fork")) as pool:
        jobs = {
            name: pool.submit(try_case, case, base, scratch / str(number) / "trials", TRIALS)
            for number, (name, case) in enumerate(CASES.items())
        }
        for name, job in jobs.items():
            tried = job.result()
            counts = [f"{n} of {tried.trials}" for n in (tried.whole, tried.finished, tried.clean)]
            rows.append((f"`{name}`", str(len(tried.changes)), str(tried.trials), *counts))
            problems += [f"`{name}`: {problem}" for problem in tried.problems]
            print(*rows[-1], *tried.problems, sep="  ", flush=True)
    columns = (
        "command", "file changes", "trials", "old or new, whole", "rerun succeeds", "no litter",
    )  # fmt: skip
    return Section(
        "Commands that are killed",
        columns,
        tuple(rows),
        (
            "SIGKILL before a file change; then the same command again. A change creates, opens "
            "for writing, renames, exchanges, flushes or removes a file or folder. `train`: before "
            "the run has a card, it is unfinished, and the same command resumes it. Searches for "
            "settings are short, as deploy times candidates for a minute otherwise.",
            f"All changes of a command that has up to {TRIALS}; of others {TRIALS}, evenly spread "
            f"from the first to the last, and the last {LAST}.",
            *problems,
        ),
    )


def try_case(case: Case, base: Path, root: Path, most: int) -> Tried:
    """Kill a command at the points of :func:`points_of`, and run it again after each."""
    start, log = root.with_name("start"), root.with_name("log.txt")
    _restore(root, None)
    for words in case.before:
        _prepare(words, base, root)
    _restore(start, root)
    words = _words(case.command, base, root)
    old = _states(root, case)
    undisturbed = run_killed(words, root, 0, log)
    if undisturbed.code:
        raise SystemExit(f"{case.command}: exit code {undisturbed.code}\n{log.read_text()}")
    new, names = _states(root, case), _names(root)
    points = points_of(len(undisturbed.changes), most)
    whole = finished = clean = 0
    problems: list[str] = []
    for at in points:
        _restore(root, start)
        run_killed(words, root, at, log)
        found = _states(root, case)
        is_whole = all(f in (a, b, _UNFINISHED) for f, a, b in zip(found, old, new, strict=True))
        again = run_killed(words, root, 0, log)
        is_finished = again.code == 0 and _states(root, case) == new
        litter = _names(root) ^ names | _hidden(root)
        whole, finished, clean = whole + is_whole, finished + is_finished, clean + (not litter)
        if not (is_whole and is_finished) or litter:
            said = log.read_text().strip().splitlines()[-1:] if again.code else []
            problems.append(
                f"{undisturbed.changes[at - 1]} {at}: {found}, then {_states(root, case)}; "
                f"differs {sorted(litter)} {said}"
            )
    return Tried(undisturbed.changes, len(points), whole, finished, clean, tuple(problems))


def points_of(changes: int, most: int) -> list[int]:
    """Return the numbers of the changes to try: all, or `most` spread evenly and the last ones."""
    if changes <= most:
        return list(range(1, changes + 1))
    spread = {1 + round(i * (changes - 1) / max(1, most - 1)) for i in range(most)}
    return sorted(spread | set(range(max(1, changes - LAST + 1), changes + 1)))


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
