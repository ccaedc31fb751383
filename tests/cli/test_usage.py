"""Options that a command does not accept: the value, the limit, and the option that is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxredge.cli import COMMANDS, app
from cxredge.cli.other_tools import NAMES


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train --imgsz 320", "Use --input-size: height and width in pixels."),
        (
            "train --lr 0.1",
            "Use --learning-rate: peak learning rate of the head, for any number of devices.",
        ),
        ("train --learning_rate 0.1", "Did you mean --learning-rate?"),
        ("train --device cuda", "Use --accelerator: kind of processor to train on."),
        ("train --batch 8", "Use --batch-size: number of images per step, over all devices."),
        ("train --amp", "Use --precision bf16-mixed: number format in training."),
        ("train --fp16", "All options: "),
        ("train --data x", "Use MANIFEST: the file of 'cxredge data', given without an option."),
        ("train --arch resnet50", "Use --model: network, as in 'cxredge models'."),
        ("build RUN --device orin", "Use --target: device, as in 'cxredge targets'"),
        ("build RUN --fp16", "Use --precision fp16: precision to serve."),
        ("build RUN --output-dir x", "Use --out: folder of the bundle to write."),
        ("quantize M --calib-data x", "Use --calibration: calibration list from"),
        ("predict B --source x", "Use PATH...: images, folders and zip files"),
        ("predict --weights B x", "Use BUNDLE: a folder of 'cxredge build'"),
        ("predict B x --device 0", "Use BUNDLE: a bundle runs on the device"),
        ("bench B --num-workers 4", "Use --threads: number of threads per inference."),
        ("evaluate B M --zzz", "All options: "),
        ("data phantoms --patients 1", "1 is less than 3, the minimum."),
        ("data phantoms --patients many", "'many' is not a whole number."),
        ("data phantoms --size 5000", "5000 is more than 4096, the maximum."),
        ("data folder D --out O --fractions a b c", "'a' is not a number."),
        ("data folder D --out O --fractions nan 0.5 0.5", "(nan, 0.5, 0.5) is not a finite"),
        ("train M --out R --learning-rate inf", "inf is more than 1.0, the maximum."),
        ("train M --out R --learning-rate 766", "more than 1.0, the maximum."),
        ("train M --out R --learning-rate 0", "the minimum."),
        ("train M --out R --mean 5", "more than 1.0, the maximum."),
        ("train M --out R --std 0", "the minimum."),
        ("train M --out R --weight-decay nan", "nan is not a finite number."),
        ("train M --out R --cache-limit-gb inf", "inf is not a finite number."),
        ("train M --out R --input-size 99999", "99999 is more than 4096, the maximum."),
        ("train M --out R --seed 4294967296", "more than 4294967295, the maximum."),
        ("compare A B --max-latency-rise inf", "inf is not a finite number."),
    ],
)
def test_message(line: str, message: str, cxredge) -> None:
    ran = cxredge(*line.split())
    assert ran.code == 2, ran.err
    assert message in ran.err
    assert "Input should" not in ran.err
    assert "Value error" not in ran.err


def test_a_bundle_takes_no_options_of_build(bundle: Path, cxredge) -> None:
    """Nor is --out missing, which a bundle does not need."""
    for more in ((), ("--out", bundle.parent / "other")):
        ran = cxredge("build", bundle, "--effort", "quick", *more)
        assert ran.code == 2
        assert f"{bundle} is already a bundle, and --effort is not an option" in ran.err
        assert f"cxredge deploy {bundle}" in ran.err


def test_names_of_other_tools_mean_options_that_exist() -> None:
    import typer

    group = typer.main.get_command(app)
    with group.make_context("cxredge", ["models"]) as context:
        commands = [group.get_command(context, name) for name in COMMANDS]
    data = next(command for command in commands if command.name == "data")
    commands += data.commands.values()
    known = {name for c in commands for p in c.params for name in (*p.opts, p.metavar)}
    for alias, meanings in NAMES.items():
        assert alias == alias.lower().replace("_", "-")
        assert [meant for meant, _ in meanings if meant.split()[0] not in known] == []


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("jetson-orin", "'jetson-agx-orin' or 'jetson-orin-nano' or 'jetson-orin-nx'"),
        ("Orin Nano", "'jetson-orin-nano'"),
        ("Xavier", "'jetson-agx-xavier' or 'jetson-xavier-nx'"),
        ("jetson-nono", "'jetson-nano'"),
    ],
)
def test_all_targets_that_fit_are_suggested(name: str, near: str, cxredge) -> None:
    ran = cxredge("targets", "show", name)
    assert ran.code == 1
    assert f"Did you mean {near}?" in ran.err


def test_build_replaces_an_earlier_bundle(bundle: Path, model: Path, cxredge) -> None:
    before = (bundle / "card.json").read_bytes()
    lax = ["--min-agreement", 0.5, "--max-accuracy-drop", 0.5]
    words = ["build", model, "--target", "jetson-nano", "--precision", "fp32", *lax]
    ran = cxredge(*words, "--out", bundle, "-q")
    assert ran.code == 0, ran.err
    assert (bundle / "card.json").read_bytes() != before
