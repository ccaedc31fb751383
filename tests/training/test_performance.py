"""Gradients have the memory layout of their activations; values do not change."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from cxredge.models import build_model  # noqa: E402
from cxredge.training.performance import keep_gradients_channels_last  # noqa: E402

pytestmark = pytest.mark.train


def test_what_comes_before_the_pool_gets_channels_last() -> None:
    layers = [torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU6()]
    plain = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1))
    plain = plain.to(memory_format=torch.channels_last)
    turned = copy.deepcopy(plain)
    keep_gradients_channels_last(turned)
    images = torch.rand(2, 3, 16, 16).to(memory_format=torch.channels_last)
    seen: list[torch.Tensor] = []
    for model in (plain, turned):
        model[1].register_forward_hook(lambda *a: a[2].register_hook(seen.append) and None)
        model(images).square().sum().backward()
    assert not seen[0].is_contiguous(memory_format=torch.channels_last)
    assert seen[1].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(seen[1], seen[0])


@pytest.mark.parametrize("network", ["mobilenet_v1", "mobilenet_v2", "nasnet_mobile"])
def test_values_do_not_change(network: str) -> None:
    torch.manual_seed(0)
    plain = build_model(network, 3, "none", 0.0).to(memory_format=torch.channels_last)
    turned = copy.deepcopy(plain)
    keep_gradients_channels_last(turned)
    images = torch.rand(2, 3, 64, 64).to(memory_format=torch.channels_last)
    for model in (plain, turned):
        model(images).square().sum().backward()
    for one, other in zip(plain.parameters(), turned.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
