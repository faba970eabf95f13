"""`CrossEntropy` and `SoftmaxCrossEntropyLoss`: classification losses of logits."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from nn_tensor import (
    Tensor,
    exp,
    gather,
    log_softmax,
    max,
    maximum,
    mean,
    one_hot,
    softmax,
    sum,
    where,
)
from nn_tensor.extend import (
    RowKernel,
    accumulation_dtype,
    check_probability,
    kernel,
    keyword_only,
    op,
)

from nn_losses._class_loss import ClassLoss, as_examples, as_rows
from nn_losses._inputs import read_classes, read_logits
from nn_losses._loss import Loss, Reduction

__all__ = ["CrossEntropy", "SoftmaxCrossEntropyLoss"]


def _shift(xp: Any, logits: Any) -> Any:
    """Return logits minus the largest of their row, so that no exponential overflows."""
    logits = xp.ascontiguousarray(logits)
    # in a row of -inf only, -inf - -inf would be NaN
    return logits - xp.maximum(logits.max(axis=-1, keepdims=True), _lowest(logits.dtype))


@functools.cache
def _lowest(dtype: np.dtype[Any]) -> Any:
    return np.finfo(dtype).min


def _row_sums(xp: Any, rows: Any) -> Any:
    return xp.einsum("ij->i", rows)[:, None]  # half the time of `sum`, and exact enough for rows


def _total(xp: Any, exponentials: Any) -> Any:
    """Return the sum of each row: at least 1, since the largest is 1; 1 for a row of -inf only."""
    return xp.maximum(_row_sums(xp, exponentials), 1)


# The operations below take a matrix with a row for each example. With indices the division by the
# total is left to the backward pass, which multiplies each row anyway.


@op(keeps=("exponentials", "total"), precision="full")
def cross_entropy_with_indices(
    xp: Any, logits: Any, classes: Any, /, scale: Any = None, smoothing: float = 0.0
) -> Any:
    """Return `-scale` times the log-softmax of `logits` at `classes`.

    Rows with a scale of 0 may hold anything. `smoothing` is the fraction of the target that is
    distributed uniformly over all classes.
    """
    return cross_entropy_forward(xp, logits, classes, scale, smoothing)


@kernel
def cross_entropy_forward(
    xp: Any, logits: Any, classes: Any, scale: Any, smoothing: float
) -> tuple[Any, Any, Any]:
    """Return the losses of the rows of `logits`, their exponentials and the sums of these."""
    exponentials = _shift(xp, logits)
    chosen = exponentials[xp.arange(len(classes)), classes]
    if smoothing:
        chosen = (1 - smoothing) * chosen + smoothing * xp.mean(exponentials, axis=-1)
    xp.exp(exponentials, out=exponentials)
    total = _total(xp, exponentials)
    losses = xp.log(total)[:, 0] - chosen
    if scale is not None:
        ignored = scale == 0
        xp.copyto(losses, 0, where=ignored)
        xp.copyto(exponentials, 0, where=ignored[:, None])
        xp.copyto(total, 1, where=ignored[:, None])
        losses *= scale
    return losses, exponentials, total


_forward_on_cuda = RowKernel(
    "nn_losses_cross_entropy_forward",
    "const T *logits, const long long *classes, const T *scale, T *losses, T *exponentials, "
    "T *totals, T smoothing, T lowest",
    """
    logits += row * count; exponentials += row * count;
    const T factor = scale ? scale[row] : 1;
    if (factor == 0) {
        EACH(j) exponentials[j] = 0;
        if (threadIdx.x == 0) losses[row] = 0, totals[row] = 1;
        return;
    }
    T largest = lowest;
    EACH(j) largest = larger(largest, logits[j]);
    largest = row_max(largest);
    T total = 0, sum = 0;
    EACH(j) {
        const T shifted = logits[j] - largest;
        sum += shifted;
        total += exponentials[j] = exp(shifted);
    }
    total = larger(row_sum(total), 1);
    sum = smoothing ? row_sum(sum) / count : 0;
    if (threadIdx.x == 0) {
        T chosen = logits[classes[row]] - largest;
        if (smoothing) chosen = (1 - smoothing) * chosen + smoothing * sum;
        losses[row] = (log(total) - chosen) * factor;
        totals[row] = total;
    }
    """,
)


cross_entropy_forward.cpu("cross_entropy")


@cross_entropy_forward.cuda
def _(cp: Any, logits: Any, classes: Any, scale: Any, smoothing: float) -> tuple[Any, Any, Any]:
    dtype = accumulation_dtype(logits.dtype) or logits.dtype
    logits, given = cp.ascontiguousarray(logits, dtype=dtype), logits.dtype
    classes = cp.ascontiguousarray(classes, dtype=np.int64)
    scale = None if scale is None else cp.ascontiguousarray(scale, dtype=dtype)
    losses, exponentials, totals = (
        cp.empty(shape, dtype) for shape in (len(logits), logits.shape, (len(logits), 1))
    )
    outputs, lowest = (losses, exponentials, totals), float(np.finfo(dtype).min)
    _forward_on_cuda(
        cp, dtype, *logits.shape, logits, classes, scale, *outputs, float(smoothing), lowest
    )
    return tuple(x.astype(given, copy=False) for x in outputs)


@cross_entropy_with_indices.gradient("logits")
def _(g: Any, exponentials: Any, total: Any, classes: Any, scale: Any, smoothing: float) -> Any:
    return _softmax_minus_target(
        g if scale is None else g * scale, exponentials, total, classes, smoothing
    )


@cross_entropy_with_indices.kept
def _(logits: Any, scale: Any) -> Any:
    if scale is not None:
        logits = where((scale != 0)[:, None], logits, 0)
    # the gradient is the same for any shift, so none goes through it
    shift = maximum(max(logits, -1, keepdims=True).detach(), float(np.finfo(logits.dtype).min))
    exponentials = exp(logits - shift)
    total = sum(exponentials, -1, keepdims=True)
    return exponentials, where(total == 0, 1, total)


@op
def _softmax_minus_target(
    xp: Any, grad_output: Any, exponentials: Any, total: Any, classes: Any, /, smoothing: float
) -> Any:
    """Return `grad_output` times the difference of softmax and target, row by row."""
    return cross_entropy_backward(xp, grad_output, exponentials, total, classes, smoothing)


@kernel
def cross_entropy_backward(
    xp: Any, grad_output: Any, exponentials: Any, total: Any, classes: Any, smoothing: float
) -> Any:
    """Return the gradient of the logits of `cross_entropy_forward`."""
    rows = exponentials * (grad_output[:, None] / total)
    if smoothing:
        rows -= (grad_output * (smoothing / rows.shape[-1]))[:, None]
    rows[xp.arange(len(classes)), classes] -= grad_output * (1 - smoothing)
    return rows


_backward_on_cuda = RowKernel(
    "nn_losses_cross_entropy_backward",
    "const T *grad_output, const T *exponentials, const T *total, const long long *classes, "
    "T *out, T smoothing",
    """
    exponentials += row * count; out += row * count;
    const T factor = grad_output[row], scale = factor / total[row];
    const T uniform = factor * (smoothing / count);
    const long long chosen = classes[row];
    EACH(j) {
        T value = exponentials[j] * scale;
        if (smoothing) value -= uniform;
        out[j] = j == chosen ? value - factor * (1 - smoothing) : value;
    }
    """,
)


cross_entropy_backward.cpu("cross_entropy_gradient")


@cross_entropy_backward.cuda
def _(
    cp: Any, grad_output: Any, exponentials: Any, total: Any, classes: Any, smoothing: float
) -> Any:
    dtype = np.result_type(grad_output, exponentials, total)
    wide = accumulation_dtype(dtype) or dtype
    inputs = (cp.ascontiguousarray(a, dtype=wide) for a in (grad_output, exponentials, total))
    classes = cp.ascontiguousarray(classes, dtype=np.int64)
    out = cp.empty(exponentials.shape, wide)
    _backward_on_cuda(cp, wide, *out.shape, *inputs, classes, out, float(smoothing))
    return out.astype(dtype, copy=False)


@_softmax_minus_target.gradient("grad_output")
def _(g: Any, exponentials: Any, total: Any, classes: Any, smoothing: float) -> Any:
    chosen = gather(g, classes[:, None], 1)[:, 0]
    return sum(g * exponentials / total, -1) - (1 - smoothing) * chosen - smoothing * mean(g, -1)


@_softmax_minus_target.gradient("exponentials")
def _(g: Any, grad_output: Any, total: Any) -> Any:
    return g * (grad_output[:, None] / total)


@_softmax_minus_target.gradient("total")
def _(g: Any, grad_output: Any, exponentials: Any, total: Any) -> Any:
    return g * exponentials * (-grad_output[:, None] / (total * total))


@op(keeps=("error",), precision="full")
def cross_entropy_with_probabilities(xp: Any, logits: Any, target: Any, /) -> Any:
    """Return the negative sum of `target` times the log-softmax of `logits`."""
    error = _shift(xp, logits)
    with np.errstate(invalid="ignore"):
        chosen = xp.einsum("ij,ij->i", error, target)
        if xp.isnan(chosen).any():
            # a class of logit -inf and probability 0 adds nothing, although 0 times -inf is NaN
            chosen = xp.sum(xp.where(target == 0, 0, error * target), axis=-1)
    xp.exp(error, out=error)
    total = _total(xp, error)
    weight = _row_sums(xp, target)
    losses = (weight * xp.log(total))[:, 0] - chosen
    error *= weight / total
    error -= target
    return losses, error


@cross_entropy_with_probabilities.gradient("logits")
def _(g: Any, error: Any) -> Any:
    return g[:, None] * error


@cross_entropy_with_probabilities.gradient("target")
def _(g: Any, logits: Any) -> Any:
    return -g[:, None] * log_softmax(logits)


@cross_entropy_with_probabilities.kept
def _(logits: Any, target: Any) -> Any:
    return (softmax(logits) * sum(target, -1, keepdims=True) - target,)


class CrossEntropy(Loss):
    r"""The cross-entropy of logits and one-hot targets or target probabilities.

    It takes logits, not probabilities: the softmax is part of the loss. `SoftmaxCrossEntropyLoss`
    is the same loss that also takes class indices, class weights, `ignore_index` and
    `label_smoothing`; here a target of indices is an error.

    .. math:: \ell_n = \sum_c y_{nc} \Bigl(\log \sum_j e^{x_{nj}} - x_{nc}\Bigr)

    with logits :math:`x` and target probabilities :math:`y` (Bishop, *Pattern Recognition and
    Machine Learning*, 2006, equations 4.104 and 4.108), in nats. The maximum of each row is
    subtracted before the exponential, so that logits of any size are exact.

    Prediction: logits of shape ``(..., C)``, floating. Target: a Tensor or array of exactly that
    shape with values in [0, 1], cast to the prediction's dtype; if it requires a gradient, it
    gets one. The result is a scalar, or has shape ``(...)`` for ``reduction='none'``; its dtype is
    the prediction's. A logit of -inf is a class of probability 0.

    Args:
        reduction: ``'mean'`` over all examples, their ``'sum'``, or ``'none'``.

    Raises:
        ValueError: if `reduction` is not one of these; when called, if the shapes or devices differ
            or a probability is outside [0, 1].
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
                "class indices use SoftmaxCrossEntropyLoss, or one_hot(target, "
                f"{logits.shape[-1]})"
            )
        losses = cross_entropy_with_probabilities(as_rows(logits), as_rows(expected))
        return self.reduce(as_examples(losses, logits)).astype(logits.dtype)


class SoftmaxCrossEntropyLoss(ClassLoss):
    r"""The cross-entropy of logits and class indices, one-hot targets or target probabilities.

    It takes logits, not probabilities: the softmax is part of the loss.

    .. math:: \ell_n = -\sum_c w_c\, y_{nc} \log \frac{e^{x_{nc}}}{\sum_j e^{x_{nj}}}

    with logits :math:`x`, target probabilities :math:`y` and class weights :math:`w`, 1 unless
    given; for a class index :math:`k`, :math:`y_{nc} = [c = k]` (Bishop, *Pattern
    Recognition and Machine Learning*, 2006, equations 4.104 and 4.108). The loss is in nats. The
    maximum of each row is subtracted before the exponential, so that logits of any size are exact.

    Prediction: logits of shape ``(..., C)``, floating. Target, a Tensor or array, by its shape:

    - ``(...)``: integer class indices, 0 to C - 1, or `ignore_index`;
    - ``(..., C)``: one-hot, or the probability of each class; cast to the prediction's dtype. A
      target that requires a gradient gets one.

    The result is a scalar, or has shape ``(...)`` for ``reduction='none'``; its dtype is the
    prediction's. A logit of -inf is a class of probability 0: where it is the target, the
    loss is inf. NaN in a logit makes its example's loss NaN.

    Args:
        reduction: ``'mean'``, ``'sum'`` or ``'none'``. As in PyTorch, the mean over indices
            divides by the sum of the weights of the target classes, ignored examples excluded, and
            the mean over probabilities by the number of examples.
        weight: the class weights, C numbers.
        ignore_index: examples with this index (of padding, for example) are ignored, whatever
            their logits: their loss and gradient are 0. By default every index must be a class.
        label_smoothing: the fraction of each target that is distributed uniformly over all classes,
            :math:`y' = (1 - s)\, y + s / C` (Szegedy et al., *Rethinking the Inception
            Architecture for Computer Vision*, 2016, section 7).

    Raises:
        ValueError: if `reduction` is not one of these, a weight is negative, or `label_smoothing`
            is outside [0, 1]; when called, if the shapes do not fit, a probability is outside [0,
            1], there are not C weights, probabilities come with an `ignore_index`, or prediction
            and target are on different devices.
        TypeError: for an option of the wrong type; when called, if the prediction or the indices
            have the wrong kind of dtype.
        IndexError: when called, if a class index is negative or not less than C.

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

    @keyword_only
    def __init__(
        self,
        reduction: Reduction = "mean",
        *,
        weight: Any = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction, weight=weight, ignore_index=ignore_index)
        self.label_smoothing: float = check_probability("label_smoothing", label_smoothing)

    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the loss of logits `prediction` against classes `target`, reduced."""
        logits = read_logits(prediction)
        given, are_indices = read_classes(logits, target, self.ignore_index)
        rows = as_rows(logits)
        weight = self.weight_for(rows)
        if are_indices:
            losses, count = self._of_indices(rows, given, weight)
        else:
            if self.ignore_index is not None:
                raise ValueError(
                    f"target: ignore_index={self.ignore_index} needs class indices, got "
                    f"probabilities of shape {given.shape}"
                )
            expected = self._smooth(as_rows(given), weight)
            losses, count = cross_entropy_with_probabilities(rows, expected), None
        return self.reduce(as_examples(losses, logits), count).astype(logits.dtype)

    def _of_indices(self, rows: Tensor, target: Tensor, weight: Any) -> tuple[Tensor, Any]:
        classes, scale = self.examples(target, weight, rows.dtype)
        if weight is None or not self.label_smoothing:
            return cross_entropy_with_indices(rows, classes, scale, self.label_smoothing), scale
        expected = self._smooth(one_hot(Tensor(classes), rows.shape[-1], rows.dtype), weight)
        if self.ignore_index is not None:
            ignored = target.reshape(-1, 1) == self.ignore_index
            rows, expected = where(ignored, 0, rows), where(ignored, 0, expected)
        return cross_entropy_with_probabilities(rows, expected), scale

    def _smooth(self, probabilities: Tensor, weight: Any) -> Tensor:
        if self.label_smoothing:
            uniform = self.label_smoothing / probabilities.shape[-1]
            probabilities = probabilities * (1 - self.label_smoothing) + uniform
        return probabilities if weight is None else probabilities * weight

    def extra_repr(self) -> str:
        """Return the options that are not the default."""
        smoothing = f"label_smoothing={self.label_smoothing:g}" if self.label_smoothing else ""
        return ", ".join(filter(None, [super().extra_repr(), smoothing]))
