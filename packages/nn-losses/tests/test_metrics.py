"""Metrics, against their definitions written out."""

import numpy as np
import pytest
from nn_losses import Accuracy, ConfusionMatrix, F1Score, Precision, Recall, TopKAccuracy
from nn_tensor import Tensor, ones


def draw(shape):
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(shape).astype(np.float32)
    return scores, rng.integers(0, shape[-1], shape[:-1])


@pytest.mark.parametrize("shape", [(5,), (40, 3), (4, 5, 6), (2, 3, 4, 5)])
@pytest.mark.parametrize("one_hot", [False, True])
def test_accuracy(shape, one_hot, device):
    scores, classes = draw(shape)
    wanted = np.mean(scores.argmax(-1) == classes)
    target = np.eye(shape[-1])[classes] if one_hot else classes
    found = Accuracy()(Tensor(scores, device=device), Tensor(target, device=device))
    assert type(found) is float
    assert found == wanted


def test_shape_decides_and_not_values():
    # 2 classes and 2 examples: the shape (2, 2) is one-hot, (2,) are indices
    scores = Tensor([[0.9, 0.1], [0.2, 0.8]])
    assert Accuracy()(scores, [[1, 0], [0, 1]]) == 1.0
    assert Accuracy()(scores, [0, 1]) == 1.0
    assert Accuracy()(scores, [1, 1]) == 0.5


METRICS = [Accuracy(), TopKAccuracy(1), Precision(), Recall(), F1Score()]
each_metric = pytest.mark.parametrize("metric", METRICS, ids=repr)
SHAPES = [(40, 3), (4, 5, 6), (2, 3, 4, 5)]


@each_metric
def test_nothing_is_recorded(metric):
    scores = ones(2, 3, requires_grad=True)
    assert type(metric(scores, [0, 1])) is float
    assert not scores.has_grad


@pytest.mark.parametrize("shape", [(5,), *SHAPES])
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k(shape, one_hot, k, device):
    scores, classes = draw(shape)
    best = np.argsort(-scores, -1, kind="stable")[..., :k]
    wanted = np.mean((best == classes[..., None]).any(-1))
    target = np.eye(shape[-1])[classes] if one_hot else classes
    found = TopKAccuracy(k)(Tensor(scores, device=device), Tensor(target, device=device))
    assert type(found) is float
    assert found == pytest.approx(wanted, abs=1e-15)


def test_top_k_of_equals_takes_the_first(device):
    scores = ones(4, 4, device=device)
    target = [0, 1, 2, 3]
    assert [TopKAccuracy(k)(scores, target) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert TopKAccuracy(1)(scores, target) == Accuracy()(scores, target)


def test_top_k_of_nan(device):
    scores = Tensor([[np.nan, 3.0, 2.0, 1.0]], device=device)
    assert [TopKAccuracy(2)(scores, [c]) for c in range(4)] == [0.0, 1.0, 0.0, 0.0]


def count(scores, classes):
    matrix = np.zeros((scores.shape[-1], scores.shape[-1]), np.int64)
    for wanted, found in zip(classes.reshape(-1), scores.argmax(-1).reshape(-1), strict=True):
        matrix[wanted, found] += 1
    return matrix


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("predicted", ["scores", "indices"])
@pytest.mark.parametrize("one_hot", [False, True])
def test_confusion_matrix(shape, predicted, one_hot, device):
    scores, classes = draw(shape)
    prediction = scores if predicted == "scores" else scores.argmax(-1).astype(np.uint8)
    target = np.eye(shape[-1])[classes] if one_hot else classes.astype(np.int8)
    found = ConfusionMatrix(shape[-1])(
        Tensor(prediction, device=device), Tensor(target, device=device)
    )
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, count(scores, classes), strict=True)


def test_confusion_matrices_add_up(device):
    scores, classes = draw((40, 3))
    metric = ConfusionMatrix(3)
    halves = [[Tensor(x[i::2], device=device) for x in (scores, classes)] for i in range(2)]
    parts = [metric(*half) for half in halves]
    whole = metric(scores, classes)
    np.testing.assert_array_equal(sum(parts), whole)
    assert F1Score().from_matrix(sum(parts)) == F1Score()(scores, classes)
    np.testing.assert_array_equal(metric(np.zeros((0, 3)), np.zeros(0, int)), np.zeros((3, 3)))


def ratios(kind, matrix, zero):
    """Compute a ratio for each class from true and false positives and false negatives."""
    values = []
    for c in range(len(matrix)):
        true_positives = matrix[c, c]
        false_positives, false_negatives = (
            matrix[:, c].sum() - true_positives,
            matrix[c].sum() - true_positives,
        )
        above, below = {
            Precision: (true_positives, true_positives + false_positives),
            Recall: (true_positives, true_positives + false_negatives),
            F1Score: (2 * true_positives, 2 * true_positives + false_positives + false_negatives),
        }[kind]
        values.append(above / below if below else zero)
    return np.array(values)


@pytest.mark.parametrize("kind", [Precision, Recall, F1Score])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("zero", [0.0, 1.0, np.nan])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("one_hot", [False, True])
def test_ratios_and_their_averages(kind, shape, zero, gaps, one_hot, device):
    scores, classes = draw(shape)
    if gaps:  # class 0 is never predicted, the last never right, and one is neither
        scores[..., 0] = -9
        classes = np.where(classes == shape[-1] - 1, 0, classes)
    matrix = count(scores, classes)
    each = ratios(kind, matrix, zero)
    support = matrix.sum(1)
    known = ~np.isnan(each)
    wanted = {
        "none": each,
        "macro": each[known].mean(),
        "weighted": (each[known] * support[known]).sum() / support[known].sum(),
        "micro": np.trace(matrix) / matrix.sum(),
    }
    target = np.eye(shape[-1])[classes] if one_hot else classes
    for average, value in wanted.items():
        found = kind(average, zero_division=zero)(
            Tensor(scores, device=device), Tensor(target, device=device)
        )
        assert type(found) is (np.ndarray if average == "none" else float)
        np.testing.assert_allclose(found, value, rtol=1e-14)


def test_ratios_by_hand():
    matrix = [[3, 1, 0], [2, 2, 0], [0, 2, 0]]
    np.testing.assert_allclose(Precision("none").from_matrix(matrix), [3 / 5, 2 / 5, 0])
    np.testing.assert_allclose(Recall("none").from_matrix(matrix), [3 / 4, 2 / 4, 0])
    np.testing.assert_allclose(F1Score("none").from_matrix(matrix), [6 / 9, 4 / 9, 0])
    assert F1Score().from_matrix(matrix) == pytest.approx(10 / 27)
    assert F1Score("weighted").from_matrix(matrix) == pytest.approx((4 * 6 + 4 * 4) / 9 / 10)
    assert Precision(zero_division=1).from_matrix(matrix) == pytest.approx(2 / 3)
    assert Precision(zero_division=np.nan).from_matrix(matrix) == pytest.approx(1 / 2)
    assert Precision("micro").from_matrix(matrix) == Recall("micro").from_matrix(matrix) == 0.5


def test_an_average_of_nothing_is_nan():
    never_right = [[0, 1], [0, 0]]  # the one target class was never predicted
    assert np.isnan(Precision("weighted", zero_division=np.nan).from_matrix(never_right))
    assert Precision("macro", zero_division=np.nan).from_matrix(never_right) == 0.0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: TopKAccuracy(0), ValueError, "k: expected an integer >= 1, got 0"),
        (lambda: TopKAccuracy(1.5), TypeError, "k: expected an integer >= 1, got 1.5"),
        (lambda: TopKAccuracy(True), TypeError, "k: .* got True"),
        (lambda: ConfusionMatrix(-1), ValueError, "num_classes: .* got -1"),
        (lambda: ConfusionMatrix("3"), TypeError, "num_classes: .* got '3'"),
        (lambda: Precision("mean"), ValueError, "average: expected one of .* got 'mean'"),
        (lambda: Recall(None), ValueError, "average: expected one of .* got None"),
        (lambda: F1Score(zero_division="warn"), TypeError, "zero_division: .* got 'warn'"),
        (lambda: F1Score(zero_division=np.inf), ValueError, "zero_division: .* got inf"),
        (lambda: Recall("macro", 1.0), TypeError, "Recall takes .* give zero_division=1.0 by name"),
    ],
)
def test_wrong_options(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("matrix", "error", "message"),
    [
        ([[1, 2]], ValueError, r"matrix: expected a square matrix, got shape \(1, 2\)"),
        ([["a"]], TypeError, "matrix: expected integers, or sums of weights, got <U1"),
        ([[np.nan]], ValueError, "matrix: expected finite counts >= 0, got nan"),
        ([[1, -2], [0, 1]], ValueError, "matrix: expected finite counts >= 0, got -2"),
        ([[0, 0], [0, 0]], ValueError, r"matrix: shape \(2, 2\) has no examples"),
    ],
)
def test_wrong_matrices(matrix, error, message):
    with pytest.raises(error, match=message):
        Precision().from_matrix(matrix)


@pytest.mark.parametrize(
    ("prediction", "target", "error", "message"),
    [
        ([0, 3], [0, 1], IndexError, "prediction: class 3 does not exist, expected 0 to 2"),
        ([0, -1], [0, 1], IndexError, "prediction: class -1 does not exist"),
        ([0, 1], [0, 3], IndexError, "target: class 3 does not exist"),
        ([0, 1], [0, 1, 2], ValueError, r"target: shape \(3,\) .*\(2,\)"),
        ([0, 1], [0.0, 1.0], TypeError, "target: class indices must be integers, got float32"),
        (ones(2, 4), [0, 1], ValueError, r"prediction: shape \(2, 4\) .* num_classes=3"),
        (Tensor([True]), [0], TypeError, "prediction: expected a floating dtype, got bool"),
    ],
)
def test_wrong_calls_of_the_confusion_matrix(prediction, target, error, message):
    with pytest.raises(error, match=message):
        ConfusionMatrix(3)(prediction, target)


def test_more_than_all_classes():
    with pytest.raises(ValueError, match="k: 4 is more than the 3 classes of the prediction"):
        TopKAccuracy(4)(ones(2, 3), [0, 1])


def test_descriptions():
    metrics = [
        Accuracy(),
        TopKAccuracy(3),
        ConfusionMatrix(2),
        Recall("none"),
        F1Score("micro", zero_division=1),
    ]
    assert list(map(repr, metrics)) == [
        "Accuracy()",
        "TopKAccuracy(k=3)",
        "ConfusionMatrix(num_classes=2)",
        "Recall(average='none')",
        "F1Score(average='micro', zero_division=1)",
    ]


@pytest.mark.parametrize(
    ("scores", "target", "error", "message"),
    [
        (ones(4, 3), [0, 1], ValueError, r"target: shape \(2,\).*\(4, 3\)"),
        (ones(4, 3), [[0], [1], [2], [0]], ValueError, r"target: shape \(4, 1\).*\(4, 3\)"),
        (ones(2, 3), [0.0, 1.0], TypeError, "target: class indices must be integers, got float32"),
        (ones(2, 3), [0, 3], IndexError, "target: class 3 does not exist, expected 0 to 2"),
        (ones(4, 1), [[0], [1], [1], [0]], ValueError, r"prediction: shape \(4, 1\) has one class"),
        (ones(0, 3), np.zeros(0, int), ValueError, r"prediction: shape \(0, 3\) has no examples"),
        (Tensor([[1, 2]]), [0], TypeError, "prediction: expected a floating dtype, got int64"),
    ],
)
@each_metric
def test_wrong_calls(metric, scores, target, error, message):
    with pytest.raises(error, match=message):
        metric(scores, target)


def test_a_matrix_of_weights():
    scores, classes = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], [0, 0, 1]
    weights = [0.5, 1.5, 1.0]
    matrix = ConfusionMatrix(2)(scores, classes, sample_weight=weights)
    expected = Recall("none")(scores, classes, sample_weight=weights)
    np.testing.assert_allclose(Recall("none").from_matrix(matrix), expected)
