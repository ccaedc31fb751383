"""Run the campaign and write its page; a part that is named is run again, the others are kept.

    python -m benchmarks.campaign [PART...] [--scratch DIR]

A part is a module of this package with a function ``run(scratch: Path) -> Section``. Results are
written after each part, so an interrupted campaign continues with the parts that are named.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import pkgutil
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import campaign
from benchmarks.campaign.section import Section
from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.telemetry.linux import read_machine

PAGE = Path(__file__).parents[1] / "results" / "campaign.md"
TOOLS = ("onnxruntime", "numpy", "pillow", "pydicom")


def main() -> None:
    known = _parts()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaign", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(known)}; all")
    parser.add_argument("--scratch", type=Path, help="folder for generated files; temporary")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(known):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    found = _stored()
    for part in arguments.parts or known:
        print(f"{part} ...", flush=True)
        module = importlib.import_module(f"{campaign.__name__}.{part}")
        with tempfile.TemporaryDirectory(dir=arguments.scratch, prefix=f"{part}-") as scratch:
            section: Section = module.run(Path(scratch))
        found[part] = {
            "date": datetime.date.today().isoformat(),
            "machine": to_json(read_machine()),
            "tools": tool_versions(*TOOLS),
            "section": to_json(section),
        }
        print(section.as_markdown(), flush=True)
        _write(found)


def _parts() -> list[str]:
    """Return the modules that define ``run``."""
    names = sorted(module.name for module in pkgutil.iter_modules(campaign.__path__))
    folder = Path(campaign.__path__[0])
    return [name for name in names if "\ndef run(" in (folder / f"{name}.py").read_text()]


def _stored() -> dict[str, Any]:
    path = PAGE.with_suffix(".json")
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _write(found: dict[str, Any]) -> None:
    write_json(PAGE.with_suffix(".json"), dict(sorted(found.items())))
    pages = ["# Hostile inputs, crashes and full disks\n\n`make campaign` writes this page.\n"]
    for part, result in sorted(found.items()):
        section = result["section"]
        rows = tuple(map(tuple, section["rows"]))
        notes = (*section["notes"], _circumstances(part, result))
        pages.append(
            Section(section["title"], tuple(section["columns"]), rows, notes).as_markdown()
        )
    write_text(PAGE, "\n".join(pages))


def _circumstances(part: str, result: dict[str, Any]) -> str:
    machine = result["machine"]
    tools = ", ".join(f"{name} {version}" for name, version in result["tools"].items())
    return f"`{part}`, {result['date']}, {machine['cpu']}, {machine['cores']} cores; {tools}."


if __name__ == "__main__":
    main()
