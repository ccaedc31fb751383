"""Formatting of numbers, file names and Markdown in reports."""

from __future__ import annotations

import pytest

from cxredge.report import numbers
from cxredge.report.render import markdown_text


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0, "0"),
            (0.01234, "0.0123"),
            (0.000001, "0.0000"),
            (1.8249, "1.82"),
            (12.345, "12.3"),
            (123.45, "123"),
            (1234.5, "1,234"),
            (None, "not available"),
        ],
    )
    def test_three_significant_digits(self, value, text):
        assert numbers.significant(value) == text

    def test_intervals(self):
        assert numbers.share(0.5, [0.25, 0.75]) == "50.0% (25.0\N{EN DASH}75.0)"
        assert numbers.share(0.5, [None, None]) == "50.0%"
        assert numbers.share(None, None) == "not available"
        assert (
            numbers.points(-0.01, [-0.02, 0.0])
            == "\N{MINUS SIGN}1.0 points (\N{MINUS SIGN}2.0 to 0.0)"
        )


def test_markdown_syntax_is_escaped():
    assert (
        markdown_text("a|b\n<i> [x](y) &lt; mobilenet_v1")
        == r"a\|b \<i\> \[x\](y) &amp;lt; mobilenet_v1"
    )
