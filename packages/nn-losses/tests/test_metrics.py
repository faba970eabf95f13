"""`Accuracy`."""

import numpy as np
import pytest
from nn_losses import Accuracy
from nn_tensor import Tensor, ones


def draw(shape):
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(shape).astype(np.float32)
    return scores, rng.integers(0, shape[-1], shape[:-1])


@pytest.mark.parametrize("shape", [(5,), (40, 3), (4, 5, 6), (2, 3, 4, 5)])
@pytest.mark.parametrize("one_hot", [False, True])
def test_share_of_right_rows(shape, one_hot, device):
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


def test_nothing_is_recorded():
    scores = ones(2, 3, requires_grad=True)
    assert Accuracy()(scores, [0, 1]) == 0.5
    assert not scores.has_grad


@pytest.mark.parametrize(
    ("scores", "target", "error", "message"),
    [
        (ones(4, 3), [0, 1], ValueError, r"target: shape \(2,\).*\(4, 3\)"),
        (ones(4, 3), [[0], [1], [2], [0]], ValueError, r"target: shape \(4, 1\).*\(4, 3\)"),
        (ones(2, 3), [0.0, 1.0], TypeError, "target: class indices must be integers, got float32"),
        (ones(2, 3), [0, 3], IndexError, "target: class 3 does not exist, expected 0 to 2"),
        (ones(4, 1), [[0], [1], [1], [0]], ValueError, r"prediction: shape \(4, 1\) has one class"),
        (ones(0, 3), np.zeros(0, int), ValueError, r"prediction: shape \(0, 3\) holds no example"),
        (Tensor([[1, 2]]), [0], TypeError, "prediction: expected a floating dtype, got int64"),
    ],
)
def test_wrong_calls(scores, target, error, message):
    with pytest.raises(error, match=message):
        Accuracy()(scores, target)
