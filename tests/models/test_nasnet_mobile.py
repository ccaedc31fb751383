"""NASNetMobile compared with values from Keras, and tests of its parts."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from cxredge.models.nasnet_mobile import FactorizedReduction, NasnetMobile, pad_for_stride_2  # noqa: E402
from tests.keras_files import fill_by_formula, formula_images  # noqa: E402

pytestmark = pytest.mark.train

BLOCKS = [
    "stem_conv",
    "stem_reduction_1",
    "stem_reduction_2",
    *(f"normal_{number}" for number in range(4)),
    "reduction_4",
    *(f"normal_{number}" for number in range(5, 9)),
    "reduction_8",
    *(f"normal_{number}" for number in range(9, 13)),
]
# What keras.applications.NASNetMobile gives for the same weights and the same 67 x 50 image.
KERAS_FEATURES = {
    9: 0.202408,
    165: 0.428661,
    185: 0.117889,
    349: 0.174226,
    357: 0.062319,
    525: 0.432275,
    533: 1.045035,
    697: 0.611859,
    713: 0.411085,
    869: 0.851424,
    884: 0.220867,
    1052: 0.484059,
}
KERAS_MEAN = 0.2306798


def test_the_parameter_count_equals_that_of_keras() -> None:
    state = NasnetMobile().state_dict()
    counts = [value.numel() for name, value in state.items() if "num_batches" not in name]
    assert sum(counts) == 4_269_716


def test_blocks_are_in_order() -> None:
    assert [name for name, _ in NasnetMobile().named_children()] == BLOCKS


def test_features_equal_those_of_keras() -> None:
    model = NasnetMobile().eval()
    fill_by_formula(model)
    with torch.no_grad():
        features = model(formula_images(1, 67, 50))[0]
    for index, value in KERAS_FEATURES.items():
        assert float(features[index]) == pytest.approx(value, abs=1e-4)
    assert float(features.mean()) == pytest.approx(KERAS_MEAN, abs=1e-5)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (32, 33), (131, 97)])
def test_shapes(height: int, width: int) -> None:
    images = torch.zeros(2, 3, height, width)
    with torch.no_grad():
        assert NasnetMobile().eval()(images).shape == (2, 1056)


def test_batch_norms_have_the_constants_of_keras() -> None:
    norms = [
        module for module in NasnetMobile().modules() if isinstance(module, torch.nn.BatchNorm2d)
    ]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 3e-4)}


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_padding_for_stride_2(size: int, kernel: int) -> None:
    padded = pad_for_stride_2(torch.ones(1, 1, size, size), kernel)[0, 0, kernel // 2]
    before = kernel // 2 - (size % 2 == 0)
    assert padded.tolist() == [0] * before + [1] * size + [0] * (kernel // 2)


@pytest.mark.parametrize("size", [4, 5])
def test_factorized_reduction_reads_even_and_shifted_pixels(size: int) -> None:
    reduction = FactorizedReduction(1, 2).eval()
    with torch.no_grad():
        reduction.conv_1.weight.fill_(1)
        reduction.conv_2.weight.fill_(1)
        pixels = torch.arange(1.0, size * size + 1).reshape(1, 1, size, size)
        even, shifted = reduction(pixels)[0] * (1 + 1e-3) ** 0.5
    padded = torch.nn.functional.pad(pixels, (0, 1, 0, 1))[0, 0]
    torch.testing.assert_close(even, pixels[0, 0, ::2, ::2])
    torch.testing.assert_close(shifted, padded[1::2, 1::2])


def test_every_weight_has_a_gradient() -> None:
    model = NasnetMobile().train()
    model(formula_images(2, 64, 64)).square().sum().backward()
    silent = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert silent == []
