"""The table of networks; it does not import torch.

Parameter counts exclude the head and include batch norm's running statistics, as in Keras. A test
compares each with the network.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from cxredge.errors import CxredgeError
from cxredge.models.blocks import (
    Blocks,
    densenet121_blocks,
    inception_v3_blocks,
    inverted_residual_blocks,
    mobilenet_v1_blocks,
    mobilenet_v4_blocks,
    nasnet_mobile_blocks,
    resnet50_blocks,
    resnet50_v2_blocks,
    vgg19_blocks,
)


@dataclass(frozen=True)
class Freeze:
    """Boundary between frozen and trained blocks.

    Attributes:
        first_trained: First trained block.
        trainable: Number of trainable weights from this block on, without the head.
        in_paper: Whether the paper states this boundary in Table 5. If not, it is the first block
            at 1/32 of the input's size, as the paper's boundary of MobileNet.
        keras_trainable: Number of trainable weights in Keras, and so in the paper, if different.
    """

    first_trained: str
    trainable: int
    in_paper: bool = True
    keras_trainable: int | None = None


@dataclass(frozen=True)
class Network:
    """One network of the zoo.

    Attributes:
        name: Name in commands.
        paper_name: Name in the paper; None for newer alternatives.
        input_size: Height and width in pixels that it was designed for.
        features: Length of the pooled feature vector.
        parameters: Number of parameters of the network built here, without the head.
        keras_parameters: Number of parameters of the Keras network; None if Keras has none.
        blocks: Blocks in order.
        paper_freeze: Boundary of ``--freeze paper``.
        hub: Source of ``--weights imagenet``: library and name of the weights.
        hub_mean: Mean grey value, in [0, 1], that these weights expect; the mean of the channels.
        hub_std: Standard deviation that these weights expect.
    """

    name: str
    paper_name: str | None
    input_size: int
    features: int
    parameters: int
    keras_parameters: int | None
    blocks: Blocks
    paper_freeze: Freeze
    hub: str
    hub_mean: float = 0.449
    hub_std: float = 0.226


ZOO: Mapping[str, Network] = {
    network.name: network
    for network in (
        Network(
            name="mobilenet_v1",
            paper_name="MobileNet",
            input_size=224,
            features=1024,
            parameters=3_228_864,
            keras_parameters=3_228_864,
            blocks=mobilenet_v1_blocks(),
            paper_freeze=Freeze("conv_dw_12", 1_593_856),
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
            keras_parameters=2_257_984,
            blocks=inverted_residual_blocks(17),
            paper_freeze=Freeze("bottleneck_14", 1_681_344, in_paper=False),
            hub="torchvision: MobileNet_V2_Weights.IMAGENET1K_V2",
        ),
        Network(
            name="nasnet_mobile",
            paper_name="NasNetMobile",
            input_size=224,
            features=1056,
            parameters=4_269_716,
            keras_parameters=4_269_716,
            blocks=nasnet_mobile_blocks(),
            paper_freeze=Freeze("reduction_8", 3_189_472, in_paper=False),
            hub="keras: NASNet-mobile-no-top.h5",
            hub_mean=0.5,
            hub_std=0.5,
        ),
        Network(
            name="vgg19",
            paper_name="VGG19",
            input_size=224,
            features=512,
            parameters=20_024_384,
            keras_parameters=20_024_384,
            blocks=vgg19_blocks(),
            paper_freeze=Freeze("block5_conv3", 4_719_616),
            hub="torchvision: VGG19_Weights.IMAGENET1K_V1",
        ),
        Network(
            name="inception_v3",
            paper_name="InceptionV3",
            input_size=299,
            features=2048,
            # torchvision's batch norms have 17,216 scales; Keras' have none.
            parameters=21_820_000,
            keras_parameters=21_802_784,
            blocks=inception_v3_blocks(),
            paper_freeze=Freeze("mixed10", 6_076_800, keras_trainable=6_073_536),
            hub="torchvision: Inception_V3_Weights.IMAGENET1K_V1",
            hub_mean=0.5,
            hub_std=0.5,
        ),
        Network(
            name="resnet50",
            paper_name="ResNet50",
            input_size=224,
            features=2048,
            # Keras' convolutions have biases, which the following batch norm cancels.
            parameters=23_561_152,
            keras_parameters=23_587_712,
            blocks=resnet50_blocks(),
            paper_freeze=Freeze("conv5_block1", 14_964_736, in_paper=False),
            hub="torchvision: ResNet50_Weights.IMAGENET1K_V2",
        ),
        Network(
            name="resnet50_v2",
            paper_name="ResNet50V2",
            input_size=224,
            features=2048,
            # Keras' residual stream has biases; here they are part of the batch norms that read it.
            parameters=23_545_792,
            keras_parameters=23_564_800,
            blocks=resnet50_v2_blocks(),
            paper_freeze=Freeze("conv5_block1", 14_962_688, in_paper=False),
            hub="timm: resnetv2_50.a1h_in1k",
            hub_mean=0.5,
            hub_std=0.5,
        ),
        Network(
            name="densenet121",
            paper_name="DenseNet121",
            input_size=224,
            features=1024,
            parameters=7_037_504,
            keras_parameters=7_037_504,
            blocks=densenet121_blocks(),
            paper_freeze=Freeze("conv4_block13", 4_404_864),
            hub="torchvision: DenseNet121_Weights.IMAGENET1K_V1",
        ),
        Network(
            name="mobilenet_v3_small",
            paper_name=None,
            input_size=224,
            features=576,
            parameters=939_120,
            keras_parameters=939_120,
            blocks=inverted_residual_blocks(11),
            paper_freeze=Freeze("bottleneck_9", 736_488, in_paper=False),
            hub="torchvision: MobileNet_V3_Small_Weights.IMAGENET1K_V1",
        ),
        Network(
            name="mobilenet_v3_large",
            paper_name=None,
            input_size=224,
            features=960,
            parameters=2_996_352,
            keras_parameters=2_996_352,
            blocks=inverted_residual_blocks(15),
            paper_freeze=Freeze("bottleneck_13", 2_179_464, in_paper=False),
            hub="torchvision: MobileNet_V3_Large_Weights.IMAGENET1K_V2",
        ),
        Network(
            name="mobilenet_v4_conv_small",
            paper_name=None,
            input_size=224,
            features=1280,
            parameters=2_518_112,
            keras_parameters=None,
            blocks=mobilenet_v4_blocks(),
            paper_freeze=Freeze("stage4_block1", 2_175_456, in_paper=False),
            hub="timm: mobilenetv4_conv_small.e2400_r224_in1k",
        ),
    )
}


def find_network(name: str) -> Network:
    """Return a network by name.

    Raises:
        CxredgeError: The name is unknown; the message suggests the closest one.
    """
    if name in ZOO:
        return ZOO[name]
    near = difflib.get_close_matches(name, ZOO, n=1)
    raise CxredgeError(
        f"Unknown model '{name}'. Known: {', '.join(ZOO)}.",
        f"Did you mean '{near[0]}'?" if near else "See: cxredge models",
    )


def first_trained_block(network: Network, freeze: str) -> str | None:
    """Resolve ``--freeze`` to the first trained block.

    Args:
        network: The network.
        freeze: ``none`` (train all blocks), ``head`` (train only the head), ``paper``, or a block
            name (train this block and the following ones).

    Returns:
        Name of a block, or None if only the head is trained.

    Raises:
        CxredgeError: The network has no such block.
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
            "--freeze also accepts none, head and paper.",
        )
    return freeze
