"""The commands in README and docs run as printed, on generated images in the layouts they name."""

from __future__ import annotations

import csv
import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cxredge.cli import COMMANDS
from cxredge.data.phantoms import render_phantom
from tests.conftest import Run

README = Path(__file__).parent.parent / "README.md"
PROTOCOL = README.parent / "docs/paper.md"
PAGES = [
    README,
    *sorted(README.parent.glob("docs/*.md")),
    *sorted(README.parent.glob("*/README.md")),
]

# Options that make a command quick and keep it off the network; nothing else changes.
QUICKER = {
    "train": "--weights none --epochs 1 --input-size 32",
    "quantize": "--effort quick",
    "build": "--min-agreement 0 --max-accuracy-drop 1 --effort quick",
    "bench": "--seconds 0 --queries 5",
}


def commands(page: Path, section: str = "") -> list[list[str]]:
    """Return the cxredge commands of a page, or of one section of it, without comments."""
    text = page.read_text()
    if section:
        text = text.split(f"## {section}")[1].split("\n## ")[0]
    found = re.findall(r"^\$ cxredge (.+)$", text, re.M)
    return [shlex.split(line, comments=True) for line in found]


def draw(path: Path, label: str, patient: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(render_phantom(label, patient, 0, 64)).save(path)


@pytest.fixture
def collections(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = []
    for n in range(200):
        draw(tmp_path / f"cohen/images/c{n}.png", "covid19", n)
        rows.append([f"p{n}", "COVID-19", "PA", "X-ray", f"c{n}.png"])
        folder = tmp_path / ("kermany/test" if n % 5 == 0 else "kermany/train")
        # The same anatomy for all three, because it is drawn once.
        draw(folder / f"NORMAL/IM-{n:04d}-0001.jpeg", "normal", n)
        draw(folder / f"PNEUMONIA/person{n}_bacteria_{n}.jpeg", "bacterial", n)
        draw(folder / f"PNEUMONIA/person{n}_virus_{n}.jpeg", "viral", n)
    with (tmp_path / "cohen/metadata.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["patientid", "finding", "view", "modality", "filename"])
        writer.writerows(rows)
    return tmp_path


def run_all(listed: list[list[str]], cxredge: Run) -> None:
    for command in listed:
        ran = cxredge(*command, *shlex.split(QUICKER.get(command[0], "")))
        assert ran.code == 0, (command, ran.err)


def test_the_protocol_uses_every_stage() -> None:
    assert [command[0] for command in commands(PROTOCOL)] == [
        "data", "data", "train", "export", "calibrate", "quantize", "build", "verify", "predict",
        "evaluate", "bench", "report",
    ]  # fmt: skip


@pytest.mark.train
@pytest.mark.slow
def test_the_protocol_runs_as_printed(collections: Path, cxredge: Run) -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    run_all(commands(PROTOCOL), cxredge)
    for name in ("predictions.csv", "report.html", "bundle/card.json", "run/curves.svg"):
        assert (collections / "work" / name).stat().st_size > 0


@pytest.mark.train
@pytest.mark.slow
def test_own_images_in_six_commands_and_python(tmp_path: Path, monkeypatch, cxredge: Run) -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    monkeypatch.chdir(tmp_path)
    for label in ("covid19", "normal"):
        for n in range(40):
            draw(tmp_path / f"images/{label}/p{label}{n}-1.png", label, n)
    draw(tmp_path / "new-images/a.png", "normal", 99)
    listed = commands(README, "Your own X-rays in six commands")
    assert len(listed) == 6
    run_all(listed, cxredge)
    (example,) = re.findall(r"^```python\n(.+?)^```", README.read_text(), re.M | re.S)
    (tmp_path / "a.png").write_bytes((tmp_path / "new-images/a.png").read_bytes())
    ran = subprocess.run(
        [sys.executable, "-c", example],
        env={**os.environ, "PYTHONPATH": str(README.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    label, probability, _ = ran.stdout.split()
    with (tmp_path / "predictions.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert (row["label"], float(row["probability"])) == (label, round(float(probability), 6))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_the_docs_exist(page: Path, cxredge: Run) -> None:
    for command in commands(page):
        words = list(
            itertools.takewhile(lambda word: re.fullmatch("[a-z]+(-[a-z]+)*", word), command)
        )
        shown = cxredge(*words[: 2 if words[0] in ("data", "targets") else 1], "--help").out
        for option in (word for word in command if word.startswith("--")):
            assert option in shown, (page.name, command)


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 130


def test_every_command_of_the_table_exists(cxredge) -> None:
    table = README.read_text().split("## Commands")[1].split("## Glossary")[0]
    named = set(re.findall(r"`cxredge ([a-z-]+)", table))
    assert named == set(COMMANDS)


def test_links_and_pictures_are_there() -> None:
    # `make` leaves environments with pages of other projects in these folders.
    made = {".venv", "dist"}
    pages = [
        p for p in README.parent.rglob("*.md") if p.relative_to(README.parent).parts[0] not in made
    ]
    assert README in pages
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), (page, target)


def test_the_notice_stands_once() -> None:
    assert README.read_text().count("Not a medical device") == 1
