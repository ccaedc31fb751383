"""The view model as HTML, Markdown, CSV or JSON; escaping happens only here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import jinja2
from markupsafe import Markup

from cxredge.artifacts.csv_text import csv_line
from cxredge.plots import NAMESPACE
from cxredge.report.cells import columns, width, wrapping
from cxredge.report.page import Report

SCHEMA = "cxredge.report/2"
CSV_HEADER = (
    "bundle",
    "card",
    "network",
    "precision",
    "target",
    "figure",
    "of",
    "value",
    "ci95_low",
    "ci95_high",
    "unit",
    "measured",
    "machine",
    "verdict",
)
_PICTURES = ("svg", "png", "heatmap_png")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_MARKDOWN = re.compile(r"([\\`*\[\]<>|#~!]|(?<!\w)_|_(?!\w))")


def to_html(report: Report) -> str:
    """Return a self-contained page without scripts."""
    return _environment(autoescape=True).get_template("report.html").render(report=report).lstrip()


def to_markdown(report: Report) -> str:
    """Return the report as Markdown tables, without pictures."""
    text = _environment(autoescape=False).get_template("report.md").render(report=report)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def to_csv(report: Report) -> str:
    """Return all metrics, one per row; the value of a metric not measured is empty."""
    rows = [
        (
            chapter.name,
            chapter.card,
            chapter.network,
            chapter.precision,
            "" if m.elsewhere else chapter.target,
            m.figure,
            m.of,
            m.value,
            *(m.ci95 or (None, None)),
            m.unit,
            m.measured,
            m.machine,
            m.verdict,
        )
        for chapter in report.chapters
        for m in chapter.measurements
    ]
    return "".join(csv_line([inert(cell) for cell in row]) for row in (CSV_HEADER, *rows))


def inert(cell: object) -> object:
    """Return a text that a spreadsheet does not interpret as a formula."""
    starts_formula = isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{cell}" if starts_formula else cell


def to_json(report: Report) -> str:
    """Return the view model as JSON, without pictures."""
    value = {"schema": SCHEMA, **_value(report)}
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def markdown_text(text: str) -> str:
    """Return a text as one line with Markdown and HTML syntax escaped."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.replace("&", "&amp;").split()))


def _inline_picture(svg: str) -> Markup:
    """Mark a picture of :mod:`cxredge.plots`, which escapes its texts, as markup."""
    return Markup(svg.replace(f' xmlns="{NAMESPACE}"', "", 1))  # noqa: S704 - see above


def _environment(autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cxredge.report"),
        autoescape=autoescape,  # noqa: S701 - off for Markdown, which has its own filter
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
    )
    environment.filters |= {
        "picture": _inline_picture,
        "md": markdown_text,
        "columns": columns,
        "width": width,
        "wrap": wrapping,
    }
    return environment


def _visible(value: Any) -> Any:
    """Return a text without control characters, which no HTML page may hold; others unchanged."""
    if not isinstance(value, str):
        return value
    return type(value)(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", value))


def _value(item: Any) -> Any:
    if is_dataclass(item):
        kind = {"kind": item.kind} if hasattr(item, "kind") else {}
        named = {f.name: getattr(item, f.name) for f in fields(item) if f.name not in _PICTURES}
        return {**kind, **{name: _value(value) for name, value in named.items()}}
    if isinstance(item, Mapping):
        return {key: _value(value) for key, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [_value(value) for value in item]
    return item
