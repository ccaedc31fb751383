"""The commands of the README run as printed, on generated images in the layouts it names."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from cxredge.data.phantoms import render_phantom

README = Path(__file__).parent.parent / "README.md"

# Options that make a command quick and keep it off the network; nothing else changes.
QUICKER = {
    "train": "--weights none --epochs 1 --input-size 32",
    "quantize": "--effort quick",
    "build": "--min-agreement 0 --max-accuracy-drop 1 --effort quick",
    "bench": "--seconds 0 --queries 5",
}


def walk_through() -> list[list[str]]:
    section = README.read_text().split("## On real X-rays")[1].split("Your own images")[0]
    return [shlex.split(line)[1:] for line in re.findall(r"^\$ (cxredge .+)$", section, re.M)]


def draw(path: Path, label: str, patient: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(render_phantom(label, patient, 0, 64)).save(path)


@pytest.fixture
def data(tmp_path: Path, monkeypatch) -> Path:
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


def test_the_walk_through_names_every_stage() -> None:
    named = [command[0] for command in walk_through()]
    assert named == [
        "data", "data", "train", "export", "calibrate", "quantize", "build", "verify", "predict",
        "evaluate", "bench", "report",
    ]  # fmt: skip


@pytest.mark.train
@pytest.mark.slow
def test_the_walk_through_works(data: Path, cxredge) -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    for command in walk_through():
        ran = cxredge(*command, *shlex.split(QUICKER.get(command[0], "")))
        assert ran.code == 0, (command, ran.err)
    for name in ("predictions.csv", "report.html", "bundle/card.json", "run/curves.svg"):
        assert (data / "work" / name).stat().st_size > 0


def test_every_command_of_the_table_exists(cxredge) -> None:
    table = README.read_text().split("## Commands")[1].split("## Install")[0]
    named = set(re.findall(r"`cxredge ([a-z]+)", table))
    from cxredge.cli import app

    groups = [group.name for group in app.registered_groups]
    assert named == {command.name for command in app.registered_commands} | set(groups)


def test_links_and_pictures_are_there() -> None:
    for page in README.parent.rglob("*.md"):
        if ".venv" in page.parts:
            continue
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), (page, target)


def test_the_notice_stands_once() -> None:
    assert README.read_text().count("Not a medical device") == 1
