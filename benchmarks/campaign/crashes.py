"""Commands that are killed before each of their file changes.

Each trial restores the earlier output, starts the command in a child process, kills it (SIGKILL)
before one of the files or folders that it creates, renames, changes or removes below a folder, and
looks at the output; then the same command runs to its end. A kill does not show what a power
failure would lose.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.campaign.child import small_bundle
from benchmarks.campaign.section import Section
from benchmarks.commands import cxredge
from cxredge import cli
from cxredge.artifacts.card import check_files, read_card
from cxredge.artifacts.model_card import ExportedCard, HalfPrecisionCard, QuantizedCard
from cxredge.artifacts.run_card import RunCard
from cxredge.bundle.card import BundleCard
from cxredge.data.phantoms import render_phantom
from cxredge.errors import CxredgeError
from tests.quick_search import shorten

TRIALS = 16
"""Largest number of trials per command, evenly spread over its changes."""
_CARDS = (RunCard, ExportedCard, QuantizedCard, HalfPrecisionCard, BundleCard)
_MEASURED = {"quantization.json", "history.csv"}
"""Files with durations, which differ between two runs."""
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.truncate")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_LAX = "--min-agreement 0 --max-accuracy-drop 1"


@dataclass(frozen=True)
class Case:
    """A command, and the output that it replaces.

    Attributes:
        command: Arguments; ``{base}`` has the inputs, ``{root}`` the output.
        output: Path of the output in the root.
        before: Commands that make the earlier output; empty if there is none.
        measured: Whether the output is a file of measurements, which differ between two runs.
        grows: Whether the output is there, and unfinished, before it has a card.
    """

    command: str
    output: str
    before: tuple[str, ...] = ()
    measured: bool = False
    grows: bool = False


_BUNDLE = "copy {base}/bundle {root}/bundle"
_MANIFEST = "{base}/phantoms/manifest.csv"
_TRAIN = "--weights none --freeze none --input-size 32 --batch-size 8"
_PREPARE = "data prepare --protocol full --cohen {base}/cohen --kermany {base}/kermany"
CASES = {
    "train": Case(f"train {_MANIFEST} {_TRAIN} --epochs 2 --out {{root}}/run", "run", grows=True),
    "export": Case(
        "export {base}/run --out {root}/model",
        "model",
        ("export {base}/other --out {root}/model",),
    ),
    "quantize": Case(
        "quantize {base}/fp32 --calibration {base}/calibration.csv --dialect cpu --effort quick "
        f"--evaluate {_MANIFEST} {_LAX} --out {{root}}/int8",
        "int8",
        ("export {base}/other --out {root}/int8",),
    ),
    "build": Case(
        f"build {{base}}/fp32 --target jetson-nano --precision fp32 {_LAX} --out {{root}}/bundle",
        "bundle",
        (f"build {{base}}/fp32 --target jetson-tx2 --precision fp32 {_LAX} --out {{root}}/bundle",),
    ),
    "build --archive": Case(
        f"build {{base}}/fp32 --target jetson-nano --precision fp32 {_LAX} --archive "
        "--out {root}/bundle",
        "bundle.tar",
    ),
    "deploy": Case("deploy {root}/bundle", "bundle", (_BUNDLE,)),
    "sign": Case("sign {root}/bundle --key {base}/key.pem", "bundle/card.sig", (_BUNDLE,)),
    "data prepare": Case(
        f"{_PREPARE} --out {{root}}/set",
        "set/manifest.csv",
        (f"{_PREPARE} --seed 1 --out {{root}}/set",),
    ),
    "data folder": Case(
        "data folder {base}/phantoms/images --out {root}/set",
        "set/manifest.csv",
        ("data folder {base}/phantoms/images --seed 1 --out {root}/set",),
    ),
    "data phantoms": Case(
        "data phantoms --patients 3 --size 32 --out {root}/set", "set/manifest.csv"
    ),
    "calibrate": Case(
        f"calibrate {_MANIFEST} --count 16 --out {{root}}/c.csv",
        "c.csv",
        (f"calibrate {_MANIFEST} --count 8 --out {{root}}/c.csv",),
    ),
    "evaluate": Case(
        f"evaluate {{root}}/bundle {_MANIFEST} --out {{root}}/e.json",
        "e.json",
        (_BUNDLE, f"evaluate {{root}}/bundle {_MANIFEST} --split val --out {{root}}/e.json"),
        measured=True,
    ),
    "bench": Case(
        "bench {root}/bundle --seconds 0 --queries 5 --warm-up 1 --out {root}/b.json",
        "b.json",
        (_BUNDLE, "bench {root}/bundle --seconds 0 --queries 9 --warm-up 1 --out {root}/b.json"),
        measured=True,
    ),
    "report": Case(
        "report {root}/bundle --out {root}/r.html",
        "r.html",
        (_BUNDLE, "report {root}/bundle --no-xrays --out {root}/r.html"),
    ),
}


@dataclass(frozen=True)
class Tried:
    """The trials of a command.

    Attributes:
        changes: File changes of the command.
        trials: Number of trials.
        whole: Trials after which the earlier or the new output was there, whole.
        finished: Trials after which the command ran to its end, with the same output.
        clean: Trials after which that left no temporary files.
        problems: What was wrong, in words.
    """

    changes: int
    trials: int
    whole: int
    finished: int
    clean: int
    problems: tuple[str, ...]


def run(scratch: Path) -> Section:
    base = scratch / "base"
    _make_inputs(base)
    rows, problems = [], []
    for name, case in CASES.items():
        tried = try_case(case, base, scratch / "trials", TRIALS)
        counts = [f"{n} of {tried.trials}" for n in (tried.whole, tried.finished, tried.clean)]
        rows.append((f"`{name}`", str(tried.changes), str(tried.trials), *counts))
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
            "SIGKILL before a file change; then the same command again. `train`: before the run "
            "has a card, it is unfinished, and the same command resumes it. Searches for settings "
            "are short, as deploy times candidates for a minute otherwise.",
            *problems,
        ),
    )


def try_case(case: Case, base: Path, root: Path, most: int) -> Tried:
    """Kill a command at up to `most` of its changes, and run it again."""
    start, log = root.with_name("start"), root.with_name("log.txt")
    _restore(root, None)
    for words in case.before:
        _prepare(words, base, root)
    _restore(start, root)
    words = _words(case.command, base, root)
    old = _state(root / case.output, case)
    changes, code = _child(words, root, 0, log)
    if code:
        raise SystemExit(f"{case.command}: exit code {code}\n{log.read_text()}")
    new = _state(root / case.output, case)
    count = min(most, changes)
    points = sorted({1 + round(i * (changes - 1) / max(1, count - 1)) for i in range(count)})
    whole = finished = clean = 0
    problems: list[str] = []
    for at in points:
        _restore(root, start)
        _child(words, root, at, log)
        found = _state(root / case.output, case)
        whole += found in (old, new) or (case.grows and found == "unfinished")
        _, code = _child(words, root, 0, log)
        again = _state(root / case.output, case)
        finished += code == 0 and again == new
        left = [path.name for path in root.rglob(".*")]
        clean += not left
        if code or again != new or left or found not in (old, new, "unfinished"):
            said = log.read_text().strip().splitlines()[-1:] if code else []
            problems.append(f"change {at}: {found}, then {again}; left {left} {said}")
    return Tried(changes, len(points), whole, finished, clean, tuple(problems))


def _child(words: list[str], root: Path, stop_at: int, log: Path) -> tuple[int, int]:
    """Run a command in a forked process; return its number of changes and its exit code."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        code = 99
        try:
            with log.open("w") as stream:
                os.dup2(stream.fileno(), 1)
                os.dup2(stream.fileno(), 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            tempfile.tempdir = str(root)
            shorten()
            changes = _kill_before(str(root), stop_at)
            code = int(cli.app([*words, "-q"], standalone_mode=False) or 0)
            os.write(writing, str(changes["count"]).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream_of_child:
        counted = stream_of_child.read()
    _, status = os.waitpid(child, 0)
    return int(counted or 0), os.waitstatus_to_exitcode(status)


def _kill_before(root: str, stop_at: int) -> Mapping[str, int]:
    """Kill this process before a change below a folder; return the counter of changes."""
    changes = {"count": 0}

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" and event not in _CHANGES:
            return
        if not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        if event == "open" and not arguments[2] & _WRITES:
            return
        if os.fsdecode(arguments[0]).startswith(root):
            changes["count"] += 1
            if changes["count"] == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)
    return changes


def _state(path: Path, case: Case) -> str:
    """Return what an output is: absent, a hash of its content, or what is wrong with it."""
    if not path.exists():
        return "absent"
    if path.is_dir():
        return _state_of_folder(path, case)
    if not case.measured:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    try:
        json.loads(path.read_text())
    except ValueError:
        return "half a file"
    return "measurements"


def _state_of_folder(path: Path, case: Case) -> str:
    if case.grows and not (path / "card.json").exists():
        return "unfinished"
    try:
        check_files(path, card := read_card(path, *_CARDS))
    except CxredgeError as error:
        return f"not whole ({error.message})"
    files = {name: sha256 for name, sha256 in card.files.items() if name not in _MEASURED}
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()[:12]


def _make_inputs(base: Path) -> None:
    """Make a small bundle, another run, collections like the paper's, and a key."""
    small_bundle(base)
    cxredge(
        "train", base / "phantoms" / "manifest.csv", "--weights", "none", "--freeze", "none",
        "--input-size", 64, "--epochs", 1, "--seed", 1, "--out", base / "other",
    )  # fmt: skip
    _write_collections(base / "cohen", base / "kermany")
    _write_key(base / "key.pem")
    # Imported before the children are forked, so that each starts at once.
    __import__("lightning_fabric")
    __import__("cxredge.export.export")


def _write_collections(cohen: Path, kermany: Path, each: int = 8) -> None:
    from PIL import Image

    def draw(label: str, patient: int, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(render_phantom(label, patient, 0, 64)).save(path)

    rows = ["patientid,finding,view,modality,filename"]
    for number in range(each):
        draw("covid19", number, cohen / "images" / f"c{number}.png")
        rows.append(f"c{number},COVID-19,PA,X-ray,c{number}.png")
        train = kermany / "train"
        draw("normal", 100 + number, train / "NORMAL" / f"IM-{number:04d}-0001.jpeg")
        for label, kind in (("bacterial", "bacteria"), ("viral", "virus")):
            name = f"person{number}_{kind}_{number}.jpeg"
            draw(label, 200 + number, train / "PNEUMONIA" / name)
    (cohen / "metadata.csv").write_text("\n".join(rows) + "\n")


def _write_key(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    path.write_bytes(pem)


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
        folder.mkdir()
    else:
        shutil.copytree(source, folder, symlinks=True)
