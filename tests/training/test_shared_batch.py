"""What is drawn or averaged per batch is that of the whole batch, on any number of devices."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

import torch.distributed as dist  # noqa: E402
from timm.layers.norm_act import BatchNormAct2d, SyncBatchNormAct  # noqa: E402
from torch import nn  # noqa: E402

from cxredge.errors import CxredgeError  # noqa: E402
from cxredge.models.synchronised_norm import synchronise_batch_norm  # noqa: E402
from cxredge.training.config import TrainingHardware  # noqa: E402
from cxredge.training.ranks import Ranks  # noqa: E402
from cxredge.training.shared_batch import SharedBatch, share_dropout  # noqa: E402
from tests.training.two_processes import in_two  # noqa: E402

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(sys.platform == "win32", reason="needs a fork server"),
]

CPU = TrainingHardware("cpu")
SLICES = (slice(0, 3), slice(3, 5))


def connected(function: Callable[[int], object]) -> Callable[[], object]:
    """Call a function with the rank of the process, among two that are connected."""

    def run() -> object:
        dist.init_process_group("gloo")
        return function(dist.get_rank())

    return run


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_batch_norm_over_two_processes_is_that_of_the_whole_batch(
    tmp_path: Path, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    # A large mean and a small deviation are where sums of squares lose digits.
    images = (torch.randn(5, 6, 4, 4) * 0.01 + 3).contiguous(memory_format=layout)
    upstream = torch.randn(5, 6, 4, 4)
    plain = nn.Sequential(nn.BatchNorm2d(6), BatchNormAct2d(6, act_layer=nn.SiLU))
    for parameter in plain.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    shared = copy.deepcopy(plain)

    def run(rank: int) -> list[torch.Tensor]:
        assert synchronise_batch_norm(shared, on_processor=True) == 2
        own = images[SLICES[rank]].clone().requires_grad_()
        outputs = shared(own)
        outputs.backward(upstream[SLICES[rank]])
        gradients = [parameter.grad for parameter in shared.parameters()]
        return [outputs.detach(), own.grad, *gradients, *shared.buffers()]

    first, second = in_two(connected(run), tmp_path)
    whole = images.clone().requires_grad_()
    outputs = plain(whole)
    outputs.backward(upstream)
    close = {"rtol": 1e-4, "atol": 1e-4}
    for found, expected in zip((0, 1), (outputs, whole.grad), strict=True):
        both = torch.cat([first[found], second[found]])
        torch.testing.assert_close(both, expected.detach(), rtol=1e-3, atol=1e-4)
    for number, parameter in enumerate(plain.parameters(), start=2):
        torch.testing.assert_close(first[number] + second[number], parameter.grad, **close)
    for number, buffer in enumerate(plain.buffers(), start=6):
        torch.testing.assert_close(first[number], buffer, **close)
        assert torch.equal(first[number], second[number])


def test_frozen_batch_norm_and_names_stay() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), BatchNormAct2d(3))
    network[0].requires_grad_(False)
    names = list(network.state_dict())
    assert synchronise_batch_norm(network, on_processor=False) == 1
    assert type(network[0]) is nn.BatchNorm2d
    assert type(network[1]) is SyncBatchNormAct
    assert list(network.state_dict()) == names
    with pytest.raises(CxredgeError, match="BatchNorm1d cannot be trained on several devices"):
        synchronise_batch_norm(nn.Sequential(nn.BatchNorm1d(3)), on_processor=True)


@pytest.mark.parametrize("images", [1, 5])
def test_the_mean_of_the_shares_is_the_loss_of_the_batch(images: int) -> None:
    """Also for a batch that is smaller than the number of devices."""
    torch.manual_seed(0)
    logits, probabilities = torch.randn(images, 3), torch.randn(images, 3).softmax(dim=1)
    weights = torch.rand(images)
    alone = SharedBatch(Ranks(CPU))
    alone.take(torch.arange(images))
    expected = alone.loss(logits, probabilities, weights)
    by_hand = -(probabilities * logits.log_softmax(dim=1)).sum(dim=1)
    torch.testing.assert_close(expected, (by_hand * weights).sum() / weights.sum())
    losses, seen = [], []
    for rank in range(3):
        batch = SharedBatch(Ranks(CPU, rank, 3))
        rows = batch.take(torch.arange(images))
        seen += rows.tolist()
        assert batch.is_whole == (images == 1)
        losses.append(batch.loss(logits[rows], probabilities[rows], weights))
    assert torch.allclose(torch.stack(losses).mean(), expected, atol=1e-6)
    assert seen == (list(range(5)) if images == 5 else [0, 0, 0])


def test_dropout_drops_the_same_features_on_any_number_of_devices() -> None:
    features = torch.randn(5, 40)
    torch.manual_seed(1)
    expected = nn.Dropout(0.4)(features)
    parts = []
    for rank in range(2):
        batch, layer = SharedBatch(Ranks(CPU, rank, 2)), nn.Sequential(nn.Dropout(0.4))
        share_dropout(layer, batch)
        torch.manual_seed(1)
        rows = batch.take(torch.arange(5))
        parts.append(layer(features[rows]))
        assert torch.equal(copy.deepcopy(layer).eval()(features), features)
    assert torch.equal(torch.cat(parts), expected)
