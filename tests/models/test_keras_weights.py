"""Keras weight files: loading, rejected files, and equality with Keras."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
h5py: Any = pytest.importorskip("h5py", reason="needs the keras extra")

from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

from cxredge.errors import CxredgeError  # noqa: E402
from cxredge.models import build_model  # noqa: E402
from cxredge.models.keras_geometry import EndPaddedConv2d, match_keras_geometry  # noqa: E402
from cxredge.models.keras_names import RECIPES, keras_layer_names  # noqa: E402
from cxredge.models.nasnet_mobile import NasnetMobile  # noqa: E402
from cxredge.models.networks import geometry  # noqa: E402
from tests.keras_files import (  # noqa: E402
    KerasLayers,
    fill_by_formula,
    formula_images,
    scrambled,
    to_keras,
    write_legacy_h5,
)

pytestmark = pytest.mark.train


def filled(network: str) -> nn.Module:
    """Return a backbone with the geometry of Keras and weights by formula."""
    backbone = build_model(network, 0).eval().backbone
    match_keras_geometry(backbone, network)
    fill_by_formula(backbone)
    return backbone


@cache
def unchanged(network: str) -> nn.Module:
    """Return such a backbone, made once; a test must not change it."""
    return filled(network)


def nasnet_layers() -> KerasLayers:
    """Return the weights of NASNetMobile in the layout of Keras; a test may replace some."""
    return to_keras(unchanged("nasnet_mobile"), "nasnet_mobile")


def written(path: Path, network: str) -> nn.Module:
    """Write the weights of such a backbone; the biases of its residual stream are zero."""
    source = unchanged(network)
    layers = to_keras(source, network)
    if network == "resnet50_v2":
        for name, weights in layers.items():
            if name.endswith(("_0_conv", "_3_conv")):
                weights["bias"] = np.zeros(weights["kernel"].shape[-1], np.float32)
    write_legacy_h5(path, layers)
    return source


def with_biases(layers: KerasLayers) -> KerasLayers:
    """Add the biases that ResNet50V2 has in its residual stream in Keras."""
    for name, weights in layers.items():
        if name.endswith(("_0_conv", "_3_conv")):
            channels = weights["kernel"].shape[-1]
            weights["bias"] = (scrambled(name, (channels,)) - 0.5).astype(np.float32)
    return layers


def assert_same_state(left: nn.Module, right: nn.Module) -> None:
    for (name, a), b in zip(left.state_dict().items(), right.state_dict().values(), strict=True):
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("network", RECIPES)
def test_written_weights_are_read_back(tmp_path: Path, network: str) -> None:
    source = written(tmp_path / "w.h5", network)
    model = build_model(network, 5, tmp_path / "w.h5")
    assert_same_state(source, model.backbone)
    assert not model.head.weight.any()


# How a file is written does not depend on the network.
@pytest.mark.parametrize(
    ("network", "suffix"),
    [*((network, ".safetensors") for network in RECIPES), ("mobilenet_v1", ".pth")],
)
def test_a_saved_state_dict_restores_the_geometry_of_keras(
    tmp_path: Path, network: str, suffix: str
) -> None:
    written(tmp_path / "w.h5", network)
    model = build_model(network, 3, tmp_path / "w.h5").eval()
    nn.init.normal_(model.head.weight)
    images = formula_images(2, 64, 50)
    expected = model(images)
    own = network != "nasnet_mobile"
    for name, part, classes in (("run", model, 3), ("backbone", model.backbone, 0)):
        path = tmp_path / f"{name}{suffix}"
        state = {key: value.contiguous() for key, value in part.state_dict().items()}
        save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
        again = build_model(network, classes, path).eval()
        assert geometry(again) == ("keras" if own else "library")
        torch.testing.assert_close(again.backbone(images), model.backbone(images))
    assert torch.equal(build_model(network, 3, tmp_path / f"run{suffix}").eval()(images), expected)
    other = build_model(network, 3).eval()
    other.load_state_dict(model.state_dict(), strict=False)
    assert own != torch.allclose(other(images), expected, atol=1e-3), "the geometry matters"


def test_unsupported_networks_are_rejected_with_the_supported_ones(tmp_path: Path) -> None:
    (tmp_path / "w.h5").touch()
    with pytest.raises(CxredgeError, match=r"for nasnet_mobile, mobilenet_v1, resnet50_v2, not"):
        build_model("vgg19", 4, tmp_path / "w.h5")


def test_a_top_is_ignored(tmp_path: Path) -> None:
    layers = nasnet_layers()
    layers["predictions"] = {"kernel": np.ones((1056, 1000), np.float32)}
    path = write_legacy_h5(tmp_path / "w.h5", layers)
    assert_same_state(unchanged("nasnet_mobile"), build_model("nasnet_mobile", 7, path).backbone)


@pytest.mark.parametrize(("below", "chunk"), [("model_weights", 0), ("", 100)])
def test_whole_models_and_long_name_lists(tmp_path: Path, below: str, chunk: int) -> None:
    source, layers = unchanged("nasnet_mobile"), nasnet_layers()
    path = write_legacy_h5(tmp_path / "w.h5", layers, below=below, chunk=chunk)
    assert_same_state(source, build_model("nasnet_mobile", 0, path).backbone)


def test_every_separable_layer_has_two_modules() -> None:
    names = list(keras_layer_names(NasnetMobile(), "nasnet_mobile").values())
    separable = [name for name in names if name.startswith("separable") and "_bn_" not in name]
    assert all(separable.count(name) == 2 for name in separable)
    others = [name for name in names if name not in separable]
    assert len(others) == len(set(others))


def test_residual_biases_are_moved_into_the_means(tmp_path: Path) -> None:
    """timm's network with biases returns the same as with moved means."""
    source = filled("resnet50_v2")
    layers = with_biases(to_keras(source, "resnet50_v2"))
    path = write_legacy_h5(tmp_path / "w.h5", layers)
    for module_path, layer in keras_layer_names(source, "resnet50_v2").items():
        if layer.endswith(("_0_conv", "_3_conv")):
            convolution: Any = source.get_submodule(module_path)
            convolution.bias = nn.Parameter(torch.from_numpy(layers[layer]["bias"]))
    model = build_model("resnet50_v2", 0, path).eval()
    images = formula_images(1, 65, 48)
    with torch.no_grad():
        torch.testing.assert_close(model(images), source(images), rtol=1e-4, atol=1e-4)


def test_geometry_keeps_names_and_is_idempotent() -> None:
    model = build_model("mobilenet_v1", 0).backbone
    names = list(model.state_dict())
    match_keras_geometry(model, "mobilenet_v1")
    match_keras_geometry(model, "mobilenet_v1")
    assert list(model.state_dict()) == ["keras_geometry", *names]
    assert sum(isinstance(module, EndPaddedConv2d) for module in model.modules()) == 5


@pytest.mark.parametrize("content", [b"PK\x03\x04 no weights", b"\x89HDF\r\n\x1a\n cut off", b""])
def test_not_hdf5(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.h5"
    path.write_bytes(content)
    with pytest.raises(
        CxredgeError, match=r"w\.h5 (is not an HDF5 file|cannot be read as weights)"
    ):
        build_model("nasnet_mobile", 4, path)
    with pytest.raises(CxredgeError, match="does not exist"):
        build_model("nasnet_mobile", 4, tmp_path / "none.h5")


def test_hdf5_of_another_layout(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_group("layers")
    with pytest.raises(CxredgeError, match=r"no attribute 'layer_names'.*legacy layout"):
        build_model("nasnet_mobile", 0, tmp_path / "w.h5")


def test_missing_layer(tmp_path: Path) -> None:
    layers = nasnet_layers()
    del layers["normal_conv_1_12"]
    path = write_legacy_h5(tmp_path / "w.h5", layers)
    with pytest.raises(CxredgeError, match=r"'normal_conv_1_12'.*missing.*closest"):
        build_model("nasnet_mobile", 0, path)


def test_extra_layer(tmp_path: Path) -> None:
    layers = nasnet_layers()
    layers["normal_conv_1_13"] = layers["normal_conv_1_12"]
    path = write_legacy_h5(tmp_path / "w.h5", layers)
    with pytest.raises(CxredgeError, match=r"1 layers that .* 'normal_conv_1_13'"):
        build_model("nasnet_mobile", 0, path)


def test_missing_weight_shape_and_type(tmp_path: Path) -> None:
    layers = nasnet_layers()
    layers["stem_bn1"]["gamma"] = np.ones(31, np.float32)
    path = write_legacy_h5(tmp_path / "shape.h5", layers)
    with pytest.raises(CxredgeError, match=r"stem_bn1.*shape \(31,\).*expected.*\(32,\)"):
        build_model("nasnet_mobile", 0, path)
    layers["stem_bn1"]["gamma"] = np.ones(32, np.int32)
    path = write_legacy_h5(tmp_path / "type.h5", layers)
    with pytest.raises(CxredgeError, match=r"int32.*expected floating point"):
        build_model("nasnet_mobile", 0, path)
    del layers["stem_bn1"]["gamma"]
    path = write_legacy_h5(tmp_path / "weight.h5", layers)
    with pytest.raises(CxredgeError, match=r"has the weights .*'beta'.*expected gamma"):
        build_model("nasnet_mobile", 0, path)


def test_wrong_network(tmp_path: Path) -> None:
    written(tmp_path / "w.h5", "mobilenet_v1")
    with pytest.raises(CxredgeError, match="weights of mobilenet_v1; expected nasnet_mobile"):
        build_model("nasnet_mobile", 0, tmp_path / "w.h5")
    with pytest.raises(CxredgeError, match=r"NasnetMobile.*not part of mobilenet_v1"):
        keras_layer_names(NasnetMobile(), "mobilenet_v1")


def test_links_to_other_files_are_rejected(tmp_path: Path) -> None:
    path = write_legacy_h5(tmp_path / "w.h5", nasnet_layers())
    with h5py.File(path, "a") as file:
        del file["stem_conv1/stem_conv1/kernel:0"]
        file["stem_conv1/stem_conv1/kernel:0"] = h5py.ExternalLink("other.h5", "/kernel")
    with pytest.raises(CxredgeError, match="ExternalLink at 'kernel:0'"):
        build_model("nasnet_mobile", 0, path)


def keras_model(network: str, height: int, width: int) -> Any:
    """Return a Keras network with pooled features and random weights of every kind."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    pytest.importorskip("jax")
    keras: Any = pytest.importorskip("keras")
    name = {
        "nasnet_mobile": "NASNetMobile",
        "mobilenet_v1": "MobileNet",
        "resnet50_v2": "ResNet50V2",
    }[network]
    build_keras = getattr(keras.applications, name)
    model = build_keras(
        weights=None, include_top=False, pooling="avg", input_shape=(height, width, 3)
    )
    random = np.random.default_rng(7)
    for layer in model.layers:
        layer.set_weights([random_weight(random, weight) for weight in layer.weights])
    return model


def random_weight(random: np.random.Generator, weight: Any) -> Any:
    if weight.name == "gamma":
        return random.uniform(0.6, 1.0, weight.shape)
    if weight.name == "moving_variance":
        return random.uniform(0.5, 1.5, weight.shape)
    if len(weight.shape) == 1:
        return random.normal(0, 0.2, weight.shape)
    depthwise = weight.shape[-1] == 1
    fan_in = np.prod(weight.shape[:2] if depthwise else weight.shape[:-1])
    return random.normal(0, fan_in**-0.5, weight.shape)


# 131 x 97 has both odd and even sizes at every stride.
@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(224, 224), (131, 97)])
@pytest.mark.parametrize("network", RECIPES)
def test_features_equal_those_of_keras(
    tmp_path: Path, network: str, height: int, width: int
) -> None:
    reference = keras_model(network, height, width)
    reference.save(tmp_path / "w.h5")
    model = build_model(network, 0, tmp_path / "w.h5").eval()
    images = formula_images(2, height, width)
    expected = np.asarray(reference(images.permute(0, 2, 3, 1).numpy(), training=False))
    with torch.no_grad():
        features = model(images).numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-4)
