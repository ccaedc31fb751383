"""The page of a report in headless Chromium: nothing is cut off, on screens and on paper."""

from __future__ import annotations

import pytest

from tests.report.chromium import CHROMIUM, layouts, printed_pages
from tests.report.sample_bundles import page_of

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

WIDTHS = (1280, 800, 500)


def test_nothing_is_cut_off_on_screens_and_on_paper(bundles, tmp_path):
    page = page_of(bundles / "r.html", bundles / "first", bundles / "second")
    found = layouts(page, WIDTHS, tmp_path)
    assert [layout.width for layout in found[:3]] == list(WIDTHS)
    for layout in found:
        assert layout.tables > 20
        assert layout.requests == []
        assert not layout.overflows, layout.width
        assert layout.beyond == [], layout.width


def test_a_report_is_short_on_paper(bundles, tmp_path):
    page_of(bundles / "r.html", bundles / "first")
    assert 2 < printed_pages(bundles / "r.html", tmp_path) < 15
