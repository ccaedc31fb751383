"""Weights in the layout of TorchXRayVision: one grey channel, scaled to [-1024, 1024]."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from cxredge.errors import CxredgeError
from cxredge.models.weights import read_state_dict

_MEAN = _STD = 0.5
"""Scaling of the input for which the converted weights are exact."""

_SCALE = 1024.0
_EPSILON = 1e-5
"""``eps`` of torch's batch norms, which both libraries keep."""
_STEMS = {
    "densenet121": ("features.conv0", "features.norm0"),
    "resnet50": ("conv1", "bn1"),
}


def is_xrayvision(state: Mapping[str, Tensor]) -> bool:
    """Return whether the first convolution has one input channel, as in TorchXRayVision."""
    stems = (f"{prefix}{stem}.weight" for stem, _ in _STEMS.values() for prefix in ("", "model."))
    return any(state[n].ndim == 4 and state[n].shape[1] == 1 for n in stems if n in state)


def require_input_scale(weights: Path, mean: float, std: float) -> None:
    """Check that images are scaled as the weights expect.

    Raises:
        CxredgeError: The weights are TorchXRayVision's, and mean or deviation is not 0.5.
    """
    if (mean, std) == (_MEAN, _STD) or weights.suffix in (".h5", ".hdf5"):
        return
    if is_xrayvision(read_state_dict(weights)):
        raise CxredgeError(
            f"{weights} holds weights of TorchXRayVision, which expect --mean {_MEAN} --std "
            f"{_STD}, not --mean {mean:g} --std {std:g}.",
            "Leave out --mean and --std.",
        )


def from_xrayvision(state: Mapping[str, Tensor], network: str) -> dict[str, Tensor]:
    """Convert weights for one channel in [-1024, 1024] to three equal channels in [-1, 1].

    The kernels are divided by 3, once per channel. The factor 1024 goes into the first batch norm,
    because kernels 1024 times as large would hardly change in training. The padding of zeros is the
    mean grey value 0.5 in both scalings, so that the border is exact too.

    Args:
        state: Tensors by name; a prefix ``model.`` and operating points (``op_threshs``) are
            dropped.
        network: Name in the zoo.

    Raises:
        CxredgeError: The network has no weights in TorchXRayVision.
    """
    if network not in _STEMS:
        raise CxredgeError(
            "The weights have the layout of TorchXRayVision (one grey channel), which has "
            f"{' and '.join(_STEMS)} only, not {network}.",
            "Use the --model that the file was made for.",
        )
    named = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    named.pop("op_threshs", None)
    stem, norm = _STEMS[network]
    try:
        kernels = named[f"{stem}.weight"]
        gain, mean, variance = (
            named[f"{norm}.{part}"].double() for part in ("weight", "running_mean", "running_var")
        )
    except KeyError as error:
        raise CxredgeError(
            f"The weights have the layout of TorchXRayVision, but not of its {network}: "
            f"{error.args[0]!r} is missing.",
            "Check --model and --weights.",
        ) from None
    # y = gain (1024 c - mean) / sqrt(variance + eps), for c, the convolution in [-1, 1].
    scaled = gain * ((variance + _EPSILON * _SCALE**2) / (variance + _EPSILON)).sqrt()
    return named | {
        f"{stem}.weight": kernels.expand(-1, 3, -1, -1) / 3,
        f"{norm}.weight": scaled.to(kernels.dtype),
        f"{norm}.running_mean": (mean / _SCALE).to(kernels.dtype),
        f"{norm}.running_var": (variance / _SCALE**2).to(kernels.dtype),
    }
