"""A bundle and its results become a chapter: warnings and headlines first, then the sections."""

from __future__ import annotations

from cxredge.artifacts.card import CARD_NAME, sha256_of_file
from cxredge.report.about import data_section, provenance_section, purpose_section, training_section
from cxredge.report.accuracy import accuracy_section
from cxredge.report.benches import bench_names
from cxredge.report.checks import checks, data_warnings
from cxredge.report.headlines import gate_of, headlines
from cxredge.report.latency import latency_section
from cxredge.report.measurements import measurements
from cxredge.report.page import Chapter
from cxredge.report.precision import precision_section
from cxredge.report.sources import Source
from cxredge.report.xrays import xray_section
from cxredge.vocabulary import Split


def write_chapter(source: Source, pictures: bool) -> Chapter:
    """Say everything about one source."""
    results = source.evaluations + source.benches
    if source.bundle is not None:
        network = source.bundle.card.classifier.network
        target = str(source.bundle.card.config["target"])
        card = sha256_of_file(source.bundle.path / CARD_NAME)
    else:
        network, card = str(results[0]["network"]), str(results[0]["bundle_sha256"])
        target = next((str(r["target"]) for r in source.benches), "target not stated")
    return Chapter(
        name=source.name,
        network=network,
        precision=source.precision,
        target=target,
        card=card,
        warnings=_warnings(source),
        headlines=headlines(source),
        checks=checks(source),
        sections=(
            purpose_section(source),
            data_section(source),
            training_section(source),
            precision_section(source, pictures),
            accuracy_section(source),
            latency_section(source),
            xray_section(source, pictures),
            provenance_section(source),
        ),
        measurements=measurements(source),
    )


def _warnings(source: Source) -> tuple[str, ...]:
    found = data_warnings(source)
    gate = gate_of(source)
    if gate is not None:
        found += gate["cautions"]
    if source.bundle is not None and source.bundle.passport is None:
        target = source.bundle.card.config["target"]
        found.append(f"Not finished on its target ({target}): nothing was timed or checked there.")
    for result in source.evaluations:
        if result["split"] != Split.TEST.value:
            found.append(
                f"One evaluation is on '{result['split']}' images, which the network or its "
                "thresholds have seen: it is optimistic."
            )
    return tuple(dict.fromkeys([*found, *_doubtful_benches(source)]))


def _doubtful_benches(source: Source) -> list[str]:
    """Return one warning for all benchmarks: they mostly share their reasons."""
    named = zip(bench_names(source.benches), source.benches, strict=True)
    doubtful = {name: r["verdict"]["reasons"] for name, r in named if r["verdict"]["reasons"]}
    if not doubtful:
        return []
    if len(doubtful) == 1:
        ((name, reasons),) = doubtful.items()
        return [f"Latency ({name}) cannot be compared with other results: {'; '.join(reasons)}."]
    first, *others = doubtful.values()
    shared = [reason for reason in first if all(reason in reasons for reasons in others)]
    why = f": {'; '.join(shared)}" if shared else ""
    return [
        f"{len(doubtful)} of {len(source.benches)} benchmarks cannot be compared with "
        f"other results{why}. All reasons stand with each benchmark."
    ]
