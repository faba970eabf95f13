"""Cross-entropy between classes, from logits and from log-probabilities."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from nn_tensor import Tensor, exp, gather, log_softmax, max, mean, one_hot, softmax, sum, where
from nn_tensor.extend import array_module, device_of, op, put

from nn_losses._inputs import integer, number, read_classes, read_logits, weights
from nn_losses._loss import Loss

__all__ = ["CrossEntropy", "NLLLoss", "SoftmaxCrossEntropyLoss"]


def _shift(xp: Any, logits: Any) -> Any:
    """Return logits minus the largest of their row, so that no exponential overflows."""
    logits = xp.ascontiguousarray(logits)
    # in a row of -inf only, -inf - -inf would be NaN
    return logits - xp.maximum(xp.max(logits, axis=-1, keepdims=True), xp.finfo(logits.dtype).min)


def _row_sums(xp: Any, rows: Any) -> Any:
    return xp.einsum("ij->i", rows)[:, None]  # half the time of `sum`, and exact enough for rows


def _total(xp: Any, exponentials: Any) -> Any:
    """Return the sum of each row; it is 1 at least, or 0 for a row of -inf only, read as 1."""
    return xp.maximum(_row_sums(xp, exponentials), 1)


# The operations below compute on a matrix with a row for each example. That of indices leaves the
# division by the total to the backward, which multiplies each row anyway.


@op(keeps=("exponentials", "total"))
def cross_entropy_of_indices(
    xp: Any, logits: Any, classes: Any, /, scale: Any = None, smoothing: float = 0.0
) -> Any:
    """Return `scale` times minus the logarithm of the softmax of `logits` at `classes`.

    What a row with a scale of 0 holds does not matter. With `smoothing` that part of the target is
    spread over all classes.
    """
    exponentials = _shift(xp, logits)
    chosen = exponentials[xp.arange(len(classes)), classes]
    if smoothing:
        chosen = (1 - smoothing) * chosen + smoothing * xp.mean(exponentials, axis=-1)
    xp.exp(exponentials, out=exponentials)
    total = _total(xp, exponentials)
    losses = xp.log(total)[:, 0] - chosen
    if scale is not None:
        left_out = scale == 0
        losses[left_out] = exponentials[left_out] = 0
        total[left_out] = 1
        losses *= scale
    return losses, exponentials, total


@cross_entropy_of_indices.gradient("logits")
def _(g: Any, exponentials: Any, total: Any, classes: Any, scale: Any, smoothing: float) -> Any:
    return _softmax_minus_target(
        g if scale is None else g * scale, exponentials, total, classes, smoothing
    )


@cross_entropy_of_indices.kept
def _(logits: Any, scale: Any) -> Any:
    if scale is not None:
        logits = where((scale != 0)[:, None], logits, 0)
    # the gradient is the same for any shift, so none goes through it
    largest = max(logits, -1, True).data
    shift = array_module(largest).maximum(largest, np.finfo(largest.dtype).min)
    exponentials = exp(logits - shift)
    total = sum(exponentials, -1, True)
    return exponentials, where(total == 0, 1, total)


@op
def _softmax_minus_target(
    xp: Any, slope: Any, exponentials: Any, total: Any, classes: Any, /, smoothing: float
) -> Any:
    """Return `slope` times the difference of softmax and target, row by row."""
    rows = exponentials * (slope[:, None] / total)
    if smoothing:
        rows -= (slope * (smoothing / rows.shape[-1]))[:, None]
    rows[xp.arange(len(classes)), classes] -= slope * (1 - smoothing)
    return rows


@_softmax_minus_target.gradient("slope")
def _(g: Any, exponentials: Any, total: Any, classes: Any, smoothing: float) -> Any:
    chosen = gather(g, classes[:, None], 1)[:, 0]
    return sum(g * exponentials / total, -1) - (1 - smoothing) * chosen - smoothing * mean(g, -1)


@_softmax_minus_target.gradient("exponentials")
def _(g: Any, slope: Any, total: Any) -> Any:
    return g * (slope[:, None] / total)


@_softmax_minus_target.gradient("total")
def _(g: Any, slope: Any, exponentials: Any, total: Any) -> Any:
    return g * exponentials * (-slope[:, None] / (total * total))


@op(keeps=("error",))
def cross_entropy_of_probabilities(xp: Any, logits: Any, target: Any, /) -> Any:
    """Return minus the sum of `target` times the logarithm of the softmax of `logits`."""
    error = _shift(xp, logits)
    with np.errstate(invalid="ignore"):
        chosen = xp.einsum("ij,ij->i", error, target)
        if xp.isnan(chosen).any():
            # an impossible class that does not occur counts nothing, although 0 times -inf is NaN
            chosen = xp.sum(xp.where(target == 0, 0, error * target), axis=-1)
    xp.exp(error, out=error)
    total = _total(xp, error)
    weight = _row_sums(xp, target)
    losses = (weight * xp.log(total))[:, 0] - chosen
    error *= weight / total
    error -= target
    return losses, error


@cross_entropy_of_probabilities.gradient("logits")
def _(g: Any, error: Any) -> Any:
    return g[:, None] * error


@cross_entropy_of_probabilities.gradient("target")
def _(g: Any, logits: Any) -> Any:
    return -g[:, None] * log_softmax(logits)


@cross_entropy_of_probabilities.kept
def _(logits: Any, target: Any) -> Any:
    return (softmax(logits) * sum(target, -1, True) - target,)


def _rows(scores: Tensor) -> Tensor:
    """Return `scores` as a matrix with a row for each example, and precise enough to sum up."""
    rows = scores if scores.ndim == 2 else scores.reshape(-1, scores.shape[-1])
    return rows.astype(np.float32) if rows.dtype.itemsize < 4 else rows


class CrossEntropy(Loss):
    r"""The cross-entropy between target probabilities and the softmax of the prediction's logits.

    .. math:: \ell_n = \sum_c y_{nc} \Bigl(\log \sum_j e^{x_{nj}} - x_{nc}\Bigr)

    with logits :math:`x` and target probabilities :math:`y`, of which one-hot is a case (Bishop,
    *Pattern Recognition and Machine Learning*, 2006, equations 4.104 and 4.108), in nats. The
    maximum of each row is subtracted before the exponential, so that logits of any size are exact.
    For indices of classes see `SoftmaxCrossEntropyLoss`.

    Prediction: logits of shape ``(..., C)``, floating. Target: a Tensor or array of exactly that
    shape with numbers in [0, 1], cast to the prediction's dtype; if it requires a gradient, it
    gets one. The result is a scalar, or has shape ``(...)`` for ``reduction='none'``; its dtype is
    the prediction's. A logit of -inf is a class that cannot occur.

    Args:
        reduction: ``'mean'`` over all examples, their ``'sum'``, or ``'none'``.

    Raises:
        ValueError: for another reduction; when called, if the shapes or devices differ or a
            probability is outside [0, 1].
        TypeError: when called, if the prediction is not floating or the target not numeric.

    >>> from nn_losses import CrossEntropy
    >>> from nn_tensor import Tensor
    >>> CrossEntropy()(Tensor([[0.0, 0.0]]), Tensor([[1.0, 0.0]]))
    Tensor(0.6931472)
    """

    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the loss of logits `prediction` against probabilities `target`, reduced."""
        logits = read_logits(prediction)
        expected, are_indices = read_classes(logits, target)
        if are_indices:
            raise ValueError(
                f"target: shape {expected.shape} differs from the prediction's {logits.shape}; for "
                "indices of classes use SoftmaxCrossEntropyLoss, or one_hot(target, "
                f"{logits.shape[-1]})"
            )
        losses = cross_entropy_of_probabilities(_rows(logits), _rows(expected))
        return self.reduce(losses.reshape(logits.shape[:-1])).astype(logits.dtype)


class _Examples(NamedTuple):
    """What indices of classes say: the class of each example, and how much it counts."""

    classes: Any
    scale: Any  # None if each counts 1
    number: float | None  # the sum of the scales


class _LossOfClasses(Loss):
    """What losses against classes share: weights of classes, and an index that is left out."""

    def __init__(
        self, reduction: str = "mean", *, weight: Any = None, ignore_index: int | None = None
    ) -> None:
        super().__init__(reduction)
        self.weight = None if weight is None else weights("weight", weight, (1,))
        self.ignore_index = None if ignore_index is None else integer("ignore_index", ignore_index)

    def _weight_for(self, scores: Tensor) -> Any:
        if self.weight is None:
            return None
        if len(self.weight) != scores.shape[-1]:
            raise ValueError(
                f"weight: has {len(self.weight)} entries, but the prediction {scores.shape[-1]} "
                f"classes (its shape is {scores.shape})"
            )
        return put(self.weight.astype(scores.dtype), device_of(scores.data))

    def _examples(self, target: Tensor, weight: Any, dtype: Any) -> _Examples:
        xp = target.xp
        classes = target.data.reshape(-1).astype(np.int64, copy=False)
        scale = None
        if self.ignore_index is not None and (left_out := classes == self.ignore_index).any():
            classes = xp.where(left_out, 0, classes)
            scale = (~left_out).astype(dtype)
        if weight is not None:
            scale = weight[classes] if scale is None else weight[classes] * scale
        count = None if scale is None else float(scale.sum(dtype=np.float64))
        return _Examples(classes, scale, count)

    def extra_repr(self) -> str:
        """Return the weights and the index that is left out."""
        parts = [
            "" if self.weight is None else f"weight={self.weight.tolist()}",
            "" if self.ignore_index is None else f"ignore_index={self.ignore_index}",
        ]
        return ", ".join(filter(None, parts))


class SoftmaxCrossEntropyLoss(_LossOfClasses):
    r"""The cross-entropy between target classes and the softmax of the prediction's logits.

    .. math:: \ell_n = -\sum_c w_c\, y_{nc} \log \frac{e^{x_{nc}}}{\sum_j e^{x_{nj}}}

    with logits :math:`x`, target probabilities :math:`y` and weights :math:`w` of the classes, 1
    unless given; for the index :math:`k` of a class :math:`y_{nc} = [c = k]` (Bishop, *Pattern
    Recognition and Machine Learning*, 2006, equations 4.104 and 4.108). The loss is in nats. The
    maximum of each row is subtracted before the exponential, so that logits of any size are exact.

    Prediction: logits of shape ``(..., C)``, floating. Target, a Tensor or array, by its shape:

    - ``(...)``: integer indices of classes, 0 to C - 1, or `ignore_index`;
    - ``(..., C)``: one-hot, or the probability of each class; cast to the prediction's dtype. A
      target that requires a gradient gets one.

    The result is a scalar, or has shape ``(...)`` for ``reduction='none'``; its dtype is the
    prediction's. A logit of -inf is a class that cannot occur: where it is the target, the loss
    is inf. NaN in a logit makes its example's loss NaN.

    Args:
        reduction: ``'mean'``, ``'sum'`` or ``'none'``. As in PyTorch, the mean over indices
            divides by the sum of the weights of the target classes, without examples that are left
            out, and the mean over probabilities by the number of examples.
        weight: C numbers, how much each class counts.
        ignore_index: examples with this index (of padding, for example) count nothing, whatever
            their logits: their loss and gradient are 0. By default every index must be a class.
        label_smoothing: the part of each target that is spread over all classes,
            :math:`y' = (1 - s)\, y + s / C` (Szegedy et al., *Rethinking the Inception
            Architecture for Computer Vision*, 2016, section 7).

    Raises:
        ValueError: for another reduction, a negative weight, or a `label_smoothing` outside [0, 1];
            when called, if the shapes do not fit, a probability is outside [0, 1], there are not C
            weights, probabilities come with an `ignore_index`, or prediction and target are on
            different devices.
        TypeError: for a setting of another type; when called, if the prediction or the indices
            have the wrong kind of dtype.
        IndexError: when called, if the index of a class is negative or not less than C.

    >>> from nn_losses import SoftmaxCrossEntropyLoss
    >>> from nn_tensor import Tensor
    >>> logits = Tensor([[0.0, 0.0], [1000.0, 0.0]], requires_grad=True)
    >>> loss = SoftmaxCrossEntropyLoss(reduction="sum")(logits, [1, 0])
    >>> loss.backward()
    >>> round(loss.item(), 4), logits.grad
    (0.6931, Tensor([[ 0.5, -0.5],
            [ 0. ,  0. ]]))
    >>> round(SoftmaxCrossEntropyLoss(ignore_index=-1)(logits, [1, -1]).item(), 4)
    0.6931
    """

    def __init__(
        self,
        reduction: str = "mean",
        *,
        weight: Any = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction, weight=weight, ignore_index=ignore_index)
        self.label_smoothing = number("label_smoothing", label_smoothing)
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(
                f"label_smoothing: expected a number between 0 and 1, got {label_smoothing!r}"
            )

    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the loss of logits `prediction` against classes `target`, reduced."""
        logits = read_logits(prediction)
        given, are_indices = read_classes(logits, target, self.ignore_index)
        rows = _rows(logits)
        weight = self._weight_for(rows)
        if are_indices:
            losses, count = self._of_indices(rows, given, weight)
        else:
            if self.ignore_index is not None:
                raise ValueError(
                    f"target: ignore_index={self.ignore_index} needs indices of classes, got "
                    f"probabilities of shape {given.shape}"
                )
            expected = self._smooth(_rows(given), weight)
            losses, count = cross_entropy_of_probabilities(rows, expected), None
        return self.reduce(losses.reshape(logits.shape[:-1]), count).astype(logits.dtype)

    def _of_indices(self, rows: Tensor, target: Tensor, weight: Any) -> tuple[Tensor, float | None]:
        classes, scale, count = self._examples(target, weight, rows.dtype)
        if weight is None or not self.label_smoothing:
            return (
                cross_entropy_of_indices(rows, classes, scale, self.label_smoothing),
                count,
            )
        expected = self._smooth(one_hot(Tensor(classes), rows.shape[-1], rows.dtype), weight)
        if self.ignore_index is not None:
            left_out = target.data.reshape(-1, 1) == self.ignore_index
            rows, expected = where(left_out, 0, rows), where(left_out, 0, expected)
        return cross_entropy_of_probabilities(rows, expected), count

    def _smooth(self, probabilities: Tensor, weight: Any) -> Tensor:
        if self.label_smoothing:
            spread = self.label_smoothing / probabilities.shape[-1]
            probabilities = probabilities * (1 - self.label_smoothing) + spread
        return probabilities if weight is None else probabilities * weight

    def extra_repr(self) -> str:
        """Return the settings that are not the default."""
        smoothing = f"label_smoothing={self.label_smoothing:g}" if self.label_smoothing else ""
        return ", ".join(filter(None, [super().extra_repr(), smoothing]))


class NLLLoss(_LossOfClasses):
    r"""Minus the log-probability that the prediction gives to the target class.

    .. math:: \ell_n = -w_{k_n} x_{n k_n}

    with log-probabilities :math:`x`, classes :math:`k` and weights :math:`w` of the classes, 1
    unless given (Bishop, *Pattern Recognition and Machine Learning*, 2006, equation 4.108), in
    nats. After `nn_tensor.log_softmax` it is `SoftmaxCrossEntropyLoss`, which is faster.

    Prediction: log-probabilities of shape ``(..., C)``, floating. Target: a Tensor or array of
    integer indices of classes, of shape ``(...)``. The result is a scalar, or has shape ``(...)``
    for ``reduction='none'``; its dtype is the prediction's.

    Args:
        reduction: ``'mean'``, ``'sum'`` or ``'none'``. The mean divides by the sum of the weights
            of the target classes, as in PyTorch.
        weight: C numbers, how much each class counts.
        ignore_index: examples with this index count nothing.

    Raises:
        ValueError: for another reduction or a negative weight; when called, if the shapes do not
            fit, there are not C weights, or prediction and target are on different devices.
        TypeError: for a setting of another type; when called, if the prediction or the indices
            have the wrong kind of dtype.
        IndexError: when called, if the index of a class is negative or not less than C.

    >>> from nn_losses import NLLLoss
    >>> from nn_tensor import Tensor
    >>> NLLLoss()(Tensor([[-0.5, -0.9], [-2.0, -0.1]]), [0, 1])
    Tensor(0.3)
    """

    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the loss of log-probabilities `prediction` against classes `target`, reduced."""
        scores = read_logits(prediction)
        given, are_indices = read_classes(scores, target, self.ignore_index)
        if not are_indices:
            raise ValueError(
                f"target: expected class indices of shape {scores.shape[:-1]}, got probabilities "
                f"of shape {given.shape}; use KLDivLoss or CrossEntropy"
            )
        rows = _rows(scores)
        classes, scale, count = self._examples(given, self._weight_for(rows), rows.dtype)
        losses = -gather(rows, classes[:, None], 1)[:, 0]
        if scale is not None:
            losses = where(scale == 0, 0, losses) * scale
        return self.reduce(losses.reshape(scores.shape[:-1]), count).astype(scores.dtype)
