"""Cross-entropy between classes, from logits."""

from __future__ import annotations

from typing import Any

from nn_tensor import Tensor, log_softmax, one_hot, softmax, sum
from nn_tensor.extend import op

from nn_losses._inputs import read_classes, read_logits
from nn_losses._loss import Loss

__all__ = ["SoftmaxCrossEntropyLoss"]


def _shift(xp: Any, logits: Any) -> Any:
    """Return logits minus the largest of their row, so that no exponential overflows."""
    largest = xp.max(logits, axis=-1, keepdims=True)
    # in a row of -inf only, -inf - -inf would be NaN
    return logits - xp.maximum(largest, xp.finfo(logits.dtype).min)


def _total(xp: Any, exponentials: Any) -> Any:
    """Return the sum of each row; it is 1 at least, or 0 for a row of -inf only, read as 1."""
    return xp.maximum(xp.sum(exponentials, axis=-1, keepdims=True), 1)


# Both operations keep what the gradient multiplies: the softmax minus the target. That costs the
# forward a pass over memory that is in the cache, and leaves the backward a single pass.


@op(keeps=("error",))
def cross_entropy_of_indices(xp: Any, logits: Any, target: Any, /) -> Any:
    """Return minus the logarithm of the softmax of `logits` at the classes `target`."""
    classes = target.reshape(-1).astype(xp.int64, copy=False)
    places = xp.arange(target.size) * logits.shape[-1] + classes
    shifted = _shift(xp, logits)
    chosen = shifted.reshape(-1)[places].reshape(target.shape)
    error = xp.exp(shifted, out=shifted)
    total = _total(xp, error)
    losses = xp.log(total)[..., 0] - chosen
    error /= total
    error.reshape(-1)[places] -= 1
    return losses, error


@cross_entropy_of_indices.gradient("logits")
def _(g: Any, error: Any) -> Any:
    return g[..., None] * error


@cross_entropy_of_indices.kept
def _(logits: Any, target: Any) -> Any:
    return (softmax(logits) - one_hot(target, logits.shape[-1], logits.dtype),)


@op(keeps=("error",))
def cross_entropy_of_probabilities(xp: Any, logits: Any, target: Any, /) -> Any:
    """Return minus the sum of `target` times the logarithm of the softmax of `logits`."""
    shifted = _shift(xp, logits)
    weighted = shifted.copy()
    # an impossible class that does not occur counts nothing, although 0 times -inf is NaN
    xp.copyto(weighted, 0, where=(target == 0) & (shifted == -xp.inf))
    weighted *= target
    error = xp.exp(shifted, out=shifted)
    total = _total(xp, error)
    weight = xp.sum(target, axis=-1, keepdims=True)
    losses = (weight * xp.log(total))[..., 0] - xp.sum(weighted, axis=-1)
    error *= weight / total
    error -= target
    return losses, error


@cross_entropy_of_probabilities.gradient("logits")
def _(g: Any, error: Any) -> Any:
    return g[..., None] * error


@cross_entropy_of_probabilities.gradient("target")
def _(g: Any, logits: Any) -> Any:
    return -g[..., None] * log_softmax(logits)


@cross_entropy_of_probabilities.kept
def _(logits: Any, target: Any) -> Any:
    return (softmax(logits) * sum(target, -1, True) - target,)


class SoftmaxCrossEntropyLoss(Loss):
    r"""The cross-entropy between target classes and the softmax of the prediction's logits.

    .. math:: \ell_n = -\sum_c y_{nc} \log \frac{e^{x_{nc}}}{\sum_j e^{x_{nj}}}

    with logits :math:`x` and target probabilities :math:`y`; for the index :math:`k` of a class
    :math:`y_{nc} = [c = k]` (Bishop, *Pattern Recognition and Machine Learning*, 2006, equations
    4.104 and 4.108). The loss is in nats. The maximum of each row is subtracted before the
    exponential, so that logits of any size are exact.

    Prediction: logits of shape ``(..., C)``, floating. Target, a Tensor or array, by its shape:

    - ``(...)``: integer indices of classes, 0 to C - 1;
    - ``(..., C)``: one-hot, or the probability of each class; cast to the prediction's dtype. A
      target that requires a gradient gets one.

    The result is a scalar, or has shape ``(...)`` for ``reduction='none'``; its dtype is the
    prediction's. A logit of -inf is a class that cannot occur: where it is the target, the loss
    is inf. NaN in a logit makes its example's loss NaN.

    Args:
        reduction: ``'mean'`` over all examples, their ``'sum'``, or ``'none'``.

    Raises:
        ValueError: for another reduction; when called, if the shapes do not fit, a probability is
            outside [0, 1], or prediction and target are on different devices.
        TypeError: when called, if the prediction or the indices have the wrong kind of dtype.
        IndexError: when called, if the index of a class is negative or not less than C.

    >>> from nn_losses import SoftmaxCrossEntropyLoss
    >>> from nn_tensor import Tensor
    >>> logits = Tensor([[0.0, 0.0], [1000.0, 0.0]], requires_grad=True)
    >>> loss = SoftmaxCrossEntropyLoss(reduction="sum")(logits, [1, 0])
    >>> loss.backward()
    >>> round(loss.item(), 4), logits.grad
    (0.6931, Tensor([[ 0.5, -0.5],
            [ 0. ,  0. ]]))
    """

    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the loss of logits `prediction` against classes `target`, reduced."""
        logits = read_logits(prediction)
        classes, are_indices = read_classes(logits, target)
        if are_indices:
            losses = cross_entropy_of_indices(logits, classes)
        else:
            losses = cross_entropy_of_probabilities(logits, classes)
        return self.reduce(losses)
