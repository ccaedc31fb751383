"""``cxredge verify``: check files, signature and golden images of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cxredge.cli.command import command
from cxredge.cli.options import BundleOrArchiveArgument, PublicKeyOption
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import table
from cxredge.errors import ArtifactError, GateRefused, quoted

if TYPE_CHECKING:
    from cxredge.bundle.replay import Replay

_NOT_REPLAYED = (
    "the bundle has no golden images, so that it is not known whether this machine computes the "
    "results of the build."
)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "verify")(verify)


def verify(
    output: Output,
    bundle: BundleOrArchiveArgument,
    public_key: PublicKeyOption = None,
) -> Outcome:
    """Check all hashes, and run the golden images on this machine.

    Results have hashes, too. Without golden images, it says what could not be checked. With
    --public-key, also check who signed the bundle. An archive is unpacked to a temporary
    folder. Exits with code 3 if a golden image's result differs from that of the machine that
    built the bundle.
    """
    from cxredge.artifacts.records import to_json
    from cxredge.bundle.archive import is_archive, unpacked
    from cxredge.bundle.passport import passport_problem
    from cxredge.bundle.signature import check_signature, is_signed, read_public_key

    if public_key:
        check_signature(bundle, read_public_key(public_key))
    elif is_signed(bundle):
        output.note(f"{bundle} is signed; check the signer with --public-key.")
    with unpacked(bundle) if is_archive(bundle) else nullcontext(bundle) as folder:
        files, replays = _replay(folder)
        results = _results(folder)
        problem = passport_problem(folder)
    data = {
        "bundle": str(bundle),
        "files": files,
        "passed": all(r.passed for r in replays),
        "signature": "checked" if public_key else "not checked",
        "replays": to_json(replays),
        "results": results,
        "not_checked": [] if replays else [_NOT_REPLAYED],
        "passport_problem": problem,
    }
    _refuse_differences(bundle, replays, data)
    if problem:
        output.note(f"Its times are not to be believed: {problem}")
    signed = f"\nIts signature matches {public_key}." if public_key else ""
    if not replays:
        return Outcome(data, f"{files} files are intact.{signed}\nNot checked: {_NOT_REPLAYED}")
    return Outcome(data, f"{_table(replays)}\n\n{files} files are intact; {bundle} passed.{signed}")


def _table(replays: Sequence[Replay]) -> str:
    """Return the replays as a table; distances are left out if no network returns any."""
    header = ["precision", "golden images", "largest probability change", "changed decisions"]
    rows: list[list[object]] = [
        [r.precision.value, r.images, f"{r.max_probability_difference:.1e}", r.classes_changed]
        for r in replays
    ]
    if any(r.max_distance_difference is not None for r in replays):
        header += ["largest distance change", "changed refusals"]
        for row, r in zip(rows, replays, strict=True):
            known = r.max_distance_difference is not None
            row += [f"{r.max_distance_difference:.1e}", r.refusals_changed] if known else ["-", "-"]
    return table(header, rows)


def _replay(folder: Path) -> tuple[int, list[Replay]]:
    """Return the number of files checked, and the replay of each precision.

    Without golden images there are no replays.
    """
    from cxredge.artifacts.card import held_files
    from cxredge.bundle.bundle import open_bundle, read_golden
    from cxredge.bundle.layout import GOLDEN_NAME
    from cxredge.bundle.replay import replay

    opened = open_bundle(folder)
    files = len(held_files(folder, opened.card))
    if not (folder / GOLDEN_NAME).exists():
        return files, []
    golden = read_golden(opened)
    return files, [replay(opened, p, golden) for p in opened.runnable]


def _results(folder: Path) -> int:
    """Return the number of results, each of which matches its own hash and names this card.

    Raises:
        ArtifactError: A file in ``results`` is not valid, or was changed.
    """
    from cxredge.artifacts.card import CARD_NAME
    from cxredge.artifacts.hashing import sha256_of_file
    from cxredge.results.read import read_results_of

    stored = read_results_of(folder, sha256_of_file(folder / CARD_NAME))
    if stored.damaged:
        raise ArtifactError(
            f"The bundle is intact, but not its results: {' '.join(stored.damaged)}",
            "Delete the file, or measure again: cxredge evaluate or cxredge bench",
        )
    return len(stored.by_path)


def _refuse_differences(bundle: Path, replays: Sequence[Replay], data: Mapping[str, Any]) -> None:
    """Raise GateRefused if a precision's results differ on this machine."""
    failed = [r for r in replays if not r.passed]
    if not failed:
        return
    worst = max(failed, key=lambda r: r.max_probability_difference)
    raise GateRefused(
        f"{worst.precision.value} computes different results on this machine: "
        f"{worst.differences()}.",
        "Compare versions with: cxredge doctor; choose another precision with: "
        f"cxredge deploy {quoted(bundle)}",
        data,
    )
