"""Metrics over batches equal those of all examples at once, and those of scikit-learn."""

import numpy as np
import pytest
from nn_losses import (
    MAE,
    R2,
    RMSE,
    ROCAUC,
    Accuracy,
    AveragePrecision,
    ConfusionMatrix,
    F1Score,
    Precision,
    Recall,
    TopKAccuracy,
)
from nn_tensor import Tensor

rng = np.random.default_rng(0)
SCORES = rng.integers(-5, 5, (50, 4)).astype(float)
CLASSES = rng.integers(0, 4, 50)
REAL, TARGET = rng.normal(size=(2, 50, 3)) + 1e6
BINARY = rng.integers(0, 2, 50)

CASES = {
    "accuracy": (Accuracy(), SCORES, CLASSES),
    "top k": (TopKAccuracy(2), SCORES, CLASSES),
    "confusion": (ConfusionMatrix(4), SCORES, CLASSES),
    "precision": (Precision(), SCORES, CLASSES),
    "recall": (Recall("weighted"), SCORES, CLASSES),
    "f1": (F1Score("none"), SCORES, CLASSES),
    "mae": (MAE(), REAL, TARGET),
    "rmse": (RMSE(), REAL, TARGET),
    "r2": (R2(), REAL, TARGET),
    "r2 of a column": (R2(), REAL[:, 0], TARGET[:, 0]),
    "auc": (ROCAUC(), SCORES[:, 0], BINARY),
    "average precision": (AveragePrecision(), SCORES[:, 0], BINARY),
}
PARTS = [slice(0, 1), slice(1, 20), slice(20, 50)]


@pytest.mark.parametrize("name", CASES)
def test_batches_add_up(name):
    metric, prediction, target = CASES[name]
    for _ in range(2):
        metric.reset()
        for part in PARTS:
            metric.update(prediction[part], target[part])
        np.testing.assert_allclose(metric.result(), metric(prediction, target), rtol=1e-9)
    with pytest.raises(ValueError, match=r"no batch since reset\(\)"):
        type(metric).result(_fresh(metric))


def _fresh(metric):
    metric.reset()
    return metric


@pytest.mark.parametrize("name", CASES)
def test_the_state_goes_on_in_another(name):
    metric, prediction, target = CASES[name]
    metric.reset()
    for part in PARTS[:2]:
        metric.update(prediction[part], target[part])
    state = metric.state_dict()
    metric.update(prediction[PARTS[2]], target[PARTS[2]])
    expected = metric.result()
    metric.reset()
    assert metric.state_dict() == {}
    metric.load_state_dict(state)
    metric.update(prediction[PARTS[2]], target[PARTS[2]])
    np.testing.assert_array_equal(metric.result(), expected)


def test_scikit_learn():
    sk = pytest.importorskip("sklearn.metrics", reason="compares with scikit-learn")
    x, y = SCORES[:, 0], BINARY
    pairs = [
        (ROCAUC()(x, y), sk.roc_auc_score(y, x)),
        (AveragePrecision()(x, y), sk.average_precision_score(y, x)),
        (MAE()(REAL, TARGET), sk.mean_absolute_error(TARGET, REAL)),
        (RMSE()(REAL[:, 0], TARGET[:, 0]), sk.root_mean_squared_error(TARGET[:, 0], REAL[:, 0])),
        (R2()(REAL, TARGET), sk.r2_score(TARGET, REAL)),
        (Accuracy()(SCORES, CLASSES), sk.accuracy_score(CLASSES, SCORES.argmax(1))),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


WEIGHTS = rng.integers(0, 4, 50)


@pytest.mark.parametrize("name", CASES)
def test_an_example_of_weight_k_counts_as_k_copies(name):
    metric, prediction, target = CASES[name]
    expected = metric(prediction.repeat(WEIGHTS, axis=0), target.repeat(WEIGHTS, axis=0))
    np.testing.assert_allclose(
        metric(prediction, target, sample_weight=WEIGHTS), expected, rtol=1e-12
    )
    assert np.shape(metric(prediction, target, sample_weight=np.ones(50))) == np.shape(expected)
    metric.reset()
    for part in PARTS:
        metric.update(prediction[part], target[part], sample_weight=Tensor(WEIGHTS[part]))
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_batches_with_and_without_weights_add_up(name):
    metric, prediction, target = CASES[name]
    weights = np.ones(50)
    weights[PARTS[1]] = WEIGHTS[PARTS[1]]
    metric.reset()
    for part in PARTS:
        weight = weights[part] if part == PARTS[1] else None
        metric.update(prediction[part], target[part], sample_weight=weight)
    expected = metric(prediction, target, sample_weight=weights)
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-9)
    state, before = metric.state_dict(), metric.result()
    metric.reset()
    metric.load_state_dict(state)
    np.testing.assert_array_equal(metric.result(), before)


@pytest.mark.parametrize("name", CASES)
def test_examples_of_weight_0_count_as_absent(name):
    metric, prediction, target = CASES[name]
    empty = np.zeros(50)
    nothing = metric(prediction, target, sample_weight=empty)
    if name == "confusion":
        assert not nothing.any()
    else:
        assert np.isnan(nothing).all()
    metric.reset()
    for weight in (empty, WEIGHTS, empty):
        metric.update(prediction, target, sample_weight=weight)
    expected = metric(prediction, target, sample_weight=WEIGHTS)
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_weights_that_do_not_fit_are_refused(name):
    metric, prediction, target = CASES[name]
    with pytest.raises(ValueError, match=r"sample_weight: shape \(49,\) does not fit the examples"):
        metric(prediction, target, sample_weight=np.ones(49))
    with pytest.raises(ValueError, match="sample_weight: expected finite numbers >= 0, got -1"):
        metric(prediction, target, sample_weight=-np.ones(50))


def test_weights_of_tokens():
    scores, classes = SCORES[:48].reshape(6, 8, 4), CLASSES[:48].reshape(6, 8)
    weights = rng.uniform(size=(6, 8))
    for metric in (Accuracy(), TopKAccuracy(2), Recall("micro")):
        right = metric(SCORES[:48], CLASSES[:48], sample_weight=weights.reshape(-1))
        assert metric(scores, classes, sample_weight=weights) == right
    lines = metric(scores, classes, sample_weight=weights[:, 0])
    assert lines == metric(scores, classes, sample_weight=weights[:, :1].repeat(8, axis=1))


def test_scikit_learn_with_weights():
    sk = pytest.importorskip("sklearn.metrics", reason="compares with scikit-learn")
    weight, x, y = rng.uniform(size=50), SCORES[:, 0], BINARY
    weight[::7] = 0
    given, chosen = {"sample_weight": weight}, SCORES.argmax(1)
    pairs = [
        (ROCAUC()(x, y, **given), sk.roc_auc_score(y, x, **given)),
        (AveragePrecision()(x, y, **given), sk.average_precision_score(y, x, **given)),
        (MAE()(REAL, TARGET, **given), sk.mean_absolute_error(TARGET, REAL, **given)),
        (RMSE()(REAL, TARGET, **given) ** 2, sk.mean_squared_error(TARGET, REAL, **given)),
        (R2()(REAL, TARGET, **given), sk.r2_score(TARGET, REAL, **given)),
        (Accuracy()(SCORES, CLASSES, **given), sk.accuracy_score(CLASSES, chosen, **given)),
        (
            TopKAccuracy(2)(SCORES + np.arange(4, 0, -1) / 100, CLASSES, **given),
            sk.top_k_accuracy_score(CLASSES, SCORES + np.arange(4, 0, -1) / 100, k=2, **given),
        ),
        (
            ConfusionMatrix(4)(SCORES, CLASSES, **given),
            sk.confusion_matrix(CLASSES, chosen, **given),
        ),
    ]
    for average in ("macro", "weighted", "micro"):
        options = {"average": average, "zero_division": 0, **given}
        pairs += [
            (
                Precision(average)(SCORES, CLASSES, **given),
                sk.precision_score(CLASSES, chosen, **options),
            ),
            (
                Recall(average)(SCORES, CLASSES, **given),
                sk.recall_score(CLASSES, chosen, **options),
            ),
            (F1Score(average)(SCORES, CLASSES, **given), sk.f1_score(CLASSES, chosen, **options)),
        ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_special_cases():
    assert R2()([1.0, 1.0], [1.0, 1.0]) == 1
    assert R2()([1.0, 2.0], [1.0, 1.0]) == 0
    assert np.isnan(ROCAUC()([1.0, 2.0], [1, 1]))
    assert np.isnan(ROCAUC()([1.0, np.nan], [1, 0]))
    assert np.isnan(AveragePrecision()([1.0, 2.0], [0, 0]))
    with pytest.raises(ValueError, match="target: expected 0 and 1, got 2"):
        ROCAUC()([1.0, 2.0], [0, 2])
    with pytest.raises(ValueError, match="has no examples"):
        MAE()(np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="differs from the prediction's shape"):
        R2()([1.0, 2.0], [[1.0, 2.0]])
