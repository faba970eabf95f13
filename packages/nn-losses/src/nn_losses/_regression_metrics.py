"""Metrics of regression: MAE, RMSE and the coefficient of determination."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nn_tensor.extend import device_scope

from nn_losses._inputs import read_prediction, read_target
from nn_losses._running import RunningMetric, Sums, ratio
from nn_losses._sample_weight import host_weight

__all__ = ["MAE", "R2", "RMSE"]


def _read(prediction: Any, target: Any) -> tuple[Any, Any]:
    """Return prediction and target as host arrays of float64."""
    with device_scope(prediction):
        values = read_prediction(prediction)
        expected = read_target(values, target)
        if values.size == 0:
            raise ValueError(f"prediction: shape {values.shape} has no examples")
        return values.numpy().astype(np.float64), expected.numpy().astype(np.float64)


def _weighted(errors: Any, sample_weight: Any) -> Sums:
    if sample_weight is None:
        return {"sum": errors.sum(), "weight": errors.size}
    weight = host_weight(sample_weight, errors.shape)
    return {"sum": (errors * weight).sum(), "weight": weight.sum()}


class _RegressionMetric(RunningMetric):
    def __call__(self, prediction: Any, target: Any, *, sample_weight: Any = None) -> float:
        """Return the metric of `prediction` against `target`."""
        return float(self._value(self._of_batch(prediction, target, sample_weight)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class MAE(_RegressionMetric):
    r"""The mean absolute error.

    .. math:: \frac{1}{N} \sum_i |x_i - y_i|

    Prediction: floating, of any shape. Target: of exactly that shape. All elements count.

    Returns:
        When called, a Python float.

    Raises:
        ValueError: when called, if the shapes differ or there are no examples.
        TypeError: when called, if the prediction is not floating or the target not numeric.

    >>> from nn_losses import MAE
    >>> metric = MAE()
    >>> metric([1.0, 2.0], [1.0, 5.0])
    1.5
    >>> metric.update([1.0, 2.0], [1.0, 5.0])
    >>> metric.update([0.0], [0.0])
    >>> metric.result()
    1.0
    """

    def _of_batch(self, prediction: Any, target: Any, sample_weight: Any) -> Sums:
        values, expected = _read(prediction, target)
        return _weighted(np.abs(values - expected), sample_weight)

    def _value(self, sums: Sums) -> float:
        return ratio(sums["sum"], sums["weight"])


class RMSE(_RegressionMetric):
    r"""The root of the mean squared error.

    .. math:: \sqrt{\frac{1}{N} \sum_i (x_i - y_i)^2}

    Prediction: floating, of any shape. Target: of exactly that shape. All elements count.

    Returns:
        When called, a Python float.

    Raises:
        ValueError: when called, if the shapes differ or there are no examples.
        TypeError: when called, if the prediction is not floating or the target not numeric.

    >>> from nn_losses import RMSE
    >>> RMSE()([1.0, 2.0], [4.0, 6.0])
    3.5355339059327378
    """

    def _of_batch(self, prediction: Any, target: Any, sample_weight: Any) -> Sums:
        values, expected = _read(prediction, target)
        return _weighted(np.square(values - expected), sample_weight)

    def _value(self, sums: Sums) -> float:
        return math.sqrt(ratio(sums["sum"], sums["weight"]))


class R2(_RegressionMetric):
    r"""The coefficient of determination.

    .. math:: 1 - \frac{\sum_i (x_i - y_i)^2}{\sum_i (y_i - \bar y)^2}

    As in scikit-learn it is the mean over the columns of shape ``(N, K)``, and where the target
    is constant it is 1 for an exact prediction and 0 otherwise. (Draper and Smith, *Applied
    Regression Analysis*, 1998, section 1.3.)

    Prediction: floating, of shape ``(N,)`` or ``(N, K)``. Target: of exactly that shape.

    Returns:
        When called, a Python float, at most 1.

    Raises:
        ValueError: when called, if the shapes differ, or there are no examples.
        TypeError: when called, if the prediction is not floating or the target not numeric.

    >>> from nn_losses import R2
    >>> R2()([1.0, 2.0, 4.0], [1.0, 2.0, 3.0])
    0.5
    """

    def _of_batch(self, prediction: Any, target: Any, sample_weight: Any) -> Sums:
        values, expected = _read(prediction, target)
        if values.ndim not in (1, 2):
            raise ValueError(f"prediction: expected shape (N,) or (N, K), got {values.shape}")
        rows, expected = (a.reshape(len(a), -1) for a in (values, expected))
        first = expected[0]
        if sample_weight is not None:
            return self._of_weighted(rows, expected, host_weight(sample_weight, (len(rows),)))
        mean = first + (expected - first).mean(0)  # of a constant target it is exactly this one
        return {
            "residual": np.square(rows - expected).sum(0),
            "weight": len(rows),
            "mean": mean,
            "squares": np.square(expected - mean).sum(0),
        }

    def _of_weighted(self, rows: Any, expected: Any, weight: Any) -> Sums:
        present = weight > 0
        rows, expected, weight = rows[present], expected[present], weight[present, None]
        total = weight.sum()
        first = expected[:1].sum(0)
        mean = first + (weight * (expected - first)).sum(0) / (total or 1)
        return {
            "residual": (weight * np.square(rows - expected)).sum(0),
            "weight": total,
            "mean": mean,
            "squares": (weight * np.square(expected - mean)).sum(0),
        }

    def _combined(self, sums: Sums, new: Sums) -> Sums:
        # Chan, Golub and LeVeque, 1983: the sum of squares of all would cancel.
        weight = sums["weight"] + new["weight"]
        difference = new["mean"] - sums["mean"]
        share = new["weight"] / weight if weight else 0.0
        return {
            "residual": sums["residual"] + new["residual"],
            "weight": weight,
            "mean": sums["mean"] + difference * share,
            "squares": sums["squares"]
            + new["squares"]
            + np.square(difference) * (sums["weight"] * share),
        }

    def _value(self, sums: Sums) -> float:
        residual, squares = sums["residual"], sums["squares"]
        if not sums["weight"]:
            return math.nan
        exact = np.where(residual == 0, 1.0, 0.0)
        ratio = np.divide(residual, squares, out=np.zeros_like(residual), where=squares != 0)
        return float(np.where(squares == 0, exact, 1 - ratio).mean())
