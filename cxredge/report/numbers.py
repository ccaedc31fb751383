"""Format of numbers and names in a report; rounding happens only here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cxredge.metrics.classification import wilson
from cxredge.metrics.latency import LEAST_COUNTS, Latency

MISSING = "not available"
TOO_FEW = "too few queries"
PERCENTILE_RULE = (
    "A percentile is shown if its 95% interval lies within the measured values: from "
    f"{LEAST_COUNTS['p50']} queries for the median, {LEAST_COUNTS['p90']} for the 90th and "
    f"{LEAST_COUNTS['p99']} for the 99th percentile."
)
_TO = "\N{EN DASH}"

Interval = Sequence[float | None] | None


def share(value: float | None, ci95: Interval = None) -> str:
    """Return a share in [0, 1] as a percentage, with its 95% interval."""
    if value is None:
        return MISSING
    return f"{100 * value:.1f}%{bounds(ci95, 100, 1)}"


def percent(value: float | None, ci95: Interval = None) -> str:
    """Return a share in [0, 1] as a whole percentage, with its 95% interval."""
    if value is None:
        return MISSING
    return f"{100 * value:.0f}%{bounds(ci95, 100, 0)}"


def part(number: int, total: int) -> str:
    """Return a number of images as a part of others, with Wilson's 95% interval of its share.

    Such as: "88 of 88 (96\N{EN DASH}100%)".
    """
    if not total:
        return "0 of 0"
    low, high = wilson(number, total)
    return f"{number:,} of {total:,} ({100 * low:.0f}{_TO}{100 * high:.0f}%)"


def fraction(value: float | None, ci95: Interval = None) -> str:
    """Return a number in [0, 1], such as an AUROC, with its 95% interval."""
    if value is None:
        return MISSING
    return f"{value:.3f}{bounds(ci95, 1, 3)}"


def points(value: float | None, ci95: Interval = None) -> str:
    """Return a signed difference of shares in percentage points, with its 95% interval."""
    if value is None:
        return MISSING
    return f"{_sign(100 * value, 1)} points{_signed_bounds(ci95, 100, 1)}"


def signed(value: float | None, ci95: Interval = None) -> str:
    """Return a difference of numbers in [0, 1], such as of AUROCs, with its 95% interval."""
    if value is None:
        return MISSING
    return _sign(value, 3) + _signed_bounds(ci95, 1, 3)


def percent_change(value: float | None, ci95: Interval = None) -> str:
    """Return a relative change as a signed percentage, with its 95% interval."""
    if value is None:
        return MISSING
    return f"{_sign(100 * value, 1)}%{_signed_bounds(ci95, 100, 1)}"


def in_unit(value: float | None, unit: str) -> str:
    """Return a metric in its unit: ``share``, ``1``, ``ms``, ``images/s`` or ``J``."""
    if unit == "images/s":
        return MISSING if value is None else f"{significant(value)} images/s"
    return {"share": share, "1": fraction, "ms": milliseconds, "J": joules}[unit](value)


def signed_in_unit(difference: float, ci95: Interval, before: float, unit: str) -> str:
    """Return a difference: of shares in percentage points, of unit ``1`` as is, else relative."""
    if unit == "share":
        return points(difference, ci95)
    if unit == "1":
        return signed(difference, ci95)
    if not before:
        return MISSING
    relative = [(bound or 0) / before for bound in ci95] if ci95 else None
    return percent_change(difference / before, relative)


def _sign(value: float, decimals: int) -> str:
    """Return a number with its sign; without sign if it rounds to zero."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if not float(text) else text.replace("-", "\N{MINUS SIGN}")


def _signed_bounds(ci95: Interval, scale: float, decimals: int) -> str:
    if ci95 is None or not is_interval(ci95):
        return ""
    low, high = (_sign(scale * (bound or 0), decimals) for bound in ci95)
    return f" ({low} to {high})"


def milliseconds(value: float | None, ci95: Interval = None) -> str:
    """Return a duration with three significant digits, with its 95% interval."""
    if value is None:
        return MISSING
    return f"{significant(value)} ms" + (
        f" ({significant(ci95[0])}{_TO}{significant(ci95[1])})"
        if ci95 is not None and is_interval(ci95)
        else ""
    )


def percentile(latency: Latency, name: str) -> str:
    """Return a percentile with its interval; words if there are too few queries for it."""
    found = latency.percentile(name)
    return milliseconds(found.value, found.ci95) if found else TOO_FEW


def joules(value: float | None) -> str:
    """Return an energy with three significant digits, below a joule in millijoules."""
    if value is None:
        return MISSING
    return f"{significant(value)} J" if value >= 1 else f"{significant(1000 * value)} mJ"


def megabytes(size: int | None) -> str:
    """Return a size in bytes as MB (10^6 bytes), a small one as kB."""
    if size is None:
        return MISSING
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def count(value: int | None) -> str:
    """Return an integer with thousands separators."""
    return MISSING if value is None else f"{value:,}"


def significant(value: float | None) -> str:
    """Return a number with three significant digits, without an exponent."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 4)}f}"


def bounds(ci95: Interval, scale: float, decimals: int) -> str:
    """Return an interval in brackets, or an empty text without one."""
    if ci95 is None or not is_interval(ci95):
        return ""
    low, high = (f"{scale * (v or 0):.{decimals}f}" for v in ci95)
    return f" ({low}{_TO}{high})"


def is_interval(ci95: Interval) -> bool:
    """Return whether both bounds are known."""
    return ci95 is not None and len(ci95) == 2 and None not in ci95


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def words_of(key: str) -> str:
    """Return the name of a setting in words, such as "Gate: max accuracy drop"."""
    text = key.replace("_", " ").replace(".", ": ").removesuffix(" mb")
    return text[:1].upper() + text[1:] + (", MB" if key.endswith("_mb") else "")


def plain(value: Any) -> str:
    """Return any other value as text: None as not available, lists joined by commas."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return significant(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def distinct_names(names: Sequence[str]) -> list[str]:
    """Number repeated names; parent folders are not shown, because they may identify people."""
    return [
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]
