"""The table of networks: what a person can choose, without importing torch.

Counts leave the head out and include batch norm's running statistics, as Keras counts; a test
compares each with the network itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from cxredge.errors import CxredgeError


@dataclass(frozen=True)
class Block:
    """A run of layers that is frozen or trained as one.

    Attributes:
        name: What a person calls it.
        modules: The submodules of the backbone that it consists of.
    """

    name: str
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Freeze:
    """Where training starts and how much that is.

    Attributes:
        first_trained: The first block that is trained.
        trainable: Trainable weights from there on, without the head.
        in_paper: The paper gives this boundary; otherwise it is our choice for that network.
    """

    first_trained: str
    trainable: int
    in_paper: bool


@dataclass(frozen=True)
class Network:
    """One network of the zoo.

    Attributes:
        name: How commands call it.
        paper_name: How the paper calls it.
        input_size: Height and width in pixels it was designed for.
        features: Length of the pooled feature vector.
        parameters: Number of parameters without the head.
        blocks: Its blocks in order.
        paper_freeze: The boundary that ``--freeze paper`` means.
        hub: Where ``--weights imagenet`` comes from: library and name of the weights.
        hub_mean: Mean grey value, in [0, 1], for the weights of the hub.
        hub_std: Standard deviation for the weights of the hub.
    """

    name: str
    paper_name: str
    input_size: int
    features: int
    parameters: int
    blocks: tuple[Block, ...]
    paper_freeze: Freeze
    hub: str
    hub_mean: float
    hub_std: float


def _mobilenet_v1_blocks() -> tuple[Block, ...]:
    layout = ((0, 1), (1, 2), (2, 2), (3, 6), (4, 2))
    separable = [f"blocks.{stage}.{i}" for stage, depth in layout for i in range(depth)]
    numbered = (Block(f"conv_dw_{n}", (module,)) for n, module in enumerate(separable, start=1))
    return (Block("conv1", ("conv_stem", "bn1")), *numbered)


def _mobilenet_v2_blocks() -> tuple[Block, ...]:
    bottlenecks = (Block(f"bottleneck_{n}", (f"features.{n}",)) for n in range(1, 18))
    return (
        Block("conv1", ("features.0",)),
        *bottlenecks,
        Block("conv_last", ("features.18",)),
    )


ZOO: Mapping[str, Network] = {
    network.name: network
    for network in (
        Network(
            name="mobilenet_v1",
            paper_name="MobileNet",
            input_size=224,
            features=1024,
            parameters=3_228_864,
            blocks=_mobilenet_v1_blocks(),
            paper_freeze=Freeze("conv_dw_12", 1_593_856, in_paper=True),
            hub="timm: mobilenetv1_100.ra4_e3600_r224_in1k",
            hub_mean=0.5,
            hub_std=0.5,
        ),
        Network(
            name="mobilenet_v2",
            paper_name="MobileNetV2",
            input_size=224,
            features=1280,
            parameters=2_257_984,
            blocks=_mobilenet_v2_blocks(),
            # The first block at 7x7 pixels, where the paper's boundary of MobileNet lies too.
            paper_freeze=Freeze("bottleneck_14", 1_681_344, in_paper=False),
            hub="torchvision: MobileNet_V2_Weights.IMAGENET1K_V2",
            hub_mean=0.449,
            hub_std=0.226,
        ),
    )
}


def find_network(name: str) -> Network:
    """Return a network by name.

    Raises:
        CxredgeError: There is none of that name; the message offers the nearest.
    """
    if name in ZOO:
        return ZOO[name]
    near = difflib.get_close_matches(name, ZOO, n=1)
    raise CxredgeError(
        f"Unknown model '{name}'. Known: {', '.join(ZOO)}.",
        f"Did you mean '{near[0]}'?" if near else "See: cxredge models",
    )


def first_trained_block(network: Network, freeze: str) -> str | None:
    """Resolve ``--freeze`` to the first block that is trained.

    Args:
        network: The network.
        freeze: ``none`` (train all), ``head`` (train the head alone), ``paper``, or a block: it
            and what follows are trained.

    Returns:
        A block's name, or None when only the head is trained.

    Raises:
        CxredgeError: No such block.
    """
    if freeze == "none":
        return network.blocks[0].name
    if freeze == "head":
        return None
    if freeze == "paper":
        return network.paper_freeze.first_trained
    names = [block.name for block in network.blocks]
    if freeze not in names:
        raise CxredgeError(
            f"{network.name} has no block '{freeze}'. Its blocks: {', '.join(names)}.",
            "--freeze also takes none, head and paper.",
        )
    return freeze
