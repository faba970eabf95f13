"""Weights of examples and classes in a Trainer, with losses of any package."""

import numpy as np
import pytest
from nn_tensor import Tensor, where
from nn_train import Trainer
from nn_train._weights import ClassWeight
from train_parts import Linear, Momentum, batches, squared_error


def weighted_error(prediction, target, sample_weight=None):
    errors = ((prediction - target) ** 2)[:, 0]
    if sample_weight is None:
        return errors.mean()
    weights = sample_weight.data if isinstance(sample_weight, Tensor) else sample_weight
    return (errors * Tensor(weights)).sum() * (1 / weights.sum())


class SumAndWeight:
    __call__ = staticmethod(weighted_error)

    def sum_and_weight(self, prediction, target, sample_weight):
        total = weighted_error(prediction, target, sample_weight)
        weight = float(sample_weight.data.sum())
        return total * weight, weight


def trainer(loss=weighted_error, **options):
    model = Linear()
    return Trainer(model, loss, Momentum([model.w]), **options)


@pytest.mark.parametrize("loss", [weighted_error, SumAndWeight()])
@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_an_example_of_weight_k_counts_as_k_copies(accumulate, loss):
    counts = [np.array(c) for c in ([3, 1, 0, 2], [1, 1, 1, 1], [5, 0, 2, 1], [1, 4])]
    data = batches()
    weighted = [(x, y, Tensor(c)) for (x, y), c in zip(data, counts, strict=True)]
    repeated = [
        tuple(Tensor(part.numpy().repeat(c, axis=0)) for part in batch)
        for batch, c in zip(data, counts, strict=True)
    ]
    a = trainer(loss, sample_weight=True, accumulate=accumulate)
    b = trainer(accumulate=accumulate)
    first = a.fit(weighted, epochs=3, validation=weighted, progress=False)
    second = b.fit(repeated, epochs=3, validation=repeated, progress=False)
    np.testing.assert_allclose(a.model.w.numpy(), b.model.w.numpy(), rtol=1e-12)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(first[name], second[name], rtol=1e-12)


def test_weights_come_with_arrays_too():
    pytest.importorskip("nn_data", reason="nn-data is not installed")
    x, y = (np.concatenate([batch[i].numpy() for batch in batches()]) for i in range(2))
    weights = np.arange(len(x)) % 3
    one = trainer(sample_weight=True)
    values = one.evaluate((x, y, weights), batch_size=5)
    errors = (x @ one.model.w.numpy() - y)[:, 0] ** 2
    assert values["loss"] == pytest.approx(np.average(errors, weights=weights), rel=1e-12)


def test_class_weights_multiply_sample_weights():
    weight = ClassWeight({0: 2.0, 2: 5.0})
    prediction, target = np.zeros((5, 4)), np.array([0, 1, 2, 3, -1])
    assert weight.of(prediction, target, None).tolist() == [2, 1, 5, 1, 1]
    assert weight.of(prediction, Tensor(target), Tensor(np.arange(5))).tolist() == [0, 1, 10, 3, 4]
    assert weight.numbers() == [2, 1, 5]
    tokens = ClassWeight([1, 3]).of(
        np.zeros((2, 2, 2)), np.array([[0, 1], [1, 1]]), np.array([1, 2])
    )
    assert tokens.tolist() == [[1, 3], [6, 6]]
    assert ClassWeight([1, 3]).of(np.zeros((2, 1)), np.array([[0], [1]]), None).tolist() == [
        [1],
        [3],
    ]


def test_class_weights_are_sample_weights():
    rng = np.random.default_rng(0)
    x, classes = Tensor(rng.normal(size=(8, 3))), np.array([[0], [1], [1], [0], [0], [1], [0], [0]])
    weights = np.where(classes[:, 0] == 1, 4.0, 0.5)

    def loss(prediction, target, sample_weight):
        return weighted_error(prediction, target.astype(np.float64), sample_weight.reshape(-1))

    a, b = trainer(loss, class_weight=[0.5, 4.0]), trainer(loss, sample_weight=True)
    assert a.step((x, Tensor(classes))) == b.step((x, Tensor(classes), Tensor(weights)))
    assert a.step((x, Tensor(classes))).weight == weights.sum()
    assert a.model.w.numpy().tobytes() != b.model.w.numpy().tobytes()


def test_a_loss_without_weights_is_refused():
    with pytest.raises(TypeError, match="loss: squared_error takes no sample_weight"):
        trainer(squared_error, sample_weight=True)
    with pytest.raises(TypeError, match="loss: squared_error takes no sample_weight"):
        trainer(squared_error, class_weight={0: 1})


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ({-1: 1}, ValueError, "class_weight: the class"),
        ({"a": 1}, TypeError, "class_weight: the class"),
        ({0: -1}, ValueError, r"class_weight\[0\]: expected a finite number >= 0, got -1"),
        ([], ValueError, "class_weight: has no weights"),
        ("balanced", TypeError, "class_weight: expected a dict by class index"),
        (2.0, TypeError, "class_weight: expected a dict by class index"),
    ],
)
def test_wrong_class_weights_are_refused(weights, error, message):
    with pytest.raises(error, match=message):
        trainer(class_weight=weights)


def test_class_weights_that_do_not_fit_are_refused():
    prediction, target = np.zeros((2, 3)), np.array([0, 1])
    with pytest.raises(ValueError, match="for the classes 0 to 3, but the prediction has 3"):
        ClassWeight({3: 1.0}).of(prediction, target, None)
    with pytest.raises(ValueError, match="for the classes 0 to 1, but the prediction has 3"):
        ClassWeight([1.0, 1.0]).of(prediction, target, None)
    with pytest.raises(TypeError, match="expected targets of class indices, got float64"):
        ClassWeight([1.0, 1.0, 1.0]).of(prediction, prediction, None)


def test_a_batch_without_weights_is_refused():
    with pytest.raises(TypeError, match=r"expected a tuple \(inputs, target, weights\)"):
        trainer(sample_weight=True).step(batches()[0])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_of_weight_0_has_gradients_of_0(accumulate):
    a = trainer(sample_weight=True, accumulate=accumulate)
    (x, y), w = batches()[0], a.model.w.numpy().copy()
    with np.errstate(all="ignore"):
        for _ in range(accumulate):
            result = a.step((x, y, Tensor(np.zeros(len(y)))))
    assert (result.weight, result.stepped) == (0.0, True)
    np.testing.assert_array_equal(a.model.w.numpy(), w)


class FiniteSum:
    """A loss that is 0 where nothing counts, with a gradient of NaN."""

    __call__ = staticmethod(weighted_error)

    def sum_and_weight(self, prediction, target, sample_weight):
        weights = sample_weight.data
        errors = ((prediction - target) ** 2)[:, 0]
        return where(weights == 0, 0, errors).sum(), float(weights.sum())


def test_a_finite_loss_of_nothing_has_gradients_of_0():
    a = trainer(FiniteSum(), sample_weight=True)
    (x, y), w = batches()[0], a.model.w.numpy().copy()
    result = a.step((x, Tensor(np.full(y.shape, np.nan)), Tensor(np.zeros(len(y)))))
    assert result == (0.0, 0.0, True)
    np.testing.assert_array_equal(a.model.w.numpy(), w)


@pytest.mark.parametrize("shape", [(), (1,), (2,)])
def test_sample_weights_are_not_broadcast_to_classes(shape):
    with pytest.raises(ValueError, match=r"sample_weight: expected the shape \(3,\)"):
        ClassWeight([1.0, 5.0]).of(np.zeros((3, 2)), np.array([0, 1, 1]), np.ones(shape))
