"""Rounding of a layer's weights that minimises the change of the layer's output.

A layer is linear, so its squared error is a quadratic function of its weights, given by the second
moments of its inputs. Weights are first replaced by the least squares solution for the inputs that
the quantized layers before it produce, then rounded one input at a time; the weights that are not
rounded yet compensate for each rounding error (Frantar et al. 2022, "GPTQ", sections 3 and 4;
optimised rounding was introduced by Nagel et al. 2020, "Up or Down?"). No training is involved, and
the result is deterministic.

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
_MIN_SCALE = 1e-5
_SHRINK = np.linspace(0.5, 1.0, 26)


@dataclass(frozen=True)
class Moments:
    """First and second moments of a layer's inputs and target outputs.

    Attributes:
        mean_in: Mean of the inputs, float64 (G, D).
        mean_out: Mean of the target outputs, float64 (G, O).
        inputs: Covariance of the inputs, float64 (G, D, D).
        cross: Covariance of the target outputs with the inputs, float64 (G, O, D).
    """

    mean_in: Values
    mean_out: Values
    inputs: Values
    cross: Values


def min_max_scales(weights: Values) -> Values:
    """Return the smallest scale of each output at which no weight is clipped, float64 (G, O).

    Scales are positive. An output with negligible weights gets a fixed share of the layer's largest
    scale: runtimes store biases as int32 in units of the scale, and a scale near zero would
    overflow.

    Args:
        weights: float64 (G, O, D).
    """
    largest = np.abs(weights).max(axis=-1) / _LEVELS
    floored: Values = np.maximum(largest, max(_MIN_SCALE * largest.max(), 1e-12))
    return floored


def best_scales(weights: Values, importance: Values) -> Values:
    """Return the scale of each output with the least weighted squared error, at most min-max's.

    Args:
        weights: float64 (G, O, D).
        importance: Variance of each input, float64 (G, D), which weights the error of its weight.

    Returns:
        float64 (G, O), positive.
    """
    full = min_max_scales(weights)
    best, least = full, np.full(full.shape, np.inf)
    for share in _SHRINK:
        scales = np.maximum(full * share, _MIN_SCALE * full.max())
        error = round_nearest(weights, scales) - weights
        cost = (error**2 * importance[:, None]).sum(axis=-1)
        best = np.where(cost < least, scales, best)
        least = np.minimum(cost, least)
    return best


def round_nearest(weights: Values, scales: Values) -> Values:
    """Return weights rounded to the nearest of 255 levels, float64 (G, O, D).

    Args:
        weights: float64 (G, O, D).
        scales: float64 (G, O).
    """
    levels = np.clip(np.rint(weights / scales[..., None]), -_LEVELS, _LEVELS)
    snapped: Values = levels * scales[..., None]
    return snapped


def least_squares_weights(weights: Values, moments: Moments, pull: float) -> Values:
    """Return the ridge regression weights for the quantized inputs, float64 (G, O, D).

    Args:
        weights: Weights of the FP32 network, float64 (G, O, D), towards which the solution is
            regularised.
        moments: Moments of the layer's inputs and target outputs.
        pull: Strength of the regularisation, relative to the inputs' mean variance.
    """
    ridge = pull * _mean_variance(moments.inputs)
    system = moments.inputs + ridge * np.eye(moments.inputs.shape[-1])
    target = moments.cross + ridge * weights
    solved: Values = np.linalg.solve(system, target.swapaxes(1, 2)).swapaxes(1, 2)
    return solved


def round_compensated(weights: Values, scales: Values, inputs: Values) -> Values:
    """Return weights on the grid of ``scales``, rounded so that the output changes least.

    Args:
        weights: float64 (G, O, D).
        scales: float64 (G, O).
        inputs: Covariance of the inputs, float64 (G, D, D).
    """
    # Inputs of large variance come first, while most other weights can still compensate.
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

    It is the inverse of the Cholesky factor of the system in reversed order. Inverting the system
    first could lose positive definiteness by rounding.
    """
    lower = np.linalg.cholesky(system[:, ::-1, ::-1])
    factor: Values = np.linalg.inv(lower[:, ::-1, ::-1])
    return factor


def _round_in_order(columns: Values, scales: Values, factor: Values) -> Values:
    """Round column by column, in blocks so that most of the work is matrix products."""
    left, done = columns.copy(), np.empty_like(columns)
    count = columns.shape[-1]
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        errors = np.empty_like(columns[..., start:stop])
        for j in range(start, stop):
            done[..., j] = round_nearest(left[..., j : j + 1], scales)[..., 0]
            error = (left[..., j] - done[..., j]) / factor[:, None, j, j]
            left[..., j + 1 : stop] -= error[..., None] * factor[:, None, j, j + 1 : stop]
            errors[..., j - start] = error
        left[..., stop:] -= errors @ factor[:, start:stop, stop:]
    return done


def _mean_variance(inputs: Values) -> Values:
    variance = np.diagonal(inputs, axis1=1, axis2=2).mean(axis=-1)
    floored: Values = np.maximum(variance, 1e-10)[:, None, None]
    return floored
