"""Which way each weight of a layer is rounded, so that the layer's output changes least.

A layer is linear: its error is quadratic in its weights, and the second moments of its inputs say
all about it. Weights are first moved to the least squares answer for the inputs that the quantized
layers before it really deliver, then rounded one input at a time, each rounding error being made
up for by the weights not rounded yet (Frantar et al. 2022, "GPTQ", sections 3 and 4; the idea of
optimising the rounding is Nagel et al. 2020, "Up or Down?"). Nothing is trained, and the answer is
the same every time.

Shapes: G groups of the convolution, O outputs and D inputs (channels x kernel) of each group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

_LEVELS = 127
_DAMPING = 0.01
_BLOCK = 128
_LEAST_SCALE = 1e-5
_SHRINK = np.linspace(0.5, 1.0, 26)


@dataclass(frozen=True)
class Moments:
    """First and second moments of what a layer gets and of what it should give.

    Attributes:
        mean_in: float64 (G, D).
        mean_out: float64 (G, O).
        inputs: Covariance of the inputs, float64 (G, D, D).
        cross: Covariance of the wanted outputs with the inputs, float64 (G, O, D).
    """

    mean_in: Values
    mean_out: Values
    inputs: Values
    cross: Values


def min_max_scales(weights: Values) -> Values:
    """Return the scale of each output at which no weight is clipped, float64 (G, O), positive.

    An output without weights to speak of gets a share of the layer's largest scale: runtimes keep
    biases as int32 in units of the scale, which a scale near zero would overflow.

    Args:
        weights: float64 (G, O, D).
    """
    largest = np.abs(weights).max(axis=-1) / _LEVELS
    floored: Values = np.maximum(largest, max(_LEAST_SCALE * largest.max(), 1e-12))
    return floored


def best_scales(weights: Values, importance: Values) -> Values:
    """Return the scale of each output: min-max's, or a smaller one that costs less.

    Args:
        weights: float64 (G, O, D).
        importance: Variance of each input, float64 (G, D): what an error of its weight costs.

    Returns:
        float64 (G, O), positive.
    """
    full = min_max_scales(weights)
    best, least = full, np.full(full.shape, np.inf)
    for share in _SHRINK:
        scales = np.maximum(full * share, _LEAST_SCALE * full.max())
        error = nearest(weights, scales) - weights
        cost = (error**2 * importance[:, None]).sum(axis=-1)
        best = np.where(cost < least, scales, best)
        least = np.minimum(cost, least)
    return best


def nearest(weights: Values, scales: Values) -> Values:
    """Return weights rounded to the nearest of 255 levels, float64 (G, O, D).

    Args:
        weights: float64 (G, O, D).
        scales: float64 (G, O).
    """
    levels = np.clip(np.rint(weights / scales[..., None]), -_LEVELS, _LEVELS)
    snapped: Values = levels * scales[..., None]
    return snapped


def fitted(weights: Values, moments: Moments, pull: float) -> Values:
    """Return the least squares weights for the inputs as they are, float64 (G, O, D).

    Args:
        weights: Weights of the FP32 network, float64 (G, O, D), which few images cannot outvote.
        moments: What the layer gets and should give.
        pull: How strongly it stays at ``weights``, as a share of the inputs' mean variance.
    """
    ridge = pull * _mean_variance(moments.inputs)
    system = moments.inputs + ridge * np.eye(moments.inputs.shape[-1])
    wanted = moments.cross + ridge * weights
    solved: Values = np.linalg.solve(system, wanted.swapaxes(1, 2)).swapaxes(1, 2)
    return solved


def rounded(weights: Values, scales: Values, inputs: Values) -> Values:
    """Return weights on the grid of ``scales`` that change the output least.

    Args:
        weights: float64 (G, O, D).
        scales: float64 (G, O).
        inputs: Covariance of the inputs, float64 (G, D, D).
    """
    # The inputs that matter most come first, while there are most others to make up for them.
    order = np.argsort(-np.diagonal(inputs, axis1=1, axis2=2), axis=-1)
    groups = np.arange(len(inputs))[:, None]
    sorted_inputs = inputs[groups[..., None], order[:, :, None], order[:, None, :]]
    damped = sorted_inputs + _DAMPING * _mean_variance(inputs) * np.eye(inputs.shape[-1])
    columns = np.take_along_axis(weights, order[:, None, :], axis=2)
    done = _round_in_order(columns, scales, _inverse_factor(damped))
    result = np.empty_like(done)
    np.put_along_axis(result, order[:, None, :], done, axis=2)
    return result


def _inverse_factor(system: Values) -> Values:
    """Return the upper triangular U with transpose(U) U = inverse(system), float64 (G, D, D).

    The Cholesky factor of the system with its order reversed is inverted: forming the inverse of
    the system first would lose definiteness to rounding.
    """
    lower = np.linalg.cholesky(system[:, ::-1, ::-1])
    factor: Values = np.linalg.inv(lower[:, ::-1, ::-1])
    return factor


def _round_in_order(columns: Values, scales: Values, factor: Values) -> Values:
    """Round column after column; blocks keep most of the work in matrix products."""
    left, done = columns.copy(), np.empty_like(columns)
    count = columns.shape[-1]
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        errors = np.empty_like(columns[..., start:stop])
        for j in range(start, stop):
            done[..., j] = nearest(left[..., j : j + 1], scales)[..., 0]
            error = (left[..., j] - done[..., j]) / factor[:, None, j, j]
            left[..., j + 1 : stop] -= error[..., None] * factor[:, None, j, j + 1 : stop]
            errors[..., j - start] = error
        left[..., stop:] -= errors @ factor[:, start:stop, stop:]
    return done


def _mean_variance(inputs: Values) -> Values:
    variance = np.diagonal(inputs, axis1=1, axis2=2).mean(axis=-1)
    floored: Values = np.maximum(variance, 1e-10)[:, None, None]
    return floored
