"""Figures that describe how well a model does, and that nothing is trained by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import device_scope

from nn_losses._inputs import (
    among,
    check_indices,
    integer,
    number,
    read_classes,
    read_logits,
)

__all__ = [
    "Accuracy",
    "ConfusionMatrix",
    "F1Score",
    "Precision",
    "Recall",
    "TopKAccuracy",
]

Matrix = np.ndarray[Any, Any]
AVERAGES = ("macro", "micro", "weighted", "none")


def _read_examples(prediction: Any, target: Any) -> tuple[Tensor, Any]:
    """Return the scores, of two classes or more, and the index of the target class of each row."""
    scores = read_logits(prediction)
    if scores.shape[-1] == 1:
        raise ValueError(
            f"prediction: shape {scores.shape} has one class, of which every prediction is "
            "right; compare (prediction > threshold) with the target instead"
        )
    if scores.size == 0:
        raise ValueError(f"prediction: shape {scores.shape} holds no example")
    classes, are_indices = read_classes(scores, target)
    return scores, classes.data if are_indices else classes.data.argmax(-1)


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
        with device_scope(prediction):
            scores, classes = _read_examples(prediction, target)
            return float((scores.data.argmax(-1) == classes).mean())

    def __repr__(self) -> str:
        return "Accuracy()"


class TopKAccuracy:
    r"""The share of examples whose target class is among the `k` highest scores.

    .. math:: \frac{1}{N} \sum_n \Bigl[\bigl|\{c : x_{nc} > x_{n k_n}\}\bigr| < k\Bigr]

    Of equal scores the first counts as the higher, so that ``k=1`` is `Accuracy`. NaN counts as
    higher than every number, and as the score of the target it is wrong.

    Prediction and target: as for `Accuracy`, with `k` classes at least.

    Args:
        k: how many of the highest scores are looked at.

    Returns:
        When called, a Python float between 0 and 1.

    Raises:
        ValueError: if `k` is less than 1; when called, if there are less than `k` classes, and as
            for `Accuracy`.
        TypeError: if `k` is not an integer; when called, as for `Accuracy`.
        IndexError: when called, if the index of a class is negative or not less than C.

    >>> from nn_losses import TopKAccuracy
    >>> from nn_tensor import Tensor
    >>> scores = Tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
    >>> TopKAccuracy(k=2)(scores, [1, 2])
    0.5
    """

    def __init__(self, k: int = 5) -> None:
        self.k = integer("k", k, least=1)

    def __call__(self, prediction: Any, target: Any) -> float:
        """Return the share of rows of `prediction` with `target` among the `k` largest scores."""
        with device_scope(prediction):
            scores, classes = _read_examples(prediction, target)
            xp, count = scores.xp, scores.shape[-1]
            if self.k > count:
                raise ValueError(f"k: {self.k} is more than the {count} classes of the prediction")
            rows, classes = scores.data.reshape(-1, count), classes.reshape(-1, 1).astype(np.int64)
            chosen = xp.take_along_axis(rows, classes, -1)
            before = xp.arange(count) < classes
            higher = ~(rows < chosen) & ((rows != chosen) | before)  # NaN compares with nothing
            return float((higher.sum(-1) < self.k).mean())

    def __repr__(self) -> str:
        return f"TopKAccuracy(k={self.k})"


class ConfusionMatrix:
    r"""How often each class was predicted for each target class.

    .. math:: M_{ij} = \bigl|\{n : k_n = i, \hat{k}_n = j\}\bigr|

    Rows are targets and columns predictions, as in scikit-learn. Matrices of several batches add
    up, and `Precision`, `Recall` and `F1Score` take the sum (`Precision.from_matrix`).

    Prediction: scores of shape ``(..., C)``, floating, whose highest (the first of equals) is the
    class, or integer indices of classes ``(...)``. Target, a Tensor or array, by its shape:
    integer indices ``(...)``, or one-hot or probabilities ``(..., C)``.

    Args:
        num_classes: C.

    Returns:
        When called, a NumPy array of int64 and shape ``(C, C)``.

    Raises:
        ValueError: if `num_classes` is less than 1; when called, if the shapes do not fit it or
            each other, a probability is outside [0, 1], or the devices differ.
        TypeError: if `num_classes` is not an integer; when called, if prediction or target have
            the wrong kind of dtype.
        IndexError: when called, if the index of a class is negative or not less than C.

    >>> from nn_losses import ConfusionMatrix
    >>> ConfusionMatrix(num_classes=2)([0, 1, 1], [0, 0, 1])
    array([[1, 1],
           [0, 1]])
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = integer("num_classes", num_classes, least=1)

    def __call__(self, prediction: Any, target: Any) -> Matrix:
        """Return the counts of (`target`, `prediction`) as a matrix."""
        given = prediction if isinstance(prediction, Tensor) else Tensor(prediction)
        with device_scope(given):
            xp, count = given.xp, self.num_classes
            if given.dtype.kind in "iu":
                predicted = given.data
                check_indices("prediction", predicted, count)
                scores = Tensor(xp.broadcast_to(xp.zeros((), np.float32), (*given.shape, count)))
            else:
                scores = read_logits(given)
                if scores.shape[-1] != count:
                    raise ValueError(
                        f"prediction: shape {scores.shape} has {scores.shape[-1]} classes, "
                        f"expected num_classes={count}"
                    )
                predicted = scores.data.argmax(-1)
            expected, are_indices = read_classes(scores, target)
            classes = expected.data if are_indices else expected.data.argmax(-1)
            cells = classes.reshape(-1).astype(np.int64) * count
            cells += predicted.reshape(-1).astype(np.int64)
            counts = Tensor(xp.bincount(cells, minlength=count * count)).numpy()
        return counts.astype(np.int64, copy=False).reshape(count, count)

    def __repr__(self) -> str:
        return f"ConfusionMatrix(num_classes={self.num_classes})"


class _Ratio(ABC):
    """What Precision, Recall and F1Score share: from counts to ratios to their average."""

    def __init__(self, average: str = "macro", zero_division: float = 0.0) -> None:
        among("average", average, AVERAGES)
        self.average = average
        self.zero_division = number("zero_division", zero_division)

    def __call__(self, prediction: Any, target: Any) -> float | Matrix:
        """Return the figure of the classes with the largest scores against `target`."""
        with device_scope(prediction):
            scores, classes = _read_examples(prediction, target)
        return self.from_matrix(ConfusionMatrix(scores.shape[-1])(scores, classes))

    def from_matrix(self, matrix: Any) -> float | Matrix:
        """Return the figure for counts, of several batches perhaps, as `ConfusionMatrix` gives.

        Args:
            matrix: of shape ``(C, C)``, targets in rows, predictions in columns.

        Raises:
            ValueError: if it is not square, holds a negative number, or no example.
            TypeError: if it does not hold integers.
        """
        counts = matrix.numpy() if isinstance(matrix, Tensor) else np.asarray(matrix)
        if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
            raise ValueError(f"matrix: expected a square matrix, got shape {counts.shape}")
        if counts.dtype.kind not in "iu":
            raise TypeError(f"matrix: expected integers, got {counts.dtype}")
        if (counts < 0).any():
            raise ValueError(f"matrix: expected counts of at least 0, got {counts.min()}")
        right, targets, predictions = np.diagonal(counts), counts.sum(1), counts.sum(0)
        if not targets.any():
            raise ValueError(f"matrix: of shape {counts.shape} holds no example")
        if self.average == "micro":
            right, targets, predictions = right.sum(), targets.sum(), predictions.sum()
        above, below = self._parts(right, targets, predictions)
        ratios = np.full(np.shape(below), self.zero_division)
        np.divide(above, below, out=ratios, where=below != 0)
        if self.average == "none":
            return ratios
        if self.average == "micro":
            return float(ratios)
        known = ~np.isnan(ratios)  # NaN stands for a class that is to be left out
        shares = (targets if self.average == "weighted" else np.ones(len(ratios))) * known
        total = shares.sum()
        return float((ratios[known] * shares[known]).sum() / total) if total else float("nan")

    @abstractmethod
    def _parts(self, right: Any, targets: Any, predictions: Any) -> tuple[Any, Any]:
        """Return numerator and denominator from counts of hits, of targets and of predictions."""

    def __repr__(self) -> str:
        zero = f", zero_division={self.zero_division:g}" if self.zero_division != 0 else ""
        return f"{type(self).__name__}(average={self.average!r}{zero})"


class Precision(_Ratio):
    r"""The share of right ones among the predictions of a class, averaged over classes.

    .. math:: P_c = rac{TP_c}{TP_c + FP_c}

    with the number :math:`TP_c` of examples of class c that were predicted as such, and
    :math:`FP_c` of others that were (Manning, Raghavan and Schütze, *Introduction to Information
    Retrieval*, 2008, section 8.3).

    Prediction: scores of shape ``(..., C)`` with at least two classes, the highest (the first of
    equals) is the class. Target, a Tensor or array, by its shape: integer indices of classes
    ``(...)``, or one-hot or probabilities ``(..., C)``. For counts of a whole epoch, add up
    `ConfusionMatrix` and call `from_matrix`.

    Args:
        average: ``'macro'``, the mean over all C classes; ``'weighted'``, the mean weighted by how
            often each class is the target; ``'micro'``, the ratio of the sums over all classes,
            which with one label per example is the accuracy; ``'none'``, one figure per class.
        zero_division: what 0 / 0 counts (a class that was never predicted); NaN leaves the class
            out of averages.

    Returns:
        When called, a Python float, or a NumPy array of C floats for ``average='none'``.

    Raises:
        ValueError: for another average; when called, if the shapes do not fit, there is no
            example, only one class, or a probability outside [0, 1].
        TypeError: if `zero_division` is not a number; when called, if the prediction or the
            indices have the wrong kind of dtype.
        IndexError: when called, if the index of a class is negative or not less than C.

    >>> from nn_losses import ConfusionMatrix, Precision
    >>> counts = ConfusionMatrix(2)([0, 1, 1, 1], [0, 0, 1, 1])
    >>> Precision("none").from_matrix(counts)
    array([1.        , 0.66666667])
    >>> Precision("micro")([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    0.5
    """

    def _parts(self, right: Any, targets: Any, predictions: Any) -> tuple[Any, Any]:
        return right, predictions


class Recall(_Ratio):
    r"""The share of a class's examples that were predicted as such, averaged over classes.

    .. math:: R_c = rac{TP_c}{TP_c + FN_c}

    with the number :math:`TP_c` of examples of class c that were predicted as such, and
    :math:`FN_c` of those that were not (Manning, Raghavan and Schütze, *Introduction to
    Information Retrieval*, 2008, section 8.3). Its macro average is the balanced accuracy.

    Prediction, target, arguments, returns and errors: as for `Precision`; 0 / 0 is a class that
    is never the target.

    >>> from nn_losses import Recall
    >>> Recall("none")([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], [0, 0, 1])
    array([0.5, 1. ])
    """

    def _parts(self, right: Any, targets: Any, predictions: Any) -> tuple[Any, Any]:
        return right, targets


class F1Score(_Ratio):
    r"""The harmonic mean of precision and recall, averaged over classes.

    .. math:: F_c = rac{2 P_c R_c}{P_c + R_c} = rac{2\, TP_c}{2\, TP_c + FP_c + FN_c}

    (Manning, Raghavan and Schütze, *Introduction to Information Retrieval*, 2008, section 8.3.)

    Prediction, target, arguments, returns and errors: as for `Precision`; 0 / 0 is a class that
    is neither predicted nor the target.

    >>> from nn_losses import F1Score
    >>> F1Score("none")([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], [0, 0, 1])
    array([0.66666667, 0.66666667])
    """

    def _parts(self, right: Any, targets: Any, predictions: Any) -> tuple[Any, Any]:
        return 2 * right, targets + predictions
