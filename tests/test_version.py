"""The version is defined in one place; every other place reports it."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import cxredge as package
from cxredge.artifacts.card import tool_versions

ROOT = Path(package.__file__).parent.parent


def test_installed_package_cards_and_command_report_the_version(cxredge) -> None:
    assert metadata.version("cxredge") == package.__version__
    assert tool_versions()["cxredge"] == package.__version__
    assert cxredge("--version").out.strip() == f"cxredge {package.__version__}"


def test_no_other_file_defines_the_version() -> None:
    assert "\nversion = " not in (ROOT / "pyproject.toml").read_text().split("[tool.")[0]
    defining = re.compile(r'^__version__ = "', re.MULTILINE)
    modules = [p for p in (ROOT / "cxredge").rglob("*.py") if defining.search(p.read_text())]
    assert modules == [ROOT / "cxredge" / "version.py"]


def test_the_changelog_has_the_version_and_its_known_sections() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (\S+)", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert package.__version__ in (
        *versions[1:],
        *re.findall(r"^Version (\S+)", text, re.MULTILINE),
    )
    sections = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
