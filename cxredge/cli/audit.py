"""``cxredge data audit``: leaks, imbalance and confounding in a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxredge.cli.options import ManifestArgument
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import controls_line, counts_table, share, table
from cxredge.errors import quoted

if TYPE_CHECKING:
    from cxredge.data.audit import Audit
    from cxredge.data.shortcuts import Shortcuts


def audit(output: Output, manifest: ManifestArgument) -> Outcome:
    """Check a data set for leaks, imbalance and confounding.

    These make results look better than they are. Finds patients, identical files and near
    duplicates across splits, and measures how well linear models classify by the image border or by
    grey-value statistics alone. Writes manifest.audit.json beside the manifest; evaluate, build and
    report repeat its warnings.
    """
    from cxredge.artifacts.records import to_json
    from cxredge.data.audit import audit_images
    from cxredge.data.audit_record import write_audit
    from cxredge.data.manifest import read_manifest

    listed = read_manifest(manifest)
    found = audit_images(listed, output)
    path = write_audit(listed, found)
    return Outcome(
        {"audit": str(path), **to_json(found)},
        "\n".join([*_text(found), f"Wrote {path}"]),
        f"cxredge train {quoted(manifest)} --out RUN",
    )


def _text(found: Audit) -> list[str]:
    near = found.near_duplicates_across_splits
    lines = [
        counts_table(found.counts),
        "",
        *controls_line({kind: sum(of.values()) for kind, of in found.controls.items()}),
        f"{found.images} images of {found.patients} patients; "
        f"{found.patients_in_two_splits} patients in two splits, "
        f"{found.duplicates_across_splits} images in two splits, "
        f"{near.count} pairs of near duplicates across splits.",
        *(
            f"  {pair.bits} of {pair.of_bits} bits: {' and '.join(pair.paths)} "
            f"({', '.join(pair.splits)})"
            for pair in near.examples
        ),
        _source_line(found),
    ]
    if rows := _shortcut_rows(found.shortcuts):
        header = ["linear model input", "classes", "test images", "accuracy", "chance"]
        lines += ["", table(header, rows)]
    return [*lines, "", *(f"Warning: {warning}" for warning in found.warnings)]


def _source_line(found: Audit) -> str:
    sources = {source for counts in found.sources.values() for source in counts}
    if len(sources) < 2:
        named = "".join(f" '{source}'" for source in sources)
        return (
            f"Class and source: the manifest names one source{named} for all images; whether "
            "sources differ by class is not known."
        )
    return (
        f"Class and source: Cramér's V {found.source_association:.2f} "
        "(0: independent, 1: the source determines the class)."
    )


def _shortcut_rows(shortcuts: Shortcuts) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for name, result in (("border", shortcuts.border), ("statistics", shortcuts.statistics)):
        if result is None:
            continue
        tested = [("all", result), *((" / ".join(pair.classes), pair) for pair in result.pairs)]
        rows += [
            [name, classes, one.images, share(one.accuracy, one.ci95), share(one.chance)]
            for classes, one in tested
        ]
    return rows
