"""Figures that describe how well a model does, and that nothing is trained by."""

from __future__ import annotations

from typing import Any

from nn_losses._inputs import read_classes, read_logits

__all__ = ["Accuracy"]


class Accuracy:
    r"""The share of examples whose highest score is that of the target class.

    .. math:: \frac{1}{N} \sum_n [\arg\max_c x_{nc} = k_n]

    Prediction: scores (logits or probabilities) of shape ``(..., C)`` with at least two classes.
    Target, a Tensor or array, by its shape: integer indices of classes ``(...)``, or one-hot or
    probabilities ``(..., C)``, whose highest is the class. Of equal scores the first counts.

    Returns:
        When called, a Python float between 0 and 1.

    Raises:
        ValueError: when called, if the shapes do not fit, there is no example, only one class, or
            a probability outside [0, 1].
        TypeError: when called, if the prediction or the indices have the wrong kind of dtype.
        IndexError: when called, if the index of a class is negative or not less than C.

    >>> from nn_losses import Accuracy
    >>> from nn_tensor import Tensor
    >>> scores = Tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    >>> Accuracy()(scores, [1, 0, 0, 0])
    0.75
    """

    def __call__(self, prediction: Any, target: Any) -> float:
        """Return the share of rows of `prediction` whose largest score is at `target`."""
        scores = read_logits(prediction)
        if scores.shape[-1] == 1:
            raise ValueError(
                f"prediction: shape {scores.shape} has one class, of which every prediction is "
                "right; compare (prediction > threshold) with the target instead"
            )
        if scores.size == 0:
            raise ValueError(f"prediction: shape {scores.shape} holds no example")
        classes, are_indices = read_classes(scores, target)
        expected = classes.data if are_indices else classes.data.argmax(-1)
        return float((scores.data.argmax(-1) == expected).mean())

    def __repr__(self) -> str:
        return "Accuracy()"
