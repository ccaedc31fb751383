"""Finishing a bundle on its device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cxredge.cli.gate import (
    explained,
)
from cxredge.cli.output import Outcome, Output
from cxredge.vocabulary import PrecisionChoice

if TYPE_CHECKING:
    from cxredge.artifacts.card import Card
    from cxredge.build.engines import Wishes


def finish_delivered(
    source: Path,
    card: Card,
    out: Path | None,
    public_key: Path | None,
    precision: PrecisionChoice,
    wishes: Wishes,
    output: Output,
) -> Outcome:
    """Bring a bundle to where it can be finished, and finish it."""
    from cxredge.build.finish import finish, require_here
    from cxredge.bundle.delivery import deliver
    from cxredge.bundle.signature import check_signature, read_public_key
    from cxredge.cli.built import outcome_of

    require_here(card, source)
    if public_key:
        check_signature(source, read_public_key(public_key))
        output.note(f"{source} was signed with the key to {public_key}.")
    with explained(output):
        return outcome_of(finish(deliver(source, out, output), precision, output, wishes))
