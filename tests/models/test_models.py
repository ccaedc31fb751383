"""The zoo's table compared with the networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import nn  # noqa: E402

from cxredge.errors import CxredgeError  # noqa: E402
from cxredge.models import build_model  # noqa: E402
from cxredge.models.batch_norm import restore_statistics  # noqa: E402
from cxredge.models.freeze import freeze_blocks, train_mode  # noqa: E402
from cxredge.models.networks import Classifier  # noqa: E402
from cxredge.models.zoo import ZOO, Network, find_network, first_trained_block  # noqa: E402

pytestmark = pytest.mark.train


# What the paper's totals were decoded to: Keras' networks without a head.
KERAS_TOTALS = {
    "VGG19": 20_024_384,
    "InceptionV3": 21_802_784,
    "ResNet50": 23_587_712,
    "ResNet50V2": 23_564_800,
    "MobileNet": 3_228_864,
    "MobileNetV2": 2_257_984,
    "DenseNet121": 7_037_504,
    "NasNetMobile": 4_269_716,
}
# Table 5: millions of weights trained, and their share of all in percent.
TABLE_5 = {
    "vgg19": (4.72, 23.6),
    "inception_v3": (6.073, 27.9),
    "mobilenet_v1": (1.59, 49.4),
    "densenet121": (4.4, 62.5),
}


def smallest(name: str) -> int:
    """Return a small input size that the network accepts."""
    return 96 if name == "inception_v3" else 64


@dataclass(frozen=True)
class Built:
    """A network of the zoo, without classes and with four; tests freeze it as they need."""

    network: Network
    features: Classifier
    classifier: Classifier


@pytest.fixture(scope="module", params=ZOO)
def built(request: pytest.FixtureRequest) -> Built:
    """Every network, built once for all tests that only look at it."""
    name: str = request.param
    return Built(ZOO[name], build_model(name, 0), build_model(name, 4))


def test_the_zoo_has_all_networks_of_the_paper() -> None:
    given = {n.paper_name: n.keras_parameters for n in ZOO.values() if n.paper_name}
    assert given == KERAS_TOTALS


def test_freeze_points_of_the_paper_equal_table_5() -> None:
    assert {network.name for network in ZOO.values() if network.paper_freeze.in_paper} == set(
        TABLE_5
    )
    for name, (millions, percent) in TABLE_5.items():
        freeze, total = ZOO[name].paper_freeze, ZOO[name].keras_parameters
        trained = freeze.keras_trainable or freeze.trainable
        digits = len(str(millions).partition(".")[2])
        # The paper truncates some figures and rounds others.
        assert trained / 1e6 == pytest.approx(millions, abs=10**-digits)
        assert 100 * trained / total == pytest.approx(percent, abs=0.1)


def test_keras_inception_lacks_the_scales_of_batch_norm() -> None:
    network = ZOO["inception_v3"]
    model = build_model("inception_v3", 4)
    freeze_blocks(model, network, "paper")
    norms = [m for m in model.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    scales = sum(m.weight.numel() for m in norms)
    trained = sum(m.weight.numel() for m in norms if m.weight.requires_grad)
    assert network.parameters - scales == network.keras_parameters
    assert network.paper_freeze.trainable - trained == network.paper_freeze.keras_trainable


@pytest.mark.parametrize(("name", "biased"), [("resnet50", nn.Conv2d), ("resnet50_v2", nn.Conv2d)])
def test_keras_residual_networks_have_additional_biases(name: str, biased: type) -> None:
    backbone = build_model(name, 0).backbone
    convolutions = {n: m for n, m in backbone.named_modules() if isinstance(m, biased)}
    if name == "resnet50_v2":
        # Keras has them in the stem, the projections and the last convolution of each block.
        convolutions = {n: m for n, m in convolutions.items() if not n.endswith(("conv1", "conv2"))}
    biases = sum(m.out_channels for m in convolutions.values())
    assert ZOO[name].parameters + biases == ZOO[name].keras_parameters


def test_parameter_counts_equal_those_of_the_table(built: Built) -> None:
    state = built.features.state_dict()
    counted = [v.numel() for k, v in state.items() if not k.endswith("num_batches_tracked")]
    assert sum(counted) == built.network.parameters


def test_without_classes_the_network_returns_features(built: Built) -> None:
    images = torch.zeros(2, 3, *[smallest(built.network.name)] * 2)
    with torch.no_grad():
        assert built.features.eval()(images).shape == (2, built.network.features)
        assert built.classifier.eval()(images).shape == (2, 4)


def test_blocks_cover_the_backbone_once(built: Built) -> None:
    backbone = built.features.backbone
    modules = [module for block in built.network.blocks for module in block.modules]
    covered = [id(p) for m in modules for p in backbone.get_submodule(m).parameters()]
    assert sorted(covered) == sorted(id(p) for p in backbone.parameters())


def test_paper_freeze_trains_the_weights_of_the_table(built: Built) -> None:
    model, network = built.classifier, built.network
    assert freeze_blocks(model, network, "paper") == network.paper_freeze.trainable
    assert all(p.requires_grad for p in model.head.parameters())


def test_freeze_none_trains_all_blocks_and_freeze_head_trains_none(built: Built) -> None:
    model, network = built.classifier, built.network
    everything = sum(p.numel() for p in model.backbone.parameters())
    assert freeze_blocks(model, network, "none") == everything
    assert freeze_blocks(model, network, "head") == 0
    assert all(p.requires_grad for p in model.head.parameters())


def test_later_freeze_points_train_fewer_weights() -> None:
    model, network = build_model("mobilenet_v2", 4), ZOO["mobilenet_v2"]
    counts = [freeze_blocks(model, network, block.name) for block in network.blocks]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == len(counts)


def test_frozen_batch_norm_keeps_its_statistics() -> None:
    model, network = build_model("mobilenet_v1", 4), ZOO["mobilenet_v1"]
    freeze_blocks(model, network, "conv_dw_12")
    train_mode(model)
    before = {n: b.clone() for n, b in model.backbone.named_buffers() if "running" in n}
    model(torch.rand(4, 3, 64, 64))
    moved = {
        n for n, b in model.backbone.named_buffers() if "running" in n and (b != before[n]).any()
    }
    assert moved
    assert all(name.startswith(("blocks.4.0", "blocks.4.1")) for name in moved)


def test_unknown_names_are_rejected() -> None:
    with pytest.raises(CxredgeError, match="Did you mean 'mobilenet_v1'"):
        find_network("mobilenet-v1")
    with pytest.raises(CxredgeError, match="has no block 'conv_dw_14'"):
        first_trained_block(ZOO["mobilenet_v1"], "conv_dw_14")


def random_statistics(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.5)
            nn.init.normal_(module.running_mean, 0, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)


def test_restored_statistics_do_not_change_inference() -> None:
    torch.manual_seed(0)
    model = build_model("mobilenet_v1", 4)
    nn.init.normal_(model.head.weight)
    random_statistics(model)
    images = torch.rand(8, 3, 64, 64)
    with torch.no_grad():
        before = model.eval()(images)
        assert restore_statistics(model, [images[:4], images[4:]]) == 27
        after = model.eval()(images)
    assert torch.allclose(before, after, atol=1e-3 * before.abs().max())


def test_restored_statistics_equal_those_of_training_batches() -> None:
    torch.manual_seed(0)
    model = build_model("mobilenet_v1", 0)
    random_statistics(model)
    images = torch.rand(8, 3, 64, 64)
    with torch.no_grad():
        plain = (model.train()(images) - model.eval()(images)).abs().mean()
        model = build_model("mobilenet_v1", 0)
        torch.manual_seed(0)
        random_statistics(model)
        restore_statistics(model, [images])
        restored = (model.train()(images) - model.eval()(images)).abs().mean()
    assert restored < plain / 10


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_round_trip(suffix: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    source = build_model("mobilenet_v2", 4)
    path = tmp_path / f"weights{suffix}"
    state = {f"{k}": v.contiguous() for k, v in source.backbone.state_dict().items()}
    state["classifier.1.weight"] = torch.zeros(1000, 1280)
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = build_model("mobilenet_v2", 7, path)
    for name, value in source.backbone.state_dict().items():
        assert torch.equal(loaded.backbone.state_dict()[name], value)


def test_the_head_of_a_run_is_loaded_only_if_it_fits(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    source = build_model("mobilenet_v1", 4)
    nn.init.normal_(source.head.weight)
    path = tmp_path / "model.safetensors"
    save_file({k: v.contiguous() for k, v in source.state_dict().items()}, path)
    assert torch.equal(build_model("mobilenet_v1", 4, path).head.weight, source.head.weight)
    assert not build_model("mobilenet_v1", 3, path).head.weight.any()


def test_weights_that_do_not_fit_are_rejected(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"layer.weight": torch.zeros(2)}, path)
    with pytest.raises(CxredgeError, match="does not fit this network"):
        build_model("mobilenet_v1", 4, path)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.bin"])
def test_missing_or_damaged_weights_are_rejected(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"this is no weights file at all")
    with pytest.raises(CxredgeError):
        build_model("mobilenet_v1", 4, path)
    with pytest.raises(CxredgeError, match="does not exist"):
        build_model("mobilenet_v1", 4, tmp_path / "gone.safetensors")


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "evil.pth"
    torch.save({"weight": Payload()}, path)
    with pytest.raises(CxredgeError, match="pickled objects other than tensors"):
        build_model("mobilenet_v1", 4, path)
    assert not (tmp_path / "ran").exists()


def test_a_failed_download_suggests_a_weights_file(monkeypatch) -> None:
    import timm

    def offline(*_: object, **__: object) -> nn.Module:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("cxredge.models.backbones._reach_hub", lambda repository: None)
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(CxredgeError, match=r"Network is unreachable.*--weights FILE"):
        build_model("mobilenet_v1", 4, "imagenet")
