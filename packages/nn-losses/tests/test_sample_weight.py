"""Sample weights: an example of weight k counts as k copies of it, in every loss."""

import numpy as np
import pytest
from nn_losses import (
    BCEWithLogitsLoss,
    HuberLoss,
    KLDivLoss,
    Loss,
    MSELoss,
    NLLLoss,
    SoftmaxCrossEntropyLoss,
)
from nn_tensor import Tensor

from .cases import LOSSES

COUNTS = np.array([3, 0, 1, 2])
rng = np.random.default_rng(0)
LOGITS = rng.normal(size=(6, 4))
CLASSES = np.array([0, 3, 1, 2, 1, 0])


class OwnReduce(Loss):
    def forward(self, prediction, target):
        return self.reduce((prediction - target) ** 2, 2)


class NoReduce(Loss):
    def forward(self, prediction, target):
        return ((prediction - target) ** 2).mean()


def has_examples(case):
    """Whether a row has losses for each of several examples, and no weight for one place alone."""
    losses = case(*case.draw())
    fixed = getattr(case.build(), "pos_weight", None)
    return losses.size and losses.ndim and (fixed is None or fixed.ndim < losses.ndim)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", list(filter(has_examples, LOSSES)), ids=str)
def test_an_example_of_weight_0_is_absent(case, reduction, wrong, device):
    loss = case.build(reduction=reduction)
    prediction, target = (np.array(x) for x in case.draw())
    weight = np.resize(COUNTS, len(prediction))
    results = []
    for value in (None, wrong):
        for x in (prediction, target):
            if value is not None and x.dtype.kind == "f":
                x[weight == 0] = value
        given = Tensor(prediction, requires_grad=True, device=device)
        result = loss(given, Tensor(target, device=device), sample_weight=weight)
        result.sum().backward()
        results.append((result.numpy(), given.grad.numpy()))
    for x, y in zip(*results, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", list(filter(has_examples, LOSSES)), ids=str)
def test_a_weight_is_a_number_of_copies(case, reduction, device):
    prediction, target = (np.asarray(x) for x in case.draw())
    loss, counts = case.build(reduction=reduction), np.resize(COUNTS, len(prediction))
    weighted = Tensor(prediction, requires_grad=True, device=device)
    value, weight = loss.mean_and_weight(
        weighted, Tensor(target, device=device), sample_weight=counts
    )
    value.backward()
    index = np.arange(len(counts)).repeat(counts)
    repeated = Tensor(prediction[index], requires_grad=True, device=device)
    expected, size = loss.mean_and_weight(repeated, Tensor(target[index], device=device))
    expected.backward()
    assert weight == pytest.approx(size, rel=1e-14)
    np.testing.assert_allclose(value.numpy(), expected.numpy(), rtol=1e-13)
    gradient = np.zeros(prediction.shape)
    np.add.at(gradient, index, repeated.grad.numpy())
    np.testing.assert_allclose(weighted.grad.numpy(), gradient, rtol=1e-12, atol=1e-15)


def test_weights_of_1_change_nothing():
    for loss in (MSELoss(), KLDivLoss("batchmean"), SoftmaxCrossEntropyLoss(weight=[1, 2, 3, 4])):
        target = CLASSES if isinstance(loss, SoftmaxCrossEntropyLoss) else np.abs(LOGITS) / 9
        plain = loss(Tensor(LOGITS), target)
        assert loss(Tensor(LOGITS), target, sample_weight=np.ones(6)).numpy() == plain.numpy()


def test_unreduced_losses_are_multiplied():
    losses = MSELoss("none")(Tensor(LOGITS), -LOGITS, sample_weight=np.arange(6))
    np.testing.assert_allclose(losses.numpy(), np.arange(6)[:, None] * (2 * LOGITS) ** 2)


def test_each_loss_can_have_a_weight(device):
    weight = rng.integers(0, 3, LOGITS.shape)
    loss = HuberLoss(delta=0.5)
    value, count = loss.mean_and_weight(
        Tensor(LOGITS, device=device),
        Tensor(-LOGITS, device=device),
        sample_weight=Tensor(weight, device=device),
    )
    losses = HuberLoss("none", delta=0.5)(Tensor(LOGITS), -LOGITS).numpy()
    assert count == weight.sum()
    np.testing.assert_allclose(float(value), np.average(losses, weights=weight), rtol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sample_weights_multiply_class_weights(smoothing):
    class_weight = np.array([1.0, 0.5, 2.0, 3.0])
    target = np.where(CLASSES == 2, -1, CLASSES)
    sample_weight = rng.uniform(size=6)
    options = {"ignore_index": -1, "label_smoothing": smoothing}
    loss = SoftmaxCrossEntropyLoss(weight=class_weight, **options)
    value, count = loss.mean_and_weight(Tensor(LOGITS), target, sample_weight=sample_weight)
    single = [float(loss.sum_and_weight(Tensor(LOGITS[[i]]), target[[i]])[0]) for i in range(6)]
    np.testing.assert_allclose(count, (sample_weight * class_weight[target])[target >= 0].sum())
    np.testing.assert_allclose(float(value), np.dot(single, sample_weight) / count, rtol=1e-13)


def test_class_weights_as_sample_weights_equal_pytorchs_weight():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    weight = np.array([1.0, 0.5, 2.0, 3.0])
    given = torch.tensor(LOGITS, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(given, torch.tensor(CLASSES), torch.tensor(weight))
    expected.backward()
    logits = Tensor(LOGITS, requires_grad=True)
    loss = SoftmaxCrossEntropyLoss()(logits, CLASSES, sample_weight=weight[CLASSES])
    loss.backward()
    np.testing.assert_allclose(float(loss), expected.item(), rtol=1e-14)
    np.testing.assert_allclose(logits.grad.numpy(), given.grad.numpy(), rtol=1e-12, atol=1e-16)


def test_pytorchs_binary_weight():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    target, weight = (LOGITS > 0.3).astype(float), rng.uniform(size=LOGITS.shape)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        *map(torch.tensor, (LOGITS, target, weight)), reduction="sum"
    )
    loss = BCEWithLogitsLoss("sum")(Tensor(LOGITS), target, sample_weight=weight)
    np.testing.assert_allclose(float(loss), expected.item(), rtol=1e-13)


def test_an_example_of_weight_0_counts_as_absent():
    prediction = LOGITS.copy()
    prediction[2] = np.inf
    x = Tensor(prediction, requires_grad=True)
    loss = MSELoss()(x, LOGITS, sample_weight=[1, 1, 0, 1, 1, 1])
    assert float(loss) == 0
    x = Tensor(LOGITS, requires_grad=True)
    loss, weight = NLLLoss().mean_and_weight(x, CLASSES, sample_weight=np.zeros(6))
    loss.backward()
    assert np.isnan(float(loss))
    assert weight == 0
    assert not x.grad.numpy().any()


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (np.ones(5), ValueError, r"shape \(5,\) does not fit the losses of shape \(6, 4\)"),
        (np.ones((6, 1)), ValueError, r"expected \(6,\), a weight for each example, or \(6, 4\)"),
        (2.0, ValueError, "a weight for each example"),
        ([1, 1, -1, 1, 1, 1], ValueError, "sample_weight: expected finite numbers >= 0, got -1"),
        ([np.nan] * 6, ValueError, "sample_weight: expected finite numbers"),
        (["a"] * 6, TypeError, "sample_weight: expected numbers"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weight, error, message):
    with pytest.raises(error, match=message):
        MSELoss()(Tensor(LOGITS), LOGITS, sample_weight=weight)


def test_losses_that_cannot_weight_are_refused():
    with pytest.raises(TypeError, match=r"NoReduce.forward does not end with self.reduce"):
        NoReduce()(Tensor(LOGITS), LOGITS, sample_weight=np.ones(6))
    with pytest.raises(TypeError, match=r"reduce\(losses, count\) with a number"):
        OwnReduce()(Tensor(LOGITS), LOGITS, sample_weight=np.ones(6))
    assert OwnReduce()(Tensor(LOGITS), LOGITS).item() == 0


@pytest.mark.parametrize("scale", [1e4, 1e-9])
def test_the_scale_of_the_weights_does_not_matter_in_half_precision(scale):
    prediction = Tensor(np.array([100, 200, 30], np.float16), requires_grad=True)
    loss = MSELoss()(prediction, np.zeros(3), sample_weight=np.full(3, scale))
    assert loss.dtype == np.float16
    np.testing.assert_allclose(loss.item(), MSELoss()(prediction, np.zeros(3)).item(), rtol=1e-3)
    loss.backward()
    np.testing.assert_allclose(prediction.grad.numpy(), [66.7, 133.3, 20], rtol=1e-2)


def test_a_series_of_weights():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    weights = pandas.Series([1.0, 3.0])
    assert MSELoss()([1.0, 2.0], [1.0, 4.0], sample_weight=weights).item() == 3.0
