"""Regression losses: `MSELoss`, `L1Loss` and `HuberLoss`."""

from __future__ import annotations

from typing import Any

from nn_tensor import Tensor, abs, clip, square
from nn_tensor.extend import check_number, keyword_only, op

from nn_losses._inputs import read_prediction, read_target
from nn_losses._loss import Loss, Reduction

__all__ = ["HuberLoss", "L1Loss", "MSELoss"]


def _difference(prediction: Any, target: Any) -> Tensor:
    prediction = read_prediction(prediction)
    return prediction - read_target(prediction, target)


class MSELoss(Loss):
    r"""The mean squared error.

    .. math:: \ell_i = (x_i - y_i)^2

    (Bishop, *Pattern Recognition and Machine Learning*, 2006, equation 1.2, without its factor
    1/2.)

    Prediction: floating, of any shape. Target: a Tensor or array of exactly that shape (nothing is
    broadcast), cast to the prediction's dtype; if it requires a gradient, it gets one. The result
    is a scalar, or has the prediction's shape for ``reduction='none'``; its dtype is the
    prediction's.

    Args:
        reduction: ``'mean'`` over all elements, their ``'sum'``, or ``'none'``.

    Raises:
        ValueError: if `reduction` is not one of these; when called, if the shapes or the devices
            differ.
        TypeError: when called, if the prediction is not floating or the target not numeric.

    >>> from nn_losses import MSELoss
    >>> from nn_tensor import Tensor
    >>> MSELoss()(Tensor([1.0, 2.0]), Tensor([1.0, 4.0]))
    Tensor(2.)
    """

    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the squared error of `prediction` against `target`, reduced."""
        return self.reduce(square(_difference(prediction, target)))


class L1Loss(Loss):
    r"""The mean absolute error.

    .. math:: \ell_i = |x_i - y_i|

    (Bishop, *Pattern Recognition and Machine Learning*, 2006, equation 1.91 with q = 1.) The median
    of the targets minimizes it, the mean minimizes `MSELoss`. The derivative is taken as 0 where
    both are equal.

    Prediction: floating, of any shape. Target: a Tensor or array of exactly that shape (nothing is
    broadcast), cast to the prediction's dtype; if it requires a gradient, it gets one. The result
    is a scalar, or has the prediction's shape for ``reduction='none'``; its dtype is the
    prediction's.

    Args:
        reduction: ``'mean'`` over all elements, their ``'sum'``, or ``'none'``.

    Raises:
        ValueError: if `reduction` is not one of these; when called, if the shapes or the devices
            differ.
        TypeError: when called, if the prediction is not floating or the target not numeric.

    >>> from nn_losses import L1Loss
    >>> from nn_tensor import Tensor
    >>> L1Loss()(Tensor([1.0, 2.0]), Tensor([1.0, 5.0]))
    Tensor(1.5)
    """

    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the absolute error of `prediction` against `target`, reduced."""
        return self.reduce(abs(_difference(prediction, target)))


@op(precision="full")
def huber(xp: Any, x: Any, /, delta: float) -> Any:
    """Return half the square of `x` up to `delta`, and beyond the line that continues it."""
    size = xp.abs(x)
    inside = xp.minimum(size, delta)
    return inside * (size - inside / 2)


@huber.gradient("x")
def _(g: Any, x: Any, delta: float) -> Any:
    return g * clip(x, -delta, delta)


class HuberLoss(Loss):
    r"""The Huber loss: quadratic for errors up to `delta`, linear beyond.

    .. math:: \ell_i = \begin{cases} \frac{1}{2} d_i^2 & \text{if } |d_i| \le \delta \\
        \delta (|d_i| - \frac{1}{2} \delta) & \text{otherwise} \end{cases}, \quad d_i = x_i - y_i

    (Huber, 1964; Hastie, Tibshirani and Friedman, *The Elements of Statistical Learning*, 2009,
    equation 10.23, halved.) The gradient with respect to each prediction is bounded by
    :math:`\delta`, so that outliers have limited influence.

    Prediction: floating, of any shape. Target: a Tensor or array of exactly that shape (nothing is
    broadcast), cast to the prediction's dtype; if it requires a gradient, it gets one. The result
    is a scalar, or has the prediction's shape for ``reduction='none'``; its dtype is the
    prediction's.

    Args:
        reduction: ``'mean'`` over all elements, their ``'sum'``, or ``'none'``.
        delta: the absolute error up to which the loss is quadratic.

    Raises:
        ValueError: if `delta` is not a finite number above 0, or `reduction` is not one of these;
            when called, if the shapes or the devices differ.
        TypeError: if `delta` is not a number; when called, if the prediction is not floating or
            the target not numeric.

    >>> from nn_losses import HuberLoss
    >>> from nn_tensor import Tensor
    >>> HuberLoss("none", delta=1.0)(Tensor([0.5, 10.0]), Tensor([0.0, 0.0]))
    Tensor([0.125, 9.5  ])
    """

    @keyword_only
    def __init__(self, reduction: Reduction = "mean", *, delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta: float = check_number("delta", delta, above=0)

    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the Huber loss of `prediction` against `target`, reduced."""
        return self.reduce(huber(_difference(prediction, target), self.delta))

    def extra_repr(self) -> str:
        """Return delta."""
        return f"delta={self.delta:g}"
