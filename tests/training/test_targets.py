"""Targets of the loss: smoothed labels, and weights by class and source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from cxredge.data.loading import LabelledImages  # noqa: E402
from cxredge.training.config import TrainConfig  # noqa: E402
from cxredge.training.mixing import Mixture, draw_mixture  # noqa: E402
from cxredge.training.targets import Targets, build_targets  # noqa: E402
from cxredge.vocabulary import BalanceBy  # noqa: E402

pytestmark = pytest.mark.train

IMAGES = LabelledImages(
    pixels=np.zeros((6, 8, 8), np.uint8),
    labels=np.array([0, 0, 0, 0, 1, 1]),
    patients=list("uvwxyz"),
    sources=["a", "a", "a", "b", "a", "a"],
)


def total(targets: Targets, *rows: int) -> float:
    return float(targets.weights[list(rows)].sum())


def test_labels_are_smoothed(settings: TrainConfig) -> None:
    targets = build_targets(IMAGES, replace(settings, label_smoothing=0.2))
    assert targets.probabilities[0].tolist() == pytest.approx([0.9, 0.1])
    assert targets.probabilities.sum(dim=1).tolist() == pytest.approx([1.0] * 6)


def test_classes_have_equal_weights_and_sources_if_asked_for(settings: TrainConfig) -> None:
    equal = build_targets(IMAGES, replace(settings, balance=False))
    assert equal.weights.tolist() == [1.0] * 6
    classes = build_targets(IMAGES, settings)
    assert total(classes, 0, 1, 2, 3) == pytest.approx(total(classes, 4, 5)) == 3.0
    assert classes.weights[0] == classes.weights[3]
    sources = build_targets(IMAGES, replace(settings, balance_by=BalanceBy.SOURCE))
    assert total(sources, 0, 1, 2, 3) == pytest.approx(total(sources, 4, 5)) == 3.0
    assert total(sources, 0, 1, 2) == pytest.approx(total(sources, 3)) == 1.5


def test_mixup_averages_images_targets_and_weights(settings: TrainConfig) -> None:
    images = torch.rand(6, 3, 8, 8)
    partners = torch.tensor([5, 4, 3, 2, 1, 0])
    mixture = Mixture(partners, 0.75)
    mixed = mixture.images(images, images[partners])
    torch.testing.assert_close(mixed, images * 0.75 + images[partners] * 0.25)
    targets = build_targets(IMAGES, replace(settings, label_smoothing=0))
    found = mixture.targets(targets)
    assert found.probabilities[0].tolist() == pytest.approx([0.75, 0.25])
    expected = 0.75 * targets.weights[0] + 0.25 * targets.weights[5]
    assert float(found.weights[0]) == pytest.approx(float(expected))


@pytest.mark.parametrize("corner", [(0.0, 0.0), (1.0, 1.0), (0.3, 0.8)])
def test_cutmix_pastes_a_rectangle_of_the_partners_share(corner: tuple[float, float]) -> None:
    own, partners = torch.zeros(2, 3, 20, 20), torch.ones(2, 3, 20, 20)
    mixed = Mixture(torch.tensor([1, 0]), 0.75, corner).images(own, partners)
    assert mixed.mean() == pytest.approx(0.25)
    rows, columns = mixed[0, 0].nonzero(as_tuple=True)
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == 10
    assert own.sum() == 0


def test_a_draw_depends_on_seed_epoch_and_step(settings: TrainConfig) -> None:
    assert draw_mixture(settings, 1, 0, 8) is None
    mixing = replace(settings, mixup=0.4, cutmix=1.0)
    kinds = set()
    for step in range(20):
        one, again = (draw_mixture(mixing, 1, step, 8) for _ in range(2))
        assert one is not None
        assert again is not None
        assert torch.equal(one.partners, again.partners)
        assert (one.share, one.corner) == (again.share, again.corner)
        assert 0 <= one.share <= 1
        assert sorted(one.partners.tolist()) == list(range(8))
        kinds.add(one.corner is None)
    assert kinds == {True, False}
    assert draw_mixture(replace(mixing, mixup=0), 1, 0, 8).corner is not None
    assert draw_mixture(replace(mixing, cutmix=0), 1, 0, 8).corner is None
