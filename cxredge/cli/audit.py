"""``cxredge data audit``: what a data set can mislead about."""

from __future__ import annotations

from typing import Any

from cxredge.cli.options import ManifestArgument
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import counts_table, share, table
from cxredge.errors import quoted


def audit(output: Output, manifest: ManifestArgument) -> Outcome:
    """Look for what makes results better than they are: leaks, imbalance, confounding.

    Finds patients, equal files and near duplicates across splits, and tries how well the classes
    can be told from the border or from grey-value statistics alone. Kept as manifest.audit.json
    beside the manifest, so that evaluate, build and report repeat the warnings.
    """
    from cxredge.data.audit import audit_images
    from cxredge.data.audit_record import write_audit
    from cxredge.data.manifest import read_manifest

    listed = read_manifest(manifest)
    found = audit_images(listed, output)
    path = write_audit(listed, found)
    return Outcome(
        {"audit": str(path), **found},
        "\n".join([*_text(found), f"Wrote {path}"]),
        f"cxredge train {quoted(manifest)} --out RUN",
    )


def _text(found: dict[str, Any]) -> list[str]:
    near = found["near_duplicates_across_splits"]
    lines = [
        counts_table(found["counts"]),
        "",
        f"{found['images']} images of {found['patients']} patients; "
        f"{found['patients_in_two_splits']} patients in two splits, "
        f"{found['duplicates_across_splits']} images in two splits, "
        f"{near['count']} pairs of near duplicates across splits.",
        *(
            f"  {pair['bits']} of {pair['of_bits']} bits: {' and '.join(pair['paths'])} "
            f"({', '.join(pair['splits'])})"
            for pair in near["examples"]
        ),
        f"Class and source: Cramér's V {found['source_association']:.2f} "
        "(0 independent, 1 the source decides).",
    ]
    if rows := _shortcut_rows(found["shortcuts"]):
        lines += ["", table(["told from alone", "classes", "test images", "right", "chance"], rows)]
    return [*lines, "", *(f"Warning: {warning}" for warning in found["warnings"])]


def _shortcut_rows(shortcuts: dict[str, Any]) -> list[list[Any]]:
    return [
        [
            name,
            " / ".join(part.get("classes", ["all"])),
            part["images"],
            share(part["accuracy"], part["ci95"]),
            share(part["chance"]),
        ]
        for name, result in shortcuts.items()
        if result is not None
        for part in (result, *result["pairs"])
    ]
