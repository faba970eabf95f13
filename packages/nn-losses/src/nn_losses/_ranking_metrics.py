"""Metrics of how scores rank two classes: ROC-AUC and average precision."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np
from nn_tensor.extend import device_scope

from nn_losses._inputs import read_prediction, read_target
from nn_losses._running import RunningMetric, Sums
from nn_losses._sample_weight import host_weight

__all__ = ["ROCAUC", "AveragePrecision"]


class _RankingMetric(RunningMetric):
    def __call__(self, prediction: Any, target: Any, *, sample_weight: Any = None) -> float:
        """Return the metric of the scores `prediction` against the classes `target`."""
        return float(self._value(self._of_batch(prediction, target, sample_weight)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _of_batch(self, prediction: Any, target: Any, sample_weight: Any) -> Sums:
        with device_scope(prediction):
            scores = read_prediction(prediction)
            classes = read_target(scores, target)
            values = scores.numpy().astype(np.float64).reshape(-1)
            positive = classes.numpy().reshape(-1)
        if values.size == 0:
            raise ValueError(f"prediction: shape {scores.shape} has no examples")
        if not np.isin(positive, (0, 1)).all():
            wrong = positive[~np.isin(positive, (0, 1))][0].item()
            raise ValueError(f"target: expected 0 and 1, got {wrong}")
        batch = {"scores": values, "positive": positive == 1}
        if sample_weight is not None:
            weight = host_weight(sample_weight, scores.shape).reshape(-1)
            present = weight > 0
            batch = {name: value[present] for name, value in batch.items()}
            batch["weights"] = weight[present]
        return batch

    def _combined(self, sums: Sums, new: Sums) -> Sums:
        if "weights" in sums or "weights" in new:
            sums, new = ({"weights": np.ones(len(s["scores"])), **s} for s in (sums, new))
        return {name: np.concatenate([value, new[name]]) for name, value in sums.items()}

    def _value(self, sums: Sums) -> float:
        scores, positive = sums["scores"], sums["positive"]
        if np.isnan(scores).any() or scores.size == 0:
            return math.nan
        order = np.argsort(-scores, kind="stable")
        # Examples with the same score are above a threshold together.
        ranked = scores[order]
        last = np.append(ranked[1:] != ranked[:-1], True)
        if "weights" in sums:
            weights = sums["weights"][order]
            hits, above = np.cumsum(positive[order] * weights)[last], np.cumsum(weights)[last]
        else:
            hits = np.cumsum(positive[order])[last]
            above = (np.arange(len(order)) + 1)[last]
        return self._of_curve(hits, above)

    @abstractmethod
    def _of_curve(self, hits: Any, above: Any) -> float:
        """Return the metric of the positive examples, and of all, above each threshold."""


class ROCAUC(_RankingMetric):
    r"""The area under the receiver operating characteristic (ROC) curve.

    .. math:: \frac{1}{PN} \sum_{p, n} \bigl([x_p > x_n] + \tfrac{1}{2} [x_p = x_n]\bigr)

    with :math:`P` positive and :math:`N` negative examples: the fraction of the pairs of both in
    which the positive one has the higher score, ties counting half (Fawcett, "An introduction to
    ROC analysis", 2006). If all examples are of one class it is NaN.

    Prediction: scores of any shape, floating: logits or probabilities of the positive class.
    Target: 0 and 1, of exactly that shape. The scores of all batches are kept.

    Returns:
        When called, a Python float between 0 and 1, or NaN; it is NaN for a score of NaN too.

    Raises:
        ValueError: when called, if the shapes differ, there are no examples, or a target is
            neither 0 nor 1.
        TypeError: when called, if the prediction is not floating or the target not numeric.

    >>> from nn_losses import ROCAUC
    >>> ROCAUC()([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    0.75
    """

    def _of_curve(self, hits: Any, above: Any) -> float:
        false = above - hits
        if not hits[-1] or not false[-1]:
            return math.nan
        steps = np.diff(false, prepend=0)
        middle = hits - np.diff(hits, prepend=0) / 2
        return float((steps * middle).sum() / (hits[-1] * false[-1]))


class AveragePrecision(_RankingMetric):
    r"""The mean precision over the thresholds of the scores, weighted by the gain in recall.

    .. math:: \sum_k (R_k - R_{k-1}) P_k

    as in scikit-learn, without interpolation (Zhu, "Recall, precision and average precision",
    2004). Without positive examples it is NaN.

    Prediction: scores of any shape, floating: logits or probabilities of the positive class.
    Target: 0 and 1, of exactly that shape. The scores of all batches are kept.

    Returns:
        When called, a Python float between 0 and 1, or NaN; it is NaN for a score of NaN too.

    Raises:
        ValueError: when called, if the shapes differ, there are no examples, or a target is
            neither 0 nor 1.
        TypeError: when called, if the prediction is not floating or the target not numeric.

    >>> from nn_losses import AveragePrecision
    >>> round(AveragePrecision()([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]), 4)
    0.8333
    """

    def _of_curve(self, hits: Any, above: Any) -> float:
        if not hits[-1]:
            return math.nan
        return float((np.diff(hits, prepend=0) * (hits / above)).sum() / hits[-1])
