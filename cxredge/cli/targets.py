"""``cxredge targets`` lists the known devices, ``cxredge targets show`` describes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxredge.cli.command import command, default_command
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import table

if TYPE_CHECKING:
    from cxredge.targets.record import Note, Target


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(rich_markup_mode=None)
    app.add_typer(group, name="targets", help="List the devices that cxredge builds for.")
    default_command(group)(targets)
    command(group, "show")(show)


def targets(output: Output) -> Outcome:
    """List the devices that cxredge builds for."""
    from cxredge.targets.registry import all_targets, is_here

    known = {target: is_here(target) for target in all_targets().values()}
    rows = [
        [
            target.name + (" (here)" if here else ""),
            target.backend,
            target.dialect.value,
            ", ".join(p.value for p in target.precisions),
            target.extent.value,
            target.title,
        ]
        for target, here in known.items()
    ]
    text = table(["name", "backend", "dialect", "precisions", "tested*", "device"], rows)
    text += (
        "\n* ran: on such hardware; emulated: on other hardware; built: not run. See: targets show"
    )
    data = [{**_as_json(target), "here": here} for target, here in known.items()]
    return Outcome(data, text, "cxredge targets show NAME")


def show(
    output: Output,
    name: Annotated[str, typer.Argument(metavar="TARGET", help="A name from 'cxredge targets'.")],
) -> Outcome:
    """Describe a device, with the sources of its facts."""
    from cxredge.targets.registry import find_target

    target = find_target(name)
    return Outcome(
        _as_json(target), _text(target), f"cxredge build RUN --target {target.name} --out BUNDLE"
    )


def _as_json(target: Target) -> dict[str, Any]:
    from cxredge.artifacts.records import to_json

    return {**to_json(target), "default_precision": target.default_precision.value}


def _text(target: Target) -> str:
    hardware = target.hardware
    facts = [
        ("backend", f"{target.backend}, dialect {target.dialect.value}"),
        ("precisions", ", ".join(p.value for p in target.precisions) + " (in this order)"),
        ("processor", target.machine),
        ("compute capability", ", ".join(hardware.compute_capabilities)),
        ("DLA cores", str(hardware.dla_cores) if target.jetpack else ""),
        ("memory", ", ".join(f"{gb} GB" for gb in hardware.memory_gb)),
        ("power modes", ", ".join(target.power_modes)),
    ]
    parts = [target.title, "", *(f"{key + ':':<20}{value}" for key, value in facts if value)]
    if target.jetpack:
        parts += ["", _software(target)]
    parts += ["", *(f"Tested, {t.backend}: {t.extent.value}. {t.how}" for t in target.verified)]
    parts += ["", *(_note(note) for note in target.notes)]
    return "\n".join(parts)


def _note(note: Note) -> str:
    verified = "" if note.verified else " (not verified)"
    return f"- {note.text}\n  Source: {note.source}{verified}."


def _software(target: Target) -> str:
    rows = [
        [
            line.versions,
            " to ".join(dict.fromkeys(line.l4t)),
            ", ".join((line.tensorrt, *line.also)),
            line.cuda,
            line.python,
            "trtexec" if line.obstacle else "cxredge",
        ]
        for line in target.jetpack
    ]
    return table(["JetPack", "Jetson Linux", "TensorRT", "CUDA", "Python", "engine by"], rows)
