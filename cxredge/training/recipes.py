"""Recipes: presets of the training options, which single options override."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

from cxredge.artifacts.records import Count, NonNegative, Share
from cxredge.vocabulary import Augmentation, BalanceBy, Geometry, RecipeName


@dataclass(frozen=True)
class Recipe:
    """Settings that a recipe decides; see :class:`cxredge.artifacts.run_config.TrainConfig`."""

    freeze: str
    epochs: Count
    patience: Count
    average_decay: Share
    augmentation: Augmentation
    geometry: Geometry
    balance_by: BalanceBy
    mixup: NonNegative
    cutmix: NonNegative


RECIPES: Mapping[RecipeName, Recipe] = MappingProxyType(
    {
        # The paper's block freezing, with its number of epochs.
        RecipeName.PAPER: Recipe(
            freeze="paper",
            epochs=20,
            patience=10,
            average_decay=0.9,
            augmentation=Augmentation.LIGHT,
            geometry=Geometry.LIGHT,
            balance_by=BalanceBy.CLASS,
            mixup=0.0,
            cutmix=0.0,
        ),
        # Chosen on validation images; see docs/training.md.
        RecipeName.ROBUST: Recipe(
            freeze="paper",
            epochs=30,
            patience=30,
            average_decay=0.9,
            augmentation=Augmentation.SOURCES,
            geometry=Geometry.STRONG,
            balance_by=BalanceBy.SOURCE,
            mixup=0.2,
            cutmix=1.0,
        ),
    }
)
"""The settings of each recipe."""


def override(recipe: Recipe, *options: object) -> Recipe:
    """Return a recipe with the settings that groups of options state, which are not None."""
    stated = {
        field.name: value
        for field in fields(recipe)
        for group in options
        if (value := getattr(group, field.name, None)) is not None
    }
    return replace(recipe, **stated)
