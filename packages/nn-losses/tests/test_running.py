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
