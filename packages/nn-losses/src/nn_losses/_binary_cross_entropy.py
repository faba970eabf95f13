"""Binary classification losses: `BCELoss` of probabilities and `BCEWithLogitsLoss` of logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor, maximum, sigmoid, softplus
from nn_tensor.extend import device_of, external, keyword_only, op, put

from nn_losses._inputs import (
    check_probabilities,
    read_prediction,
    read_target,
    read_weights,
    widen,
)
from nn_losses._loss import Loss, Reduction

__all__ = ["BCELoss", "BCEWithLogitsLoss", "clamped_log"]

MIN_LOG = -100.0  # PyTorch's, as the 1e-12 below


def _min_divisor(dtype: np.dtype[Any]) -> float:
    """Return the value that a divisor is clamped to; its inverse must be finite."""
    return max(1e-12, float(np.finfo(dtype).tiny))


@op(precision="full")
def clamped_log(xp: Any, x: Any, /) -> Any:
    """Return the logarithm of the probability `x`, at least -100."""
    with np.errstate(divide="ignore"):
        return xp.maximum(xp.log(x), MIN_LOG)


@clamped_log.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g / maximum(x, _min_divisor(x.dtype))


@op(precision="full")
def binary_cross_entropy(xp: Any, p: Any, y: Any, /) -> Any:
    """Return ``-(y log(p) + (1 - y) log(1 - p))`` with logarithms clamped to -100."""
    with np.errstate(divide="ignore"):
        log_negative = xp.asarray(xp.log1p(-p))
        log_positive = xp.asarray(xp.log(p))
    xp.maximum(log_negative, MIN_LOG, out=log_negative)
    xp.maximum(log_positive, MIN_LOG, out=log_positive)
    log_positive -= log_negative
    log_positive *= y
    log_positive += log_negative
    return xp.negative(log_positive, out=log_positive)


@binary_cross_entropy.gradient("p")
def _(g: Any, p: Any, y: Any) -> Any:
    return g * (p - y) / maximum(p * (1 - p), _min_divisor(p.dtype))


@binary_cross_entropy.gradient("y")
def _(g: Any, p: Any) -> Any:
    return g * (clamped_log(1 - p) - clamped_log(p))


class BCELoss(Loss):
    r"""The binary cross-entropy of predicted probabilities and targets.

    .. math:: \ell_i = -\bigl(y_i \log x_i + (1 - y_i) \log(1 - x_i)\bigr)

    (Bishop, *Pattern Recognition and Machine Learning*, 2006, equation 4.90), in nats. Each
    logarithm is clamped to at least -100, and the denominator :math:`x_i (1 - x_i)` of the
    derivative to at least 1e-12, as in PyTorch: a probability of exactly 0 or 1 has a finite loss
    and a finite gradient. `BCEWithLogitsLoss`, from logits, is more precise near 0 and 1.

    Prediction: probabilities, floating, of any shape. Target: a Tensor or array of exactly that
    shape with values in [0, 1], cast to the prediction's dtype; if it requires a gradient, it
    gets one. The result is a scalar, or has the prediction's shape for ``reduction='none'``; its
    dtype is the prediction's.

    Args:
        reduction: ``'mean'`` over all elements, their ``'sum'``, or ``'none'``.

    Raises:
        ValueError: if `reduction` is not one of these; when called, if prediction or target is
            outside [0, 1], or their shapes or devices differ.
        TypeError: when called, if the prediction is not floating or the target not numeric.

    >>> from nn_losses import BCELoss
    >>> from nn_tensor import Tensor
    >>> BCELoss("none")(Tensor([0.5, 1.0, 0.0]), Tensor([1.0, 1.0, 1.0]))
    Tensor([  0.6931472,  -0.       , 100.       ])
    """

    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the loss of probabilities `prediction` against `target`, reduced."""
        prediction = read_prediction(prediction)
        expected = read_target(prediction, target)
        check_probabilities("prediction", prediction)
        check_probabilities("target", expected)
        return self.reduce(binary_cross_entropy(prediction, expected))


@op(precision="full")
def binary_cross_entropy_with_logits(xp: Any, x: Any, y: Any, /, pos_weight: Any = None) -> Any:
    """Return ``y softplus(-x) w + (1 - y) softplus(x)`` with ``w`` the `pos_weight`."""
    positive = y if pos_weight is None else y * pos_weight
    size = xp.asarray(xp.abs(x))
    losses = xp.asarray(xp.log1p(xp.exp(-size)))
    if pos_weight is not None:
        losses *= 1 - y + positive
    # softplus(x) is max(x, 0) + log(1 + e^-|x|): the first term counts where the sign is wrong
    wrong = xp.where(x > 0, 1 - y, positive)
    right = (wrong == 0) & (size == np.inf)  # adds nothing, although 0 times inf is NaN
    with np.errstate(invalid="ignore"):
        size *= wrong
    xp.copyto(size, 0, where=right)
    losses += size
    return losses


@binary_cross_entropy_with_logits.gradient("x")
def _(g: Any, x: Any, y: Any, pos_weight: Any) -> Any:
    x = widen(x)  # the rounding of a probability would be an error of a small difference
    if pos_weight is None:
        return g * (sigmoid(x) - y)
    positive = y * pos_weight
    return g * (sigmoid(x) * (1 - y + positive) - positive)


@binary_cross_entropy_with_logits.gradient("y")
def _(g: Any, x: Any, pos_weight: Any) -> Any:
    return g * (-x if pos_weight is None else softplus(-x) * pos_weight - softplus(x))


class BCEWithLogitsLoss(Loss):
    r"""The binary cross-entropy of logits and targets.

    .. math:: \ell_i = -\bigl(w\, y_i \log \sigma(x_i) + (1 - y_i) \log(1 - \sigma(x_i))\bigr)

    with the logistic function :math:`\sigma` and the weight :math:`w` of the positive class
    (Bishop, *Pattern Recognition and Machine Learning*, 2006, equations 4.87 and 4.90), in nats. It
    is computed without overflow and without a rounded probability, so that logits of any size have
    exact losses.

    Prediction: logits, floating, of any shape. Target: a Tensor or array of exactly that shape with
    values in [0, 1], cast to the prediction's dtype; if it requires a gradient, it gets one. The
    result is a scalar, or has the prediction's shape for ``reduction='none'``; its dtype is the
    prediction's.

    Args:
        reduction: ``'mean'`` over all elements, their ``'sum'``, or ``'none'``.
        pos_weight: the weight of positive targets, a number or an array that broadcasts to the
            prediction's shape (one for each column, for example): number of negative examples /
            number of positive ones balances both.

    Raises:
        ValueError: if a weight is negative or not finite, or `reduction` is not one of these; when
            called, if a target is outside [0, 1], `pos_weight` does not broadcast, or the shapes or
            devices differ.
        TypeError: if a weight is not a number; when called, if the prediction is not floating or
            the target not numeric.

    >>> from nn_losses import BCEWithLogitsLoss
    >>> from nn_tensor import Tensor
    >>> losses = BCEWithLogitsLoss("none")(Tensor([0.0, 1e4, -1e4]), [1, 1, 1])
    >>> [round(loss, 4) for loss in losses.tolist()]
    [0.6931, 0.0, 10000.0]
    """

    @keyword_only
    def __init__(self, reduction: Reduction = "mean", *, pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.pos_weight: np.ndarray[Any, Any] | None = (
            None if pos_weight is None else read_weights("pos_weight", pos_weight)
        )

    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the loss of logits `prediction` against `target`, reduced."""
        logits = read_prediction(prediction)
        expected = read_target(logits, target)
        check_probabilities("target", expected)
        weight = self._weight_for(logits)
        return self.reduce(binary_cross_entropy_with_logits(logits, expected, weight))

    def _weight_for(self, logits: Tensor) -> Any:
        """Return `pos_weight` in the dtype and on the device of `logits`, if it broadcasts."""
        if self.pos_weight is None:
            return None
        shape = self.pos_weight.shape
        sizes = zip(reversed(shape), reversed(logits.shape), strict=False)
        if len(shape) > logits.ndim or any(n not in (1, m) for n, m in sizes):
            raise ValueError(
                f"pos_weight: shape {shape} does not broadcast to the prediction's {logits.shape}"
            )
        return external(self._weight_as, logits.dtype, device_of(logits))

    def _weight_as(self, dtype: Any, device: Any) -> Any:
        return put(np.asarray(self.pos_weight).astype(dtype), device)

    def extra_repr(self) -> str:
        """Return the weight."""
        return "" if self.pos_weight is None else f"pos_weight={self.pos_weight.tolist()}"
