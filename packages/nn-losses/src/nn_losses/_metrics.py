"""Metrics, which are not differentiable: accuracy, confusion matrix, precision, recall, F1."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, get_args

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import (
    check_choice,
    check_integer,
    check_number,
    device_scope,
    keyword_only,
)

from nn_losses._inputs import check_indices, read_classes, read_logits
from nn_losses._running import RunningMetric, Sums, ratio
from nn_losses._sample_weight import host_weight

__all__ = [
    "Accuracy",
    "ConfusionMatrix",
    "F1Score",
    "Precision",
    "Recall",
    "TopKAccuracy",
]

Matrix = np.ndarray[Any, Any]
Average = Literal["macro", "micro", "weighted", "none"]


def _read_examples(prediction: Any, target: Any) -> tuple[Tensor, Any]:
    """Return the scores, of two classes or more, and the target class of each row."""
    scores = read_logits(prediction)
    if scores.shape[-1] == 1:
        raise ValueError(
            f"prediction: shape {scores.shape} has one class, so that every prediction is "
            "correct; compare (prediction > threshold) with the target instead"
        )
    if scores.size == 0:
        raise ValueError(f"prediction: shape {scores.shape} has no examples")
    classes, are_indices = read_classes(scores, target)
    return scores, classes.data if are_indices else classes.data.argmax(-1)


class _Fraction(RunningMetric):
    """The fraction of examples that are correct."""

    def _value(self, sums: Sums) -> float:
        return ratio(sums["correct"], sums["weight"])

    def _counted(self, correct: Any, sample_weight: Any, shape: tuple[int, ...]) -> Sums:
        if sample_weight is None:
            return {"correct": Tensor(correct.sum()).item(), "weight": int(correct.size)}
        weight = host_weight(sample_weight, shape).reshape(-1)
        right = Tensor(correct).numpy().reshape(-1)
        return {"correct": weight[right].sum(), "weight": weight.sum()}


class Accuracy(_Fraction):
    r"""The fraction of examples whose highest score is that of the target class.

    .. math:: \frac{1}{N} \sum_n [\arg\max_c x_{nc} = k_n]

    Prediction: scores (logits or probabilities) of shape ``(..., C)`` with at least two classes.
    Target, a Tensor or array, by its shape: integer class indices ``(...)``, or one-hot or
    probabilities ``(..., C)``, whose highest is the class. Ties go to the first class.

    Returns:
        When called, a Python float between 0 and 1.

    Raises:
        ValueError: when called, if the shapes do not fit, there are no examples, only one class,
            or a probability outside [0, 1].
        TypeError: when called, if the prediction or the indices have the wrong kind of dtype.
        IndexError: when called, if a class index is negative or not less than C.

    >>> from nn_losses import Accuracy
    >>> from nn_tensor import Tensor
    >>> scores = Tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    >>> Accuracy()(scores, [1, 0, 0, 0])
    0.75
    """

    def __call__(self, prediction: Any, target: Any, *, sample_weight: Any = None) -> float:
        """Return the fraction of rows of `prediction` whose largest score is at `target`."""
        return self._value(self._of_batch(prediction, target, sample_weight))

    def _of_batch(self, prediction: Any, target: Any, sample_weight: Any) -> Sums:
        with device_scope(prediction):
            scores, classes = _read_examples(prediction, target)
            correct = scores.data.argmax(-1) == classes
            return self._counted(correct, sample_weight, scores.shape[:-1])

    def __repr__(self) -> str:
        return "Accuracy()"


class TopKAccuracy(_Fraction):
    r"""The fraction of examples whose target class is among the `k` highest scores.

    .. math:: \frac{1}{N} \sum_n \Bigl[\bigl|\{c : x_{nc} > x_{n k_n}\}\bigr| < k\Bigr]

    Ties go to the first class, so that ``k=1`` is `Accuracy`. NaN ranks above every number, and as
    the score of the target it is wrong.

    Prediction: scores (logits or probabilities) of shape ``(..., C)`` with at least `k` classes.
    Target, a Tensor or array, by its shape: integer class indices ``(...)``, or one-hot or
    probabilities ``(..., C)``, whose highest is the class.

    Args:
        k: the number of highest scores that are considered.

    Returns:
        When called, a Python float between 0 and 1.

    Raises:
        ValueError: if `k` is less than 1; when called, if the shapes do not fit, there are fewer
            than `k` classes, only one class or no examples, or a probability outside [0, 1].
        TypeError: if `k` is not an integer; when called, if the prediction or the indices have the
            wrong kind of dtype.
        IndexError: when called, if a class index is negative or not less than C.

    >>> from nn_losses import TopKAccuracy
    >>> from nn_tensor import Tensor
    >>> scores = Tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
    >>> TopKAccuracy(k=2)(scores, [1, 2])
    0.5
    """

    def __init__(self, k: int = 5) -> None:
        self.k: int = check_integer("k", k, minimum=1)

    def __call__(self, prediction: Any, target: Any, *, sample_weight: Any = None) -> float:
        """Return the fraction of rows with `target` among the `k` largest scores."""
        return self._value(self._of_batch(prediction, target, sample_weight))

    def _of_batch(self, prediction: Any, target: Any, sample_weight: Any) -> Sums:
        with device_scope(prediction):
            scores, classes = _read_examples(prediction, target)
            xp, count = scores.xp, scores.shape[-1]
            if self.k > count:
                raise ValueError(f"k: {self.k} is more than the {count} classes of the prediction")
            rows, classes = scores.data.reshape(-1, count), classes.reshape(-1, 1).astype(np.int64)
            chosen = xp.take_along_axis(rows, classes, -1)
            before = xp.arange(count) < classes
            higher = ~(rows < chosen) & ((rows != chosen) | before)  # NaN compares with nothing
            correct = higher.sum(-1) < self.k
            return self._counted(correct, sample_weight, scores.shape[:-1])

    def __repr__(self) -> str:
        return f"TopKAccuracy(k={self.k})"


class ConfusionMatrix(RunningMetric):
    r"""The number of examples for each pair of target class and predicted class.

    .. math:: M_{ij} = \bigl|\{n : k_n = i, \hat{k}_n = j\}\bigr|

    Rows are targets and columns predictions, as in scikit-learn. Matrices of several batches add
    up, and `Precision`, `Recall` and `F1Score` take the sum (`Precision.from_matrix`).

    Prediction: scores of shape ``(..., C)``, floating, whose highest (ties go to the first) is the
    class, or integer class indices ``(...)``. Target, a Tensor or array, by its shape: integer
    class indices ``(...)``, or one-hot or probabilities ``(..., C)``.

    Args:
        num_classes: the number of classes, C.

    Returns:
        When called, a NumPy array of int64 and shape ``(C, C)``; of float64 with weights.

    Raises:
        ValueError: if `num_classes` is less than 1; when called, if the shapes do not fit it or
            each other, a probability is outside [0, 1], or the devices differ.
        TypeError: if `num_classes` is not an integer; when called, if prediction or target have
            the wrong kind of dtype.
        IndexError: when called, if a class index is negative or not less than C.

    >>> from nn_losses import ConfusionMatrix
    >>> ConfusionMatrix(num_classes=2)([0, 1, 1], [0, 0, 1])
    array([[1, 1],
           [0, 1]])
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes: int = check_integer("num_classes", num_classes, minimum=1)

    def __call__(self, prediction: Any, target: Any, *, sample_weight: Any = None) -> Matrix:
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
            if sample_weight is not None:
                weight = host_weight(sample_weight, scores.shape[:-1]).reshape(-1)
                cells = Tensor(cells).numpy()
                return np.bincount(cells, weight, count * count).reshape(count, count)
            counts = Tensor(xp.bincount(cells, minlength=count * count)).numpy()
        return counts.astype(np.int64, copy=False).reshape(count, count)

    def _of_batch(self, prediction: Any, target: Any, sample_weight: Any) -> Sums:
        return {"matrix": self(prediction, target, sample_weight=sample_weight)}

    def _value(self, sums: Sums) -> Matrix:
        return np.array(sums["matrix"])

    def __repr__(self) -> str:
        return f"ConfusionMatrix(num_classes={self.num_classes})"


class _ClassMetric(RunningMetric):
    """What Precision, Recall and F1Score share: a ratio of counts per class, and its average."""

    @keyword_only
    def __init__(self, average: Average = "macro", *, zero_division: float = 0.0) -> None:
        self.average: str = check_choice("average", average, get_args(Average))
        self.zero_division: float = check_number("zero_division", zero_division, allow_nan=True)

    def __call__(
        self, prediction: Any, target: Any, *, sample_weight: Any = None
    ) -> float | Matrix:
        """Return the metric of the classes with the largest scores against `target`."""
        return self._value(self._of_batch(prediction, target, sample_weight))

    def _of_batch(self, prediction: Any, target: Any, sample_weight: Any) -> Sums:
        with device_scope(prediction):
            scores, classes = _read_examples(prediction, target)
        matrix = ConfusionMatrix(scores.shape[-1])
        return {"matrix": matrix(scores, classes, sample_weight=sample_weight)}

    def _value(self, sums: Sums) -> float | Matrix:
        counts = sums["matrix"]
        return self._of_counts(counts if counts.any() else np.full(counts.shape, np.nan))

    def from_matrix(self, matrix: Any) -> float | Matrix:
        """Return the metric of a confusion matrix, which may be the sum over several batches.

        Args:
            matrix: counts of shape ``(C, C)``, or sums of sample weights; targets in rows,
                predictions in columns.

        Raises:
            ValueError: if it is not square, has a negative count, or no examples.
            TypeError: if it does not hold numbers.
        """
        counts = matrix.numpy() if isinstance(matrix, Tensor) else np.asarray(matrix)
        if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
            raise ValueError(f"matrix: expected a square matrix, got shape {counts.shape}")
        if counts.dtype.kind not in "iuf":
            raise TypeError(f"matrix: expected integers, or sums of weights, got {counts.dtype}")
        if not (np.isfinite(counts) & (counts >= 0)).all():
            raise ValueError(f"matrix: expected finite counts >= 0, got {counts.min()}")
        if not counts.any():
            raise ValueError(f"matrix: shape {counts.shape} has no examples")
        return self._of_counts(counts)

    def _of_counts(self, counts: Matrix) -> float | Matrix:
        hits, support, predicted = np.diagonal(counts), counts.sum(1), counts.sum(0)
        if self.average == "micro":
            hits, support, predicted = hits.sum(), support.sum(), predicted.sum()
        numerator, denominator = self._ratio(hits, support, predicted)
        ratios = np.full(np.shape(denominator), self.zero_division)
        np.divide(numerator, denominator, out=ratios, where=denominator != 0)
        if self.average == "none":
            return ratios
        if self.average == "micro":
            return float(ratios)
        known = ~np.isnan(ratios)  # NaN excludes a class from the average
        weights = (support if self.average == "weighted" else np.ones(len(ratios))) * known
        total = weights.sum()
        return float((ratios[known] * weights[known]).sum() / total) if total else float("nan")

    @abstractmethod
    def _ratio(self, hits: Any, support: Any, predicted: Any) -> tuple[Any, Any]:
        """Return numerator and denominator.

        Args:
            hits: the number of true positives of each class.
            support: the number of examples of each class.
            predicted: the number of predictions of each class.
        """

    def __repr__(self) -> str:
        zero = f", zero_division={self.zero_division:g}" if self.zero_division != 0 else ""
        return f"{type(self).__name__}(average={self.average!r}{zero})"


class Precision(_ClassMetric):
    r"""Precision: the fraction of a class's predictions that are correct, averaged over classes.

    .. math:: P_c = \frac{TP_c}{TP_c + FP_c}

    with the number :math:`TP_c` of true positives of class c (its examples that were predicted as
    such) and :math:`FP_c` of false positives (others that were). Source: Manning, Raghavan and
    Schütze, *Introduction to Information Retrieval*, 2008, section 8.3.

    Prediction: scores of shape ``(..., C)`` with at least two classes, the highest (ties go to the
    first) is the class. Target, a Tensor or array, by its shape: integer class indices ``(...)``,
    or one-hot or probabilities ``(..., C)``. For a whole epoch, add up the results of
    `ConfusionMatrix` and call `from_matrix`.

    Args:
        average: ``'macro'``, the mean over all C classes; ``'weighted'``, the mean weighted by how
            often each class is the target; ``'micro'``, the ratio of the sums over all classes,
            which with one label per example is the accuracy; ``'none'``, one ratio per class.
        zero_division: the value of 0 / 0 (a class that was never predicted); NaN excludes the
            class from averages.

    Returns:
        When called, a Python float, or a NumPy array of C floats for ``average='none'``.

    Raises:
        ValueError: if `average` is not one of these; when called, if the shapes do not fit, there
            are no examples, only one class, or a probability outside [0, 1].
        TypeError: if `zero_division` is not a number; when called, if the prediction or the
            indices have the wrong kind of dtype.
        IndexError: when called, if a class index is negative or not less than C.

    >>> from nn_losses import ConfusionMatrix, Precision
    >>> counts = ConfusionMatrix(2)([0, 1, 1, 1], [0, 0, 1, 1])
    >>> Precision("none").from_matrix(counts)
    array([1.        , 0.66666667])
    >>> Precision("micro")([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    0.5
    """

    def _ratio(self, hits: Any, support: Any, predicted: Any) -> tuple[Any, Any]:
        return hits, predicted


class Recall(_ClassMetric):
    r"""Recall: the fraction of a class's examples predicted correctly, averaged over classes.

    .. math:: R_c = \frac{TP_c}{TP_c + FN_c}

    with the number :math:`TP_c` of true positives of class c (its examples that were predicted as
    such) and :math:`FN_c` of false negatives (those that were not). Its macro average is the
    balanced accuracy. Source: Manning, Raghavan and Schütze, *Introduction to Information
    Retrieval*, 2008, section 8.3.

    Prediction: scores of shape ``(..., C)`` with at least two classes, the highest (ties go to the
    first) is the class. Target, a Tensor or array, by its shape: integer class indices ``(...)``,
    or one-hot or probabilities ``(..., C)``. For a whole epoch, add up the results of
    `ConfusionMatrix` and call `from_matrix`.

    Args:
        average: ``'macro'``, the mean over all C classes; ``'weighted'``, the mean weighted by how
            often each class is the target; ``'micro'``, the ratio of the sums over all classes,
            which with one label per example is the accuracy; ``'none'``, one ratio per class.
        zero_division: the value of 0 / 0 (a class that is never the target); NaN excludes the
            class from averages.

    Returns:
        When called, a Python float, or a NumPy array of C floats for ``average='none'``.

    Raises:
        ValueError: if `average` is not one of these; when called, if the shapes do not fit, there
            are no examples, only one class, or a probability outside [0, 1].
        TypeError: if `zero_division` is not a number; when called, if the prediction or the
            indices have the wrong kind of dtype.
        IndexError: when called, if a class index is negative or not less than C.

    >>> from nn_losses import Recall
    >>> Recall("none")([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], [0, 0, 1])
    array([0.5, 1. ])
    """

    def _ratio(self, hits: Any, support: Any, predicted: Any) -> tuple[Any, Any]:
        return hits, support


class F1Score(_ClassMetric):
    r"""The harmonic mean of precision and recall, averaged over classes.

    .. math:: F_c = \frac{2 P_c R_c}{P_c + R_c} = \frac{2\, TP_c}{2\, TP_c + FP_c + FN_c}

    (Manning, Raghavan and Schütze, *Introduction to Information Retrieval*, 2008, section 8.3.)

    Prediction: scores of shape ``(..., C)`` with at least two classes, the highest (ties go to the
    first) is the class. Target, a Tensor or array, by its shape: integer class indices ``(...)``,
    or one-hot or probabilities ``(..., C)``. For a whole epoch, add up the results of
    `ConfusionMatrix` and call `from_matrix`.

    Args:
        average: ``'macro'``, the mean over all C classes; ``'weighted'``, the mean weighted by how
            often each class is the target; ``'micro'``, the ratio of the sums over all classes,
            which with one label per example is the accuracy; ``'none'``, one ratio per class.
        zero_division: the value of 0 / 0 (a class neither predicted nor the target); NaN excludes
            the class from averages.

    Returns:
        When called, a Python float, or a NumPy array of C floats for ``average='none'``.

    Raises:
        ValueError: if `average` is not one of these; when called, if the shapes do not fit, there
            are no examples, only one class, or a probability outside [0, 1].
        TypeError: if `zero_division` is not a number; when called, if the prediction or the
            indices have the wrong kind of dtype.
        IndexError: when called, if a class index is negative or not less than C.

    >>> from nn_losses import F1Score
    >>> F1Score("none")([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], [0, 0, 1])
    array([0.66666667, 0.66666667])
    """

    def _ratio(self, hits: Any, support: Any, predicted: Any) -> tuple[Any, Any]:
        return 2 * hits, support + predicted
