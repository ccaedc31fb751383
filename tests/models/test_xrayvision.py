"""Weights in the layout of TorchXRayVision, compared with that library where it is installed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
torchvision = pytest.importorskip("torchvision", reason="needs the train extra")

from torch import nn  # noqa: E402

from cxredge.errors import CxredgeError  # noqa: E402
from cxredge.models import build_model  # noqa: E402
from cxredge.models.weights import read_state_dict  # noqa: E402
from cxredge.models.xrayvision import require_input_scale  # noqa: E402

pytestmark = pytest.mark.train


def randomised(module: nn.Module) -> nn.Module:
    """Return the module with statistics as after training on inputs in [-1024, 1024]."""
    generator = torch.Generator().manual_seed(0)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)
        if name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    for name, parameter in module.named_parameters():
        if parameter.ndim == 1 and name.endswith("weight"):
            parameter.data = torch.rand(parameter.shape, generator=generator) * 0.5 + 0.75
    first = next(m for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    # From a channel of variance almost 0 to one of large variance.
    first.running_var.copy_(torch.logspace(-6, 6, len(first.running_var)))
    first.running_mean.mul_(1000)
    return module.eval()


def one_channel(network: str) -> nn.Module:
    """Return torchvision's network with a first convolution for one channel, and 18 outputs."""
    module = torchvision.models.get_model(network, weights=None, num_classes=18)
    parent = module.features if network == "densenet121" else module
    setattr(
        parent,
        "conv0" if network == "densenet121" else "conv1",
        nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False),
    )
    return randomised(module)


def grey(size: int = 64) -> Any:
    """Return grey values, float32 (2, 1, size, size), in [0, 1], with a bright border."""
    values = torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(1))
    values[:, :, :5] = 1.0
    return values


def features(network: str, weights: Path, values: Any) -> Any:
    model = build_model(network, 0, weights).eval()
    with torch.no_grad():
        return model(((values - 0.5) / 0.5).expand(-1, 3, -1, -1))


def pooled(module: nn.Module, values: Any) -> Any:
    """Return the input of the module's head, for grey values in [-1024, 1024]."""
    head = "fc" if hasattr(module, "fc") else "classifier"
    setattr(module, head, nn.Identity())
    with torch.no_grad():
        return module((2 * values - 1) * 1024)


def assert_equal(got: Any, expected: Any) -> None:
    assert expected.std() > 1e-3
    assert (got - expected).abs().max() < 1e-4 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("network", ["densenet121", "resnet50"])
@pytest.mark.parametrize("layout", ["state", "prefixed", "module", "old_module"])
def test_features_are_those_of_the_one_channel_network(
    network: str, layout: str, tmp_path: Path
) -> None:
    module, path = one_channel(network), tmp_path / "weights.pt"
    state = module.state_dict()
    if layout == "state":
        torch.save(state, path)
    elif layout == "prefixed":
        named = {f"model.{name}": tensor for name, tensor in state.items()}
        torch.save(named | {"op_threshs": torch.rand(18)}, path)
    else:
        torch.save(module, path, _use_new_zipfile_serialization=layout == "module")
    assert_equal(features(network, path, grey()), pooled(module, grey()))


def test_features_and_logits_are_those_of_torchxrayvision(tmp_path: Path) -> None:
    xrv = pytest.importorskip("torchxrayvision", reason="needs torchxrayvision")
    theirs, path = randomised(xrv.models.DenseNet()), tmp_path / "densenet.pt"
    torch.save(theirs, path)
    values = (grey(224) * 255).round()
    pictures = torch.stack(
        [torch.from_numpy(xrv.datasets.normalize(one.numpy(), 255)) for one in values]
    )
    with torch.no_grad():
        expected, logits = theirs.features2(pictures), theirs(pictures)
    got = features("densenet121", path, values / 255)
    assert_equal(got, expected)
    with torch.no_grad():
        assert_equal(theirs.classifier(got), logits)


class Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_module_runs_no_code(zipped: bool, tmp_path: Path) -> None:
    module, marker, path = nn.Linear(2, 1), tmp_path / "ran", tmp_path / "weights.pt"
    module.extra = Runs(marker)
    torch.save(module, path, _use_new_zipfile_serialization=zipped)
    assert set(read_state_dict(path)) == {"weight", "bias"}
    assert not marker.exists()


def test_what_is_not_a_module_is_refused(tmp_path: Path) -> None:
    path, marker = tmp_path / "weights.pt", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Runs(marker)))
    with pytest.raises(CxredgeError, match="cannot be read as weights"):
        read_state_dict(path)
    torch.jit.script(nn.Linear(2, 1)).save(path)
    with pytest.raises(CxredgeError, match="cannot be read as weights"):
        read_state_dict(path)
    assert not marker.exists()


def test_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    state = one_channel("resnet50").state_dict()
    torch.save(state, path)
    for network, cause in (("mobilenet_v2", "not mobilenet_v2"), ("densenet121", "is missing")):
        with pytest.raises(CxredgeError, match=cause):
            build_model(network, 0, path)


def test_another_scale_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"conv1.weight": torch.zeros(64, 1, 7, 7)}, path)
    require_input_scale(path, 0.5, 0.5)
    with pytest.raises(CxredgeError, match=r"not --mean 0\.449 --std 0\.226"):
        require_input_scale(path, 0.449, 0.226)
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    require_input_scale(path, 0.449, 0.226)
