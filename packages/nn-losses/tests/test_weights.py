"""Sums and weights of losses: batches add up to the whole, whatever is ignored or weighted."""

import numpy as np
import pytest
from nn_losses import (
    BCEWithLogitsLoss,
    CrossEntropy,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    Loss,
    MSELoss,
    NLLLoss,
    SoftmaxCrossEntropyLoss,
)
from nn_tensor import Tensor

rng = np.random.default_rng(0)
SCORES = rng.normal(size=(9, 4))
PROBABILITIES = rng.dirichlet(np.ones(4), 9)
CLASSES = np.array([0, 3, 1, -1, 2, -1, -1, 0, 1])
KNOWN = np.where(CLASSES < 0, 2, CLASSES)
WEIGHT = [0.5, 1.0, 2.0, 3.0]


class Own(Loss):
    """A loss that does not end with `reduce`."""

    def forward(self, prediction, target):
        errors = (prediction - target) ** 2
        return errors.sum() if self.reduction == "sum" else errors.mean(axis=1).sum() / len(target)


# loss, target, the weight of all nine examples
CASES = {
    "mse": (MSELoss, {}, PROBABILITIES, 36),
    "l1": (L1Loss, {}, PROBABILITIES, 36),
    "huber": (HuberLoss, {"delta": 0.3}, PROBABILITIES, 36),
    "bce": (BCEWithLogitsLoss, {}, PROBABILITIES, 36),
    "kl": (KLDivLoss, {}, PROBABILITIES, 36),
    "cross-entropy": (CrossEntropy, {}, PROBABILITIES, 9),
    "indices": (SoftmaxCrossEntropyLoss, {}, KNOWN, 9),
    "ignored": (SoftmaxCrossEntropyLoss, {"ignore_index": -1}, CLASSES, 6),
    "weighted": (
        SoftmaxCrossEntropyLoss,
        {"weight": WEIGHT, "ignore_index": -1},
        CLASSES,
        sum(WEIGHT[c] for c in CLASSES if c >= 0),
    ),
    "nll": (NLLLoss, {"ignore_index": -1}, CLASSES, 6),
}


@pytest.mark.parametrize("name", CASES)
def test_batches_add_up(name):
    kind, options, target, expected = CASES[name]
    mean_loss, sum_loss = kind(**options), kind("sum", **options)
    total, weight = mean_loss.sum_and_weight(Tensor(SCORES), target)
    mean, same = mean_loss.mean_and_weight(Tensor(SCORES), target)
    assert weight == same == expected
    assert float(mean) == float(mean_loss(Tensor(SCORES), target))
    np.testing.assert_allclose(float(total), float(sum_loss(Tensor(SCORES), target)), rtol=1e-14)
    np.testing.assert_allclose(float(mean), float(total) / weight, rtol=1e-14)
    parts = [slice(0, 2), slice(2, 5), slice(5, 9)]
    pairs = [mean_loss.sum_and_weight(Tensor(SCORES[part]), target[part]) for part in parts]
    np.testing.assert_allclose(sum(float(s) for s, _ in pairs), float(total), rtol=1e-13)
    assert sum(w for _, w in pairs) == weight
    assert mean_loss.reduction == "mean"


def test_the_mean_over_the_batch_counts_the_examples():
    loss = KLDivLoss("batchmean")
    mean, weight = loss.mean_and_weight(Tensor(SCORES), PROBABILITIES)
    total, same = loss.sum_and_weight(Tensor(SCORES), PROBABILITIES)
    assert weight == same == 9
    np.testing.assert_allclose(float(mean), float(total) / 9, rtol=1e-14)


def test_a_loss_without_reduce_counts_the_examples():
    assert Own().mean_and_weight(Tensor(SCORES), PROBABILITIES)[1] == 9
    assert Own().mean_and_weight(Tensor(SCORES), Tensor(PROBABILITIES))[1] == 9


def test_unreduced_losses_have_no_mean():
    with pytest.raises(ValueError, match="'none' has no mean"):
        MSELoss("none").mean_and_weight([1.0], [1.0])


def test_where_everything_is_ignored_the_weight_is_0():
    loss = SoftmaxCrossEntropyLoss(ignore_index=-1)
    total, weight = loss.sum_and_weight(Tensor(SCORES), np.full(9, -1))
    assert (float(total), weight) == (0, 0)


def test_masked_weights_are_refused():
    weight = np.ma.array([1.0, 2.0], mask=[False, True])
    with pytest.raises(TypeError, match="weight: a masked array would lose its mask"):
        SoftmaxCrossEntropyLoss(weight=weight)
