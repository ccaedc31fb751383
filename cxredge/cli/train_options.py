"""The options of ``cxredge train``, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxredge.errors import CxredgeError
from cxredge.training.recipes import RECIPES
from cxredge.vocabulary import (
    Augmentation,
    BalanceBy,
    FeatureCache,
    Geometry,
    RecipeName,
)

if TYPE_CHECKING:
    from cxredge.models.zoo import Network
    from cxredge.training.config import SearchConfig


def _preset(name: str) -> str:
    """Return the default of an option that the recipe decides, for its help."""
    values = (f"{recipe.value}: {_shown(getattr(RECIPES[recipe], name))}" for recipe in RecipeName)
    return f"[default: {', '.join(values)}]"


def _shown(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


@dataclass(frozen=True)
class StartOptions:
    """The network to start from, and the part of it that is trained."""

    model: Annotated[str, typer.Option("--model", help="Network, as in 'cxredge models'.")] = (
        "mobilenet_v1"
    )
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            help="imagenet (downloads), none, a .safetensors or .pth file (TorchXRayVision's too), "
            "or Keras' .h5.",
        ),
    ] = "imagenet"
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            "--teacher",
            help="Run whose answers are learned beside the labels; repeatable, for their mean. "
            "[default: none]",
        ),
    ] = None
    teacher_share: Annotated[
        float | None,
        typer.Option(
            "--teacher-share",
            min=0,
            max=1,
            help="Share of the teachers in what is learned. [default: 0.5]",
        ),
    ] = None
    freeze: Annotated[
        str | None,
        typer.Option(
            "--freeze",
            help="paper, none, head, search (tries block boundaries), or the first block to train "
            f"(cxredge models). {_preset('freeze')}",
        ),
    ] = None

    def teachers(self) -> dict[str, Any]:
        """Return the settings of the teachers.

        Raises:
            CxredgeError: There is a share, but no teacher.
        """
        if self.teacher:
            share = 0.5 if self.teacher_share is None else self.teacher_share
            return {"teachers": tuple(map(str, self.teacher)), "teacher_share": share}
        if self.teacher_share is not None:
            raise CxredgeError(
                "--teacher-share is used with --teacher, which is missing.",
                "Add --teacher RUN, or leave out --teacher-share.",
            )
        return {}


@dataclass(frozen=True)
class FitOptions:
    """Optimisation and regularisation."""

    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help=f"Maximum number of epochs. {_preset('epochs')}"),
    ] = None
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            min=1,
            help=f"Number of epochs without improvement before stopping. {_preset('patience')}",
        ),
    ] = None
    batch_size: Annotated[
        int,
        typer.Option("--batch-size", min=1, help="Number of images per step, over all devices."),
    ] = 32
    learning_rate: Annotated[
        float,
        typer.Option(
            "--learning-rate",
            min=1e-7,
            max=1,
            help="Peak learning rate of the head, for any number of devices.",
        ),
    ] = 1e-3
    backbone_rate: Annotated[
        float,
        typer.Option(
            "--backbone-rate",
            min=0,
            max=10,
            help="Learning rate of the backbone, relative to the head.",
        ),
    ] = 0.3
    weight_decay: Annotated[
        float, typer.Option("--weight-decay", min=0, max=10, help="AdamW's weight decay.")
    ] = 0.05
    label_smoothing: Annotated[
        float,
        typer.Option(
            "--label-smoothing",
            min=0,
            max=0.9,
            help="Fraction of the target spread over all classes.",
        ),
    ] = 0.1
    dropout: Annotated[
        float,
        typer.Option(
            "--dropout", min=0, max=0.9, help="Fraction of features dropped before the head."
        ),
    ] = 0.2
    average_decay: Annotated[
        float | None,
        typer.Option(
            "--average-decay",
            min=0,
            max=0.9999,
            help="Decay of the moving average of the weights; 0 for none. "
            f"{_preset('average_decay')}",
        ),
    ] = None
    balance: Annotated[
        bool, typer.Option("--balance/--no-balance", help="Weight all classes equally.")
    ] = True
    balance_by: Annotated[
        BalanceBy | None,
        typer.Option(
            "--balance-by",
            help="With --balance: class, or source, which also weights the sources within a class "
            f"equally. {_preset('balance_by')}",
        ),
    ] = None


@dataclass(frozen=True)
class FeatureOptions:
    """Augmented views of the images, and the cache of frozen blocks' features."""

    augmentation: Annotated[
        Augmentation | None,
        typer.Option(
            "--augment",
            help="Augmentation of training images: light varies geometry and exposure; sources "
            "also varies what archives do to files, for classes that come from one source each. "
            f"{_preset('augmentation')}",
        ),
    ] = None
    geometry: Annotated[
        Geometry | None,
        typer.Option(
            "--geometry",
            help="Range of augmented rotation, shift, zoom and exposure: light as between two "
            f"X-rays of one chest, strong twice as much. {_preset('geometry')}",
        ),
    ] = None
    mixup: Annotated[
        float | None,
        typer.Option(
            "--mixup",
            min=0,
            max=10,
            help="Average images in pairs, in shares drawn from Beta(a, a) with this a; 0 for "
            f"none. {_preset('mixup')}",
        ),
    ] = None
    cutmix: Annotated[
        float | None,
        typer.Option(
            "--cutmix",
            min=0,
            max=10,
            help="Paste a rectangle of another image, with its area drawn from Beta(a, a); 0 for "
            f"none. {_preset('cutmix')}",
        ),
    ] = None
    views: Annotated[
        int | None,
        typer.Option(
            "--views",
            min=0,
            help="Number of augmented views per image, used in turn; 0 draws a new one every "
            "epoch, which excludes --features. [default: 8 with --features, else 0]",
        ),
    ] = None
    features: Annotated[
        FeatureCache,
        typer.Option(
            "--features", help="Number format of cached features of frozen blocks, computed once."
        ),
    ] = FeatureCache.OFF
    cache_limit_gb: Annotated[
        float,
        typer.Option(
            "--cache-limit-gb", min=0, help="Maximum disk space for cached features, in GB."
        ),
    ] = 20.0

    @property
    def resolved_views(self) -> int:
        """The number of views, by default as many as the cache needs."""
        if self.views is not None:
            return self.views
        return 0 if self.features is FeatureCache.OFF else 8


@dataclass(frozen=True)
class SearchOptions:
    """The search for the freeze point."""

    search_points: Annotated[
        int,
        typer.Option(
            "--search-points",
            min=0,
            help="Number of block boundaries to try, in addition to head and none.",
        ),
    ] = 6
    search_epochs: Annotated[
        int, typer.Option("--search-epochs", min=1, help="Maximum number of epochs per trial.")
    ] = 10

    def search(self, freeze: str) -> SearchConfig | None:
        """Return the settings of the search; None unless one is requested."""
        from cxredge.training.config import SEARCH, SearchConfig

        return SearchConfig(self.search_points, self.search_epochs) if freeze == SEARCH else None


@dataclass(frozen=True)
class InputOptions:
    """Size and scaling of the network's input."""

    input_size: Annotated[
        int | None,
        typer.Option(
            "--input-size",
            min=32,
            max=4096,
            help="Height and width in pixels. [default: the model's]",
        ),
    ] = None
    mean: Annotated[
        float | None,
        typer.Option(
            "--mean",
            min=0,
            max=1,
            help="Mean grey value in [0, 1] that the weights expect. [default: the hub's value for "
            "imagenet, else 0.5]",
        ),
    ] = None
    std: Annotated[
        float | None,
        typer.Option(
            "--std",
            min=0.01,
            max=1,
            help="Standard deviation of grey values that the weights expect. [default: the hub's "
            "value for imagenet, else 0.5]",
        ),
    ] = None

    def resolved(self, network: Network, weights: str) -> dict[str, Any]:
        """Return size, mean and deviation, by default those of the network and its weights."""
        from_hub = weights == "imagenet"
        mean, std = (network.hub_mean, network.hub_std) if from_hub else (0.5, 0.5)
        return {
            "input_size": self.input_size or network.input_size,
            "mean": mean if self.mean is None else self.mean,
            "std": std if self.std is None else self.std,
        }
