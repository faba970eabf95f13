"""`KLDivLoss`, the divergence between distributions."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from nn_tensor import Tensor, exp, sum
from nn_tensor.extend import check_bool, keyword_only, op

from nn_losses._binary_cross_entropy import clamped_log
from nn_losses._inputs import check_probabilities, read_prediction, read_target
from nn_losses._loss import Loss, Reduction
from nn_losses._sample_weight import weigh

__all__ = ["KLDivLoss"]


@op(precision="full")
def kl_divergence(xp: Any, x: Any, y: Any, /) -> Any:
    """Return ``y (log(y) - x)`` for log-probabilities `x`; 0 where `y` is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        losses = xp.asarray(xp.log(y))
        losses -= x
        losses *= y
    xp.copyto(losses, 0, where=(y == 0) & (x == x))
    return losses


@kl_divergence.gradient("x")
def _(g: Any, y: Any) -> Any:
    return -g * y


@kl_divergence.gradient("y")
def _(g: Any, x: Any, y: Any) -> Any:
    return g * (clamped_log(y) - x + 1)


@op(precision="full")
def kl_divergence_with_log_target(xp: Any, x: Any, z: Any, /) -> Any:
    """Return ``e**z (z - x)`` for log-probabilities `x` and `z`; 0 where `z` is -inf."""
    with np.errstate(invalid="ignore"):
        losses = xp.asarray(z - x)
        losses *= xp.exp(z)
    xp.copyto(losses, 0, where=(z == -np.inf) & (x == x))
    return losses


@kl_divergence_with_log_target.gradient("x")
def _(g: Any, z: Any) -> Any:
    return -g * exp(z)


@kl_divergence_with_log_target.gradient("z")
def _(g: Any, z: Any, out: Any) -> Any:
    return g * (out + exp(z))


class KLDivLoss(Loss):
    r"""The Kullback-Leibler divergence of the prediction from the target distribution.

    .. math:: \ell_i = y_i (\log y_i - x_i)

    with log-probabilities :math:`x` and probabilities :math:`y`; summed over a distribution this is
    :math:`\mathrm{KL}(y \| e^x)` (Kullback and Leibler, 1951; Bishop, *Pattern Recognition and
    Machine Learning*, 2006, equation 1.113), in nats. An event with :math:`y_i = 0` adds nothing.

    Prediction: log-probabilities (see `nn_tensor.log_softmax`), floating, of any shape. Target: a
    Tensor or array of exactly that shape, cast to the prediction's dtype; if it requires a
    gradient, it gets one. The result is a scalar, or has the prediction's shape for
    ``reduction='none'``; its dtype is the prediction's.

    Args:
        reduction: ``'batchmean'`` is the sum divided by the batch size (that of the first
            dimension), the divergence averaged over a batch of distributions; ``'mean'`` averages
            over all elements, as in PyTorch; or their ``'sum'``, or ``'none'``.
        log_target: whether the target holds log-probabilities too.

    Raises:
        ValueError: if `reduction` is not one of these; when called, if a probability is outside [0,
            1], the shapes or devices differ, or ``'batchmean'`` finds no batch dimension.
        TypeError: if `log_target` is not a boolean; when called, if the prediction is not floating
            or the target not numeric.

    >>> from nn_losses import KLDivLoss
    >>> from nn_tensor import Tensor, log
    >>> x = log(Tensor([[0.5, 0.5]]))
    >>> KLDivLoss("batchmean")(x, Tensor([[0.5, 0.5]])), KLDivLoss("sum")(x, [[1.0, 0.0]])
    (Tensor(0.), Tensor(0.6931472))
    """

    reductions: ClassVar[tuple[str, ...]] = (*Loss.reductions, "batchmean")

    @keyword_only
    def __init__(
        self, reduction: Reduction | Literal["batchmean"] = "mean", *, log_target: bool = False
    ) -> None:
        super().__init__(reduction)  # type: ignore[arg-type]
        self.log_target: bool = check_bool("log_target", log_target)

    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the loss of log-probabilities `prediction` against `target`, reduced."""
        prediction = read_prediction(prediction)
        expected = read_target(prediction, target)
        if self.reduction == "batchmean" and prediction.ndim == 0:
            raise ValueError(
                "prediction: reduction 'batchmean' needs a batch dimension, got shape ()"
            )
        if self.log_target:
            return self.reduce(kl_divergence_with_log_target(prediction, expected))
        check_probabilities("target", expected)
        return self.reduce(kl_divergence(prediction, expected))

    def reduce(self, losses: Tensor, count: float | None = None) -> Tensor:
        """Return the result of `Loss.reduce`, or the sum divided by the batch size."""
        if self.reduction != "batchmean":
            return super().reduce(losses, count)
        size: Any = len(losses)
        if self._sample_weight is not None:
            per_example = losses.size / max(size, 1)
            losses, weight = weigh(losses, self._sample_weight)
            size = float(weight.sum(dtype=np.float64)) / max(per_example, 1)
        self._note_count(size)
        return sum(losses) / size if size else sum(losses) + np.nan

    def sum_and_weight(
        self, prediction: Any, target: Any, *, sample_weight: Any = None
    ) -> tuple[Tensor, float]:
        """Return the sum of the losses, and the number that `reduction` divides it by."""
        total, weight = super().sum_and_weight(prediction, target, sample_weight=sample_weight)
        if self.reduction == "batchmean":
            weight = self.mean_and_weight(prediction, target, sample_weight=sample_weight)[1]
        return total, weight

    def extra_repr(self) -> str:
        """Return whether the target holds log-probabilities."""
        return "log_target=True" if self.log_target else ""
