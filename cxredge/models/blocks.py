"""The blocks of each network, in order; a block is frozen or trained as a whole.

Names are those of Keras where it has the network, because the paper counts Keras' layers. Modules
are submodules of the library's network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """Consecutive layers that are frozen or trained together.

    Attributes:
        name: Name of the block in commands.
        modules: Paths of its submodules in the backbone.
    """

    name: str
    modules: tuple[str, ...]


Blocks = tuple[Block, ...]


def mobilenet_v1_blocks() -> Blocks:
    """Return the stem and the thirteen separable convolutions."""
    separable = [f"blocks.{stage}.{i}" for stage, i in _staged((1, 2, 2, 6, 2))]
    return (Block("conv1", ("conv_stem", "bn1")), *_numbered("conv_dw_", separable))


def inverted_residual_blocks(bottlenecks: int) -> Blocks:
    """Return the blocks of torchvision's MobileNet V2 and V3, which differ in their number only."""
    return (
        Block("conv1", ("features.0",)),
        *_numbered("bottleneck_", [f"features.{n}" for n in range(1, bottlenecks + 1)]),
        Block("conv_last", (f"features.{bottlenecks + 1}",)),
    )


def mobilenet_v4_blocks() -> Blocks:
    """Return the stem, the blocks of the five stages, and the convolution after the pool."""
    stages = (
        Block(f"stage{stage + 1}_block{i + 1}", (f"blocks.{stage}.{i}",))
        for stage, i in _staged((2, 2, 6, 6, 1))
    )
    return (
        Block("conv1", ("conv_stem", "bn1")),
        *stages,
        Block("conv_head", ("conv_head", "norm_head")),
    )


def nasnet_mobile_blocks() -> Blocks:
    """Return the stem convolution and the cells."""
    names = [
        "stem_conv",
        "stem_reduction_1",
        "stem_reduction_2",
        *(f"normal_{n}" for n in range(4)),
        "reduction_4",
        *(f"normal_{n}" for n in range(5, 9)),
        "reduction_8",
        *(f"normal_{n}" for n in range(9, 13)),
    ]
    return tuple(Block(name, (name,)) for name in names)


def vgg19_blocks() -> Blocks:
    """Return the sixteen convolutions; each is followed by a ReLU, each group by a pool."""
    blocks = []
    index = 0
    for group, convolutions in enumerate((2, 2, 4, 4, 4), start=1):
        for number in range(1, convolutions + 1):
            blocks.append(Block(f"block{group}_conv{number}", (f"features.{index}",)))
            index += 2
        index += 1
    return tuple(blocks)


def inception_v3_blocks() -> Blocks:
    """Return the five convolutions and the eleven mixed blocks."""
    convolutions = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")
    mixed = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
    return (
        *_numbered("conv", [f"Conv2d_{name}" for name in convolutions]),
        *_numbered("mixed", [f"Mixed_{name}" for name in mixed], first=0),
    )


def resnet50_blocks() -> Blocks:
    """Return the stem and the sixteen residual blocks."""
    residual = (
        Block(f"conv{stage + 2}_block{i + 1}", (f"layer{stage + 1}.{i}",))
        for stage, i in _staged((3, 4, 6, 3))
    )
    return (Block("conv1", ("conv1", "bn1")), *residual)


def resnet50_v2_blocks() -> Blocks:
    """Return the stem, the sixteen residual blocks and the final batch norm."""
    residual = (
        Block(f"conv{stage + 2}_block{i + 1}", (f"stages.{stage}.blocks.{i}",))
        for stage, i in _staged((3, 4, 6, 3))
    )
    return (Block("conv1", ("stem",)), *residual, Block("post_bn", ("norm",)))


def densenet121_blocks() -> Blocks:
    """Return the stem, the dense layers, the transitions between them, and the final batch norm."""
    blocks = [Block("conv1", ("features.conv0", "features.norm0"))]
    for group, layers in enumerate((6, 12, 24, 16), start=1):
        dense = [f"features.denseblock{group}.denselayer{n}" for n in range(1, layers + 1)]
        blocks += _numbered(f"conv{group + 1}_block", dense)
        if group < 4:
            blocks.append(Block(f"pool{group + 1}", (f"features.transition{group}",)))
    return (*blocks, Block("bn", ("features.norm5",)))


def _staged(depths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (stage, index in the stage), both from zero."""
    return ((stage, i) for stage, depth in enumerate(depths) for i in range(depth))


def _numbered(name: str, modules: Sequence[str], first: int = 1) -> Iterator[Block]:
    return (Block(f"{name}{n}", (module,)) for n, module in enumerate(modules, start=first))
