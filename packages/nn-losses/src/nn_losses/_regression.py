"""Losses between numbers."""

from __future__ import annotations

from typing import Any

from nn_tensor import Tensor, square

from nn_losses._inputs import read_like, read_prediction
from nn_losses._loss import Loss

__all__ = ["MSELoss"]


class MSELoss(Loss):
    r"""The squared difference between prediction and target, averaged over all elements.

    .. math:: \ell_i = (x_i - y_i)^2

    (Bishop, *Pattern Recognition and Machine Learning*, 2006, equation 1.2, without its factor
    1/2.) The unit is the square of the prediction's.

    Prediction: floating, of any shape. Target: a Tensor or array of exactly that shape (nothing is
    broadcast), cast to the prediction's dtype; if it requires a gradient, it gets one. The result
    is a scalar, or has the prediction's shape for ``reduction='none'``.

    Args:
        reduction: ``'mean'`` over all elements, their ``'sum'``, or ``'none'``.

    Raises:
        ValueError: for another reduction; when called, if the shapes or the devices differ.
        TypeError: when called, if the prediction is not floating or the target not numeric.

    >>> from nn_losses import MSELoss
    >>> from nn_tensor import Tensor
    >>> MSELoss()(Tensor([1.0, 2.0]), Tensor([1.0, 4.0]))
    Tensor(2.)
    """

    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the squared difference of `prediction` and `target`, reduced."""
        prediction = read_prediction(prediction)
        return self.reduce(square(prediction - read_like(prediction, target)))
