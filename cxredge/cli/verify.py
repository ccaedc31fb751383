"""``cxredge verify``: does a bundle still compute what it did where it was built?"""

from __future__ import annotations

import typer

from cxredge.cli.command import command
from cxredge.cli.options import BundleArgument
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import table


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "verify")(verify)


def verify(output: Output, bundle: BundleArgument) -> Outcome:
    """Check every file's hash and replay the golden images on this machine.

    Exits 3 when a golden image comes out differently than where the bundle was built.
    """
    from cxredge.bundle import open_bundle, read_golden, replay
    from cxredge.errors import GateRefused

    opened = open_bundle(bundle)
    golden = read_golden(opened)
    replays = [replay(opened, precision, golden) for precision in opened.runnable]
    data = {
        "bundle": str(bundle),
        "files": len(opened.card.files),
        "passed": all(r.passed for r in replays),
        "replays": [r.to_json() for r in replays],
    }
    failed = [r for r in replays if not r.passed]
    if failed:
        worst = max(failed, key=lambda r: r.max_probability_difference)
        raise GateRefused(
            f"{worst.precision.value} computes something else on this machine: of {worst.images} "
            f"golden images {worst.classes_changed} change class, probabilities move by up to "
            f"{worst.max_probability_difference:.3f}.",
            "Compare versions with: cxredge doctor; choose another precision with: "
            f"cxredge build {bundle}",
            data,
        )
    rows = [
        [r.precision.value, r.images, f"{r.max_probability_difference:.1e}", r.classes_changed]
        for r in replays
    ]
    text = table(["precision", "golden images", "largest change of a probability", "flipped"], rows)
    return Outcome(data, f"{text}\n\n{data['files']} files are intact; {bundle} is good.")
