"""Accumulating k batches equals the batch that is k times as large, in float64 to 1e-12."""

import numpy as np
import pytest
from nn_layers import Dense, Embedding, LayerNorm, ReLU, Sequential
from nn_losses import Accuracy, BCEWithLogitsLoss, HuberLoss, MSELoss, SoftmaxCrossEntropyLoss
from nn_optim import SGD, Adam, AdamW, CosineSchedule
from nn_tensor import Tensor
from nn_train import Trainer

EPOCHS, VOCABULARY, CLASSES = 3, 11, 5
SIZES = [(3, 3, 3, 3, 3, 3), (5, 1, 4, 2, 7, 1, 3), (2, 9, 1, 1), (4,)]
rng = np.random.default_rng(0)


def token_model():
    draw = np.random.default_rng(1)
    model = Sequential(
        Embedding(VOCABULARY, 8, rng=draw),
        Dense(8, 8, rng=draw),
        LayerNorm(8),
        ReLU(),
        Dense(8, CLASSES, rng=draw),
    )
    model.set_dtype("float64")
    return model


def number_model(outputs=2):
    draw = np.random.default_rng(1)
    model = Sequential(Dense(6, 8, rng=draw), ReLU(), Dense(8, outputs, rng=draw))
    model.set_dtype("float64")
    return model


def token_batches(sizes, length=6):
    """Return sentences of which different fractions are ignored, all of it in one batch."""
    batches = []
    for number, size in enumerate(sizes):
        tokens = rng.integers(0, VOCABULARY, (size, length))
        classes = rng.integers(0, CLASSES, (size, length))
        kept = rng.integers(0, length + 1, size)
        kept[0] = 1
        ignored = np.arange(length) >= kept[:, None]
        if number in (1, 6):  # nothing counts; the latter may be a group of its own
            ignored[...] = True
        batches.append((tokens, np.where(ignored, -1, classes)))
    return batches


def number_batches(sizes, target):
    return [(rng.normal(size=(n, 6)), target(n)) for n in sizes]


def real(n):
    return rng.normal(size=(n, 2))


def binary(n):
    return rng.integers(0, 2, (n, 2)).astype(np.float64)


WEIGHT = np.array([1.0, 2.0, 0.5, 0.0, 3.0])
CASES = {
    "ignored tokens": (
        token_model,
        lambda reduction: SoftmaxCrossEntropyLoss(reduction, ignore_index=-1),
        token_batches,
    ),
    "ignored tokens with class weights": (
        token_model,
        lambda reduction: SoftmaxCrossEntropyLoss(reduction, ignore_index=-1, weight=WEIGHT),
        token_batches,
    ),
    "ignored tokens with label smoothing": (
        token_model,
        lambda reduction: SoftmaxCrossEntropyLoss(
            reduction, ignore_index=-1, weight=1 + WEIGHT, label_smoothing=0.1
        ),
        token_batches,
    ),
    "squared error": (number_model, MSELoss, lambda sizes: number_batches(sizes, real)),
    "Huber": (number_model, HuberLoss, lambda sizes: number_batches(sizes, real)),
    "binary": (number_model, BCEWithLogitsLoss, lambda sizes: number_batches(sizes, binary)),
}
OPTIMIZERS = {
    "SGD": lambda p: SGD(p, lr=0.05, momentum=0.9),
    "Adam": lambda p: Adam(p, lr=0.01),
    "AdamW": lambda p: AdamW(p, lr=0.01, weight_decay=0.1),
}


def tensors(batches):
    return [tuple(map(Tensor, batch)) for batch in batches]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("accumulate", [2, 3, 5])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", CASES)
def test_accumulated_batches_equal_the_large_one(case, reduction, accumulate, sizes):
    build, loss, make_batches = CASES[case]
    small = make_batches(sizes)
    groups = [small[i : i + accumulate] for i in range(0, len(small), accumulate)]
    large = [tuple(map(np.concatenate, zip(*group, strict=True))) for group in groups]
    optimizer = list(OPTIMIZERS.values())[(accumulate + len(sizes)) % 3]
    results = []
    for batches, size in ((large, 1), (small, accumulate)):
        model = build()
        trained = optimizer(model.parameters)
        trainer = Trainer(
            model,
            loss(reduction),
            trained,
            accumulate=size,
            clip_norm=0.7,
            schedule=CosineSchedule(trained, 2 * EPOCHS * len(groups)),
        )
        history = trainer.fit(tensors(batches), epochs=EPOCHS, progress=False)
        assert trainer.steps == EPOCHS * len(groups)  # the last group too, which is incomplete
        results.append((model.state_dict(), history, trainer.evaluate(tensors(small))["loss"]))
    (one, first, loss_one), (other, second, loss_other) = results
    for key, value in one.items():
        if key != "__metadata__":
            assert value.dtype == np.float64
            np.testing.assert_allclose(other[key], value, rtol=1e-12, atol=1e-12, err_msg=key)
    np.testing.assert_allclose(loss_other, loss_one, rtol=1e-12)
    if len(groups) == 1:  # the losses of an epoch are of the same weights
        np.testing.assert_allclose(second["loss"], first["loss"], rtol=1e-12)


def test_the_large_batch_is_not_the_mean_of_the_means():
    """The comparison above would see a mean of means: ignored tokens make the difference."""
    small = token_batches((3, 3))[:1] + token_batches((9,))
    large = tuple(map(np.concatenate, zip(*small, strict=True)))
    gradients = []
    for batches in ([large], small):
        model = token_model()
        loss = SoftmaxCrossEntropyLoss(ignore_index=-1)
        for tokens, classes in tensors(batches):
            (loss(model(tokens), classes) * (1 / len(batches))).backward()
        gradients.append(model.parameters[-1].grad.numpy())
    assert np.abs(gradients[0] - gradients[1]).max() > 1e-3


def test_metrics_over_accumulated_batches_are_those_of_the_large_one():
    small = token_batches((5, 1, 4, 2))
    small = [(tokens, np.where(classes < 0, 0, classes)) for tokens, classes in small]
    large = [tuple(map(np.concatenate, zip(*small, strict=True)))]
    histories = []
    for batches, size in ((large, 1), (small, 4)):
        model = token_model()
        trainer = Trainer(
            model,
            SoftmaxCrossEntropyLoss(),
            SGD(model.parameters, lr=0.1),
            metrics={"accuracy": Accuracy()},
            accumulate=size,
        )
        histories.append(trainer.fit(tensors(batches), epochs=3, progress=False))
    np.testing.assert_allclose(histories[1]["accuracy"], histories[0]["accuracy"], rtol=1e-14)
