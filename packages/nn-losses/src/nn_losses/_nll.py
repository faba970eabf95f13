"""`NLLLoss`, the classification loss of log-probabilities."""

from __future__ import annotations

from typing import Any

from nn_tensor import Tensor, gather, where

from nn_losses._class_loss import ClassLoss, as_examples, as_rows
from nn_losses._inputs import read_classes, read_logits

__all__ = ["NLLLoss"]


class NLLLoss(ClassLoss):
    r"""The negative log-likelihood: the negated log-probability of the target class.

    .. math:: \ell_n = -w_{k_n} x_{n k_n}

    with log-probabilities :math:`x`, class indices :math:`k` and class weights :math:`w`, 1 unless
    given (Bishop, *Pattern Recognition and Machine Learning*, 2006, equation 4.108), in nats.
    Applied to `nn_tensor.log_softmax` of logits it equals `SoftmaxCrossEntropyLoss` of these
    logits, which is faster.

    Prediction: log-probabilities of shape ``(..., C)``, floating. Target: a Tensor or array of
    integer class indices, of shape ``(...)``. The result is a scalar, or has shape ``(...)``
    for ``reduction='none'``; its dtype is the prediction's.

    Args:
        reduction: ``'mean'``, ``'sum'`` or ``'none'``. The mean divides by the sum of the weights
            of the target classes, as in PyTorch.
        weight: the class weights, C numbers.
        ignore_index: examples with this index are ignored: their loss and gradient are 0.

    Raises:
        ValueError: if `reduction` is not one of these or a weight is negative; when called, if the
            shapes do not fit, there are not C weights, or prediction and target are on different
            devices.
        TypeError: for an option of the wrong type; when called, if the prediction or the indices
            have the wrong kind of dtype.
        IndexError: when called, if a class index is negative or not less than C.

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
        rows = as_rows(scores)
        classes, scale = self.examples(given, self.weight_for(rows), rows.dtype)
        losses = -gather(rows, Tensor(classes)[:, None], 1)[:, 0]
        if scale is not None:
            losses = where(Tensor(scale) == 0, 0, losses) * Tensor(scale)
        return self.reduce(as_examples(losses, scores), scale).astype(scores.dtype)
