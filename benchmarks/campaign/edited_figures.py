"""Every figure of a result, a passport and a card is edited, one at a time, and read back.

An edit keeps the document's own hash, or the hash is made again: whoever can write a file can do
that, and then only other figures of the same document can contradict the edited one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.campaign.child import small_bundle
from benchmarks.campaign.section import Section
from benchmarks.commands import cxredge
from cxredge.artifacts.card import parse_card
from cxredge.artifacts.hashing import sha256_of_json, with_content_hash
from cxredge.bundle.card import BundleCard
from cxredge.bundle.passport import parse_passport
from cxredge.errors import ArtifactError
from cxredge.results.read import parse_result

Json = dict[str, Any]
_LEFT_OUT = ("sha256", "schema")
_GATE = ("gate.", "gate_by_runtime.", "thresholds.")


def run(scratch: Path) -> Section:
    """Edit every figure of the documents of a small bundle."""
    bundle = small_bundle(scratch)
    cxredge("evaluate", bundle, scratch / "phantoms" / "manifest.csv")
    cxredge("bench", bundle, "--seconds", 0, "--queries", 400)
    (evaluation,) = (bundle / "results").glob("evaluate-*.json")
    (bench,) = (bundle / "results").glob("bench-*.json")
    rows = (
        _row("evaluation", evaluation, parse_result, with_content_hash),
        _row("benchmark", bench, parse_result, with_content_hash),
        _row("passport", bundle / "passport.json", parse_passport, with_content_hash),
        _row("card: gate and thresholds", bundle / "card.json", _read_card, _hash_card, _GATE),
    )
    return Section(
        "Edited figures",
        ("document", "figures", "noticed, hash kept", "noticed, hash made again"),
        rows,
        (
            "Each number of a document is changed, one at a time: a share by 0.1, a count by 1, "
            "any other number by a tenth. Then it is read as report, compare and inspect do.",
        ),
    )


def _row(
    name: str,
    path: Path,
    read: Callable[[Any, Path], object],
    hash_again: Callable[[Json], Json],
    below: tuple[str, ...] = ("",),
) -> tuple[str, ...]:
    found = count(json.loads(path.read_text()), lambda v: read(v, path), hash_again, below)
    total = found["figures"]
    shares = (f"{found[key]} ({found[key] / total:.0%})" for key in ("kept", "again"))
    return (name, str(total), *shares)


def count(
    values: Json,
    read: Callable[[Any], object],
    hash_again: Callable[[Json], Json],
    below: tuple[str, ...] = ("",),
) -> Counter[str]:
    """Edit every number of a document; return how many there are and how many edits are noticed.

    Args:
        values: The document.
        read: Raises ArtifactError for a document that is refused.
        hash_again: Returns a document with its own hash made again.
        below: Keys of facts to edit, as prefixes; everything by default.
    """
    read(values)
    found: Counter[str] = Counter()
    for where, edited in edits(values):
        if not where.removeprefix("facts.").startswith(below):
            continue
        found["figures"] += 1
        found["kept"] += _refused(read, edited)
        found["again"] += _refused(read, hash_again(edited))
    return found


def edits(values: Json) -> Iterator[tuple[str, Json]]:
    """Yield the keys of each number in a document, and the document with that number changed."""
    text = json.dumps(values)
    for keys, value in _numbers(values):
        edited = json.loads(text)
        inner: Any = edited
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = _changed(value)
        yield ".".join(map(str, keys)), edited


def _numbers(values: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    items: Any = ()
    if isinstance(values, Mapping):
        items = ((key, v) for key, v in values.items() if not str(key).endswith(_LEFT_OUT))
    elif isinstance(values, list):
        items = enumerate(values)
    elif isinstance(values, (int, float)):
        yield keys, values
    for key, value in items:
        yield from _numbers(value, (*keys, key))


def _changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if 0 <= value <= 1:
        return value + 0.1 if value <= 0.5 else value - 0.1
    return value * 1.1


def _refused(read: Callable[[Any], object], values: Json) -> bool:
    try:
        read(values)
    except ArtifactError:
        return True
    return False


def _read_card(values: Any, path: Path) -> BundleCard:
    return parse_card(values, path, BundleCard)


def _hash_card(values: Json) -> Json:
    body = {key: value for key, value in values.items() if key != "card_sha256"}
    return {**body, "card_sha256": sha256_of_json(body)}
