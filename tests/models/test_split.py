"""A split network computes exactly what the whole network computes."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import fx, nn  # noqa: E402

from cxredge.models import build_model, split  # noqa: E402
from cxredge.models.freeze import freeze_blocks, train_mode  # noqa: E402
from cxredge.models.networks import Classifier  # noqa: E402
from cxredge.models.split import CannotSplitError, Parts, split_network  # noqa: E402
from cxredge.models.zoo import ZOO  # noqa: E402

pytestmark = pytest.mark.train


def outputs(model: nn.Module, *inputs: torch.Tensor) -> Any:
    """Return what a module returns in inference mode."""
    with torch.no_grad():
        return model.eval()(*inputs)


def assert_exact(model: Classifier, parts: Parts, size: int) -> tuple[torch.Tensor, ...]:
    """Compare the outputs in inference mode; return the tensors between the parts."""
    images = torch.rand(2, 3, size, size)
    return assert_returns(parts, images, outputs(model, images))


def assert_returns(
    parts: Parts, images: torch.Tensor, expected: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Compare the output of the parts; return the tensors between them."""
    crossing: tuple[torch.Tensor, ...] = outputs(parts.frozen, images)
    # In-place layers must not change the tensors between the parts.
    assert torch.equal(outputs(parts.trained, *(t.clone() for t in crossing)), expected)
    return crossing


def trace_once(model: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace a network once for all boundaries, because freezing does not change its operations.

    Tracing DenseNet121 at each of its 62 would take nearly twice as long as all else here.
    """
    graph = split._trace(model)

    def traced(network: Classifier) -> fx.Graph:
        train_mode(network)
        return graph

    monkeypatch.setattr(split, "_trace", traced)


def freeze_before(backbone: nn.Module, first_trained: str, features: int) -> Classifier:
    """Freeze a torchvision network up to one of its modules."""
    model = Classifier(backbone, features, 4, 0.2)
    nn.init.normal_(model.head.weight)
    backbone.requires_grad_(False)
    trained = False
    for name, module in backbone.named_modules():
        trained = trained or name == first_trained
        module.requires_grad_(trained)
    return model


@pytest.mark.parametrize("name", ZOO)
def test_parts_equal_the_whole_at_every_boundary(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, model = ZOO[name], build_model(name, 4, dropout=0.2)
    nn.init.normal_(model.head.weight)
    images = torch.rand(2, 3, *[96 if name == "inception_v3" else 64] * 2)
    expected = outputs(model, images)
    freeze_blocks(model, network, "none")
    assert split_network(model) is None, "no block is frozen"
    trace_once(model, monkeypatch)
    for freeze in [*(block.name for block in network.blocks[1:]), "head"]:
        trainable = freeze_blocks(model, network, freeze)
        parts = split_network(model)
        assert parts is not None, freeze
        assert_returns(parts, images, expected)
        before_head = [n for n, _ in parts.trained.named_parameters() if not n.startswith("head.")]
        assert sum(model.get_parameter(n).numel() for n in before_head) == trainable
        assert not any(p.requires_grad for p in parts.frozen.parameters())


def test_parts_share_their_weights_and_names_with_the_whole() -> None:
    model = build_model("mobilenet_v1", 4)
    freeze_blocks(model, ZOO["mobilenet_v1"], "paper")
    parts = split_network(model)
    assert parts is not None
    whole = model.state_dict(keep_vars=True)
    for name, value in parts.trained.state_dict(keep_vars=True).items():
        assert value is whole[name]


def test_gradients_of_the_trained_part_equal_those_of_the_whole() -> None:
    model = build_model("mobilenet_v2", 4)
    nn.init.normal_(model.head.weight)
    freeze_blocks(model, ZOO["mobilenet_v2"], "paper")
    parts = split_network(model)
    assert parts is not None
    images = torch.rand(4, 3, 64, 64)
    gradients = []
    for part in (False, True):
        train_mode(model)
        parts.frozen.eval()
        train_mode(parts.trained)
        model.zero_grad()
        logits = parts.trained(*parts.frozen(images)) if part else model(images)
        logits.square().sum().backward()
        trained = [p for p in model.parameters() if p.requires_grad]
        gradients.append([p.grad.clone() for p in trained])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_dense_connections_cross_once() -> None:
    from torchvision.models import densenet121

    backbone = densenet121()
    backbone.classifier = nn.Identity()
    model = freeze_before(backbone, "features.denseblock3.denselayer13", 1024)
    parts = split_network(model)
    assert parts is not None
    crossing = assert_exact(model, parts, 64)
    # 256 channels into the block and 32 of each of its first 12 layers, not their concatenation.
    assert [t.shape[1] for t in crossing] == [256, *[32] * 12]


def test_branches_and_residuals_split() -> None:
    from torchvision.models import inception_v3, resnet50

    for create, first, size in (
        (lambda: inception_v3(aux_logits=False, init_weights=False), "Mixed_7c", 96),
        (resnet50, "layer4", 64),
    ):
        backbone = create()
        backbone.fc = nn.Identity()
        model = freeze_before(backbone, first, 2048)
        parts = split_network(model)
        assert parts is not None
        assert len(assert_exact(model, parts, size)) == 1


class TwoBack(nn.Module):
    """Cells that read the last two outputs, as in NASNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.cells = nn.ModuleList(nn.Conv2d(16, 8, 3, padding=1) for _ in range(4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        before = now = self.stem(images)
        for cell in self.cells:
            before, now = now, torch.relu_(cell(torch.cat([before, now], 1)))
        return now.mean((2, 3))


def test_two_earlier_outputs_cross() -> None:
    model = freeze_before(TwoBack(), "cells.2", 8)
    parts = split_network(model)
    assert parts is not None
    assert [t.shape[1] for t in assert_exact(model, parts, 32)] == [8, 8]


class Fickle(nn.Module):
    """Computes differently in training, by a function without a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = nn.functional.dropout(self.first(images), 0.5, self.training)
        return self.second(features).mean((2, 3))


class Choosy(Fickle):
    """Branches depending on its input."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.first(images)
        return self.second(-features if features.sum() < 0 else features).mean((2, 3))


@pytest.mark.parametrize(
    ("backbone", "reason"), [(Fickle, "training and in inference"), (Choosy, "cannot be traced")]
)
def test_networks_that_cannot_be_split_raise_the_reason(
    backbone: type[nn.Module], reason: str
) -> None:
    with pytest.raises(CannotSplitError, match=reason):
        split_network(freeze_before(backbone(), "second", 8))


def test_dropout_and_changing_statistics_are_never_frozen() -> None:
    class Loose(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3)
            self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm2d(8, affine=False)
            self.second = nn.Conv2d(8, 8, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.second(self.norm(self.drop(self.first(images)))).mean((2, 3))

    parts = split_network(freeze_before(Loose(), "second", 8))
    assert parts is not None
    layers = {n for n, _ in parts.frozen.named_modules()}
    assert "backbone.first" in layers
    assert not layers & {"backbone.drop", "backbone.norm"}
