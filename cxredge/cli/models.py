"""``cxredge models``: the networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cxredge.cli.command import command
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import table

if TYPE_CHECKING:
    from cxredge.models.zoo import Network


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "models")(models)


def models(output: Output) -> Outcome:
    """List the networks and the blocks that the paper trains.

    Counts exclude the head. 'parameters' includes batch norm's running statistics, as in Keras;
    'trains' does not. --json also has Keras' own counts, which differ for inception_v3 (no batch
    norm scales), resnet50 and resnet50_v2 (biases before batch norm).
    """
    from cxredge.models.zoo import ZOO

    data = [
        {
            "name": network.name,
            "paper_name": network.paper_name,
            "input_size": network.input_size,
            "parameters": network.parameters,
            "keras_parameters": network.keras_parameters,
            "paper_freeze": {
                "first_trained": network.paper_freeze.first_trained,
                "trainable": network.paper_freeze.trainable,
                "percent": round(100 * network.paper_freeze.trainable / network.parameters, 1),
                "in_paper": network.paper_freeze.in_paper,
                "keras_trainable": _keras_trainable(network),
            },
            "features": network.features,
            "blocks": [block.name for block in network.blocks],
            "imagenet_weights": network.hub,
        }
        for network in ZOO.values()
    ]
    rows = [
        [
            network.name,
            network.paper_name or "-",
            network.input_size,
            network.parameters,
            network.features,
            network.paper_freeze.first_trained
            + ("" if network.paper_freeze.in_paper else " (ours)"),
            network.paper_freeze.trainable,
        ]
        for network in ZOO.values()
    ]
    header = ["name", "paper", "size", "parameters", "features", "--freeze paper", "trains"]
    return Outcome(data, table(header, rows), "cxredge train MANIFEST --model NAME --out RUN")


def _keras_trainable(network: Network) -> int | None:
    """Return the parameters that Keras trains from the same block on, if the paper has them."""
    freeze = network.paper_freeze
    if freeze.keras_trainable is not None:
        return freeze.keras_trainable
    return freeze.trainable if freeze.in_paper else None
