"""NASNet-A (4 @ 1056), known as NASNetMobile.

Zoph, Vasudevan, Shlens and Le, "Learning Transferable Architectures for Scalable Image
Recognition", CVPR 2018, https://arxiv.org/abs/1707.07012. The two cells are those of Figure 4,
the order of the cells is that of Figure 2 and Appendix A.4. Where the paper leaves a choice open
(padding, cropping, batch-norm constants), this module follows ``keras.applications.NASNetMobile``,
so that its ImageNet weights produce the same features.

A cell reads two hidden states: the output of the cell before it (``hidden``) and of the one before
that (``previous``). The paper puts a ReLU before every convolution, and only convolutions read the
output of a cell. A cell here therefore returns rectified output: one ReLU instead of one per
reader.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEM_FILTERS = 32
PENULTIMATE_FILTERS = 1056
CELLS_PER_STAGE = 4
# Keras' momentum is the share of the old average (0.9997), torch's that of the new batch.
BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 3e-4


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)


def _height_and_width(x: Tensor) -> tuple[int, int]:
    """Return the spatial size as plain numbers, also under ``torch.jit.trace``.

    A traced size would put arithmetic on shapes into the exported graph. The padding depends on
    whether the size is odd, which is fixed once the network is exported for one input size.
    """
    if not torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return x.shape[-2], x.shape[-1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Converting a tensor to a Python")
        return int(x.shape[-2]), int(x.shape[-1])


def pad_for_stride_2(x: Tensor, kernel: int) -> Tensor:
    """Pad with zeros so that a window of stride 2 without padding halves the size, rounded up.

    For an odd size the padding is ``kernel // 2`` on both sides. For an even size, top and left get
    one pixel less, so that the last window ends at the last padded pixel (Keras' ``correct_pad``).

    Args:
        x: Feature maps, shape (N, C, H, W).
        kernel: Window size in pixels, odd.

    Returns:
        Feature maps, shape (N, C, H + kernel - 1 or - 2, W + kernel - 1 or - 2), same dtype.
    """
    half = kernel // 2
    height, width = _height_and_width(x)
    return F.pad(x, (half - 1 + width % 2, half, half - 1 + height % 2, half))


def _average_3x3(x: Tensor) -> Tensor:
    """Average 3x3 windows with stride 1; pixels outside the map are ignored."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class ConvBn(nn.Module):
    """Convolution without padding and without bias, then batch norm."""

    def __init__(self, in_channels: int, filters: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, filters, kernel, stride, bias=False)
        self.bn = _batch_norm(filters)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, filters, H', W')."""
        return self.bn(self.conv(x))  # type: ignore[no-any-return]


class SeparableBlock(nn.Module):
    """Separable convolution, applied twice (paper, section 3 and Appendix A.4).

    The first of the two applies the stride. The input is rectified by the caller, because several
    branches of a cell read the same hidden state.
    """

    def __init__(self, in_channels: int, filters: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        same = kernel // 2
        self.kernel, self.stride = kernel, stride
        self.depthwise_1 = nn.Conv2d(
            in_channels,
            in_channels,
            kernel,
            stride,
            padding=same if stride == 1 else 0,
            groups=in_channels,
            bias=False,
        )
        self.pointwise_1 = nn.Conv2d(in_channels, filters, 1, bias=False)
        self.bn_1 = _batch_norm(filters)
        self.depthwise_2 = nn.Conv2d(
            filters, filters, kernel, padding=same, groups=filters, bias=False
        )
        self.pointwise_2 = nn.Conv2d(filters, filters, 1, bias=False)
        self.bn_2 = _batch_norm(filters)

    def forward(self, x: Tensor) -> Tensor:
        """Map rectified (N, in_channels, H, W) to (N, filters, H', W'), not rectified."""
        if self.stride == 2:
            x = pad_for_stride_2(x, self.kernel)
        x = self.bn_1(self.pointwise_1(self.depthwise_1(x)))
        return self.bn_2(self.pointwise_2(self.depthwise_2(F.relu(x))))  # type: ignore[no-any-return]


class FactorizedReduction(nn.Module):
    """Halves the size of ``previous`` if the preceding cell is a reduction (Appendix A.4).

    One half of the filters reads the pixels at even positions, the other half the pixels one to the
    right and below; pixels outside the map are zero. Keras crops, pools and convolves each half
    separately. Here both halves are one 2x2 convolution of stride 2. Its first half of filters is
    zero except at the upper left, its second half except at the lower right: one node instead of
    seven, at four times the (few) multiplications.
    """

    upper_left: Tensor
    lower_right: Tensor

    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(in_channels, filters // 2, 1, bias=False)
        self.conv_2 = nn.Conv2d(in_channels, filters // 2, 1, bias=False)
        self.bn = _batch_norm(filters)
        self.register_buffer("upper_left", torch.tensor([[1.0, 0], [0, 0]]), persistent=False)
        self.register_buffer("lower_right", torch.tensor([[0.0, 0], [0, 1]]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map rectified (N, in_channels, H, W) to (N, filters, ceil(H/2), ceil(W/2))."""
        # Products instead of F.pad, whose output shape the TorchScript exporter cannot infer.
        halves = (self.conv_1.weight * self.upper_left, self.conv_2.weight * self.lower_right)
        height, width = _height_and_width(x)
        if height % 2 or width % 2:
            x = F.pad(x, (0, width % 2, 0, height % 2))
        return self.bn(F.conv2d(x, torch.cat(halves), stride=2))  # type: ignore[no-any-return]


class NormalCell(nn.Module):
    """Normal cell of NASNet-A (paper, Figure 4, left); same size, 6 * filters channels.

    ``left_i`` and ``right_i`` are the separable convolutions of the i-th pair, numbered as in
    Keras. ``squeeze`` maps ``hidden`` and ``adjust`` maps ``previous`` to ``filters`` channels.
    """

    expansion = 6

    def __init__(self, channels: int, filters: int, adjust: nn.Module | None) -> None:
        super().__init__()
        self.adjust = adjust
        self.squeeze = ConvBn(channels, filters)
        self.left_1 = SeparableBlock(filters, filters, kernel=5)
        self.right_1 = SeparableBlock(filters, filters, kernel=3)
        self.left_2 = SeparableBlock(filters, filters, kernel=5)
        self.right_2 = SeparableBlock(filters, filters, kernel=3)
        self.left_5 = SeparableBlock(filters, filters, kernel=3)

    def forward(self, hidden: Tensor, previous: Tensor) -> Tensor:
        """Map rectified (N, C, H, W) and ``previous`` to rectified (N, 6 * filters, H, W)."""
        p = previous if self.adjust is None else self.adjust(previous)
        h = self.squeeze(hidden)
        p_rectified, h_rectified = F.relu(p), F.relu(h)
        p_average = _average_3x3(p)
        pairs = (
            self.left_1(h_rectified) + self.right_1(p_rectified),
            self.left_2(p_rectified) + self.right_2(p_rectified),
            _average_3x3(h) + p,
            p_average + p_average,
            self.left_5(h_rectified) + h,
        )
        return F.relu(torch.cat((p, *pairs), dim=1))


class ReductionCell(nn.Module):
    """Reduction cell of NASNet-A (paper, Figure 4, right); halves the size, 4 * filters channels.

    ``left_i`` and ``right_i`` are the separable convolutions of the i-th pair. If
    ``adjust`` is None (the first cell), ``previous`` keeps its channels.
    """

    expansion = 4

    def __init__(
        self, channels: int, previous_channels: int, filters: int, adjust: nn.Module | None
    ) -> None:
        super().__init__()
        p_channels = previous_channels if adjust is None else filters
        self.adjust = adjust
        self.squeeze = ConvBn(channels, filters)
        self.left_1 = SeparableBlock(filters, filters, kernel=5, stride=2)
        self.right_1 = SeparableBlock(p_channels, filters, kernel=7, stride=2)
        self.right_2 = SeparableBlock(p_channels, filters, kernel=7, stride=2)
        self.right_3 = SeparableBlock(p_channels, filters, kernel=5, stride=2)
        self.left_5 = SeparableBlock(filters, filters, kernel=3)

    def forward(self, hidden: Tensor, previous: Tensor) -> Tensor:
        """Map rectified (N, C, H, W) and ``previous`` to rectified (N, 4 * filters, H/2, W/2)."""
        p = previous if self.adjust is None else F.relu(self.adjust(previous))
        h = self.squeeze(hidden)
        # As in Keras, both pools include the zeros of the padding; h can be negative.
        h_padded = pad_for_stride_2(h, 3)
        h_max = F.max_pool2d(h_padded, 3, stride=2)
        h_average = F.avg_pool2d(h_padded, 3, stride=2)
        pair_1 = self.left_1(F.relu(h)) + self.right_1(p)
        pair_2 = h_max + self.right_2(p)
        pair_3 = h_average + self.right_3(p)
        pair_4 = _average_3x3(pair_1) + pair_2
        pair_5 = self.left_5(F.relu(pair_1)) + h_max
        return F.relu(torch.cat((pair_2, pair_3, pair_4, pair_5), dim=1))


def _cell_plan() -> Iterator[tuple[str, type[NormalCell] | type[ReductionCell], int]]:
    """Yield name, class and filters of the cells in order, numbered as in Keras."""
    filters = PENULTIMATE_FILTERS // 24
    yield "stem_reduction_1", ReductionCell, filters // 4
    yield "stem_reduction_2", ReductionCell, filters // 2
    for stage in range(3):
        if stage:
            yield f"reduction_{CELLS_PER_STAGE * stage}", ReductionCell, filters << stage
        first = CELLS_PER_STAGE * stage + (stage > 0)
        for number in range(first, first + CELLS_PER_STAGE):
            yield f"normal_{number}", NormalCell, filters << stage


class NasnetMobile(nn.Module):
    """NASNet-A (4 @ 1056).

    ``named_children`` returns the blocks from the image to the features: ``stem_conv``,
    ``stem_reduction_1``, ``stem_reduction_2``, ``normal_0`` to ``normal_3``, ``reduction_4``,
    ``normal_5`` to ``normal_8``, ``reduction_8`` and ``normal_9`` to ``normal_12``.
    """

    num_features = PENULTIMATE_FILTERS

    def __init__(self) -> None:
        super().__init__()
        self.stem_conv = ConvBn(3, STEM_FILTERS, kernel=3, stride=2)
        self.cell_names = self._add_cells()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def _add_cells(self) -> tuple[str, ...]:
        """Add the cells in order and return their names."""
        names = []
        channels = previous_channels = STEM_FILTERS
        after: type[NormalCell] | type[ReductionCell] | None = None
        for name, kind, filters in _cell_plan():
            adjust: nn.Module | None = None
            if after is ReductionCell:
                adjust = FactorizedReduction(previous_channels, filters)
            elif after is NormalCell:
                adjust = ConvBn(previous_channels, filters)
            cell: NormalCell | ReductionCell
            if kind is NormalCell:
                cell = NormalCell(channels, filters, adjust)
            else:
                cell = ReductionCell(channels, previous_channels, filters, adjust)
            self.add_module(name, cell)
            names.append(name)
            channels, previous_channels, after = cell.expansion * filters, channels, kind
        return tuple(names)

    def forward_features(self, image: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to rectified maps (N, 1056, about H / 32, about W / 32)."""
        hidden = previous = F.relu(self.stem_conv(image))
        for name in self.cell_names:
            hidden, previous = self.get_submodule(name)(hidden, previous), hidden
        return hidden

    def forward(self, image: Tensor) -> Tensor:
        """Compute pooled features.

        Args:
            image: Shape (N, 3, H, W), float32, H and W at least 32. The ImageNet weights expect
                RGB scaled to [-1, 1].

        Returns:
            Features (N, 1056), float32.
        """
        return self.forward_features(image).mean((2, 3))
