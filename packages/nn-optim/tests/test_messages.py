"""What optimizers log instead of raising."""

import logging

import numpy as np
import pytest
from nn_optim import SGD, Adam, clip_gradients_by_norm
from nn_tensor import ones


def messages(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "nn_optim"]


def test_step_without_any_gradient_changes_nothing_and_says_so_once(caplog, device):
    x = ones(3, device=device, requires_grad=True)
    optimizer = Adam([x])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            optimizer.step()
    assert np.array_equal(x.numpy(), np.ones(3))
    assert int(optimizer.state_dict()["0.step"]) == 0
    (message,) = messages(caplog)
    assert message.startswith("Adam.step: no parameter has a gradient, so nothing was changed")
    x.sum().backward()
    optimizer.step()
    assert len(messages(caplog)) == 1


def test_step_with_some_gradients_says_nothing(caplog):
    x, y = ones(3, requires_grad=True), ones(3, requires_grad=True)
    x.sum().backward()
    SGD([x, y]).step()
    assert not messages(caplog)


@pytest.mark.parametrize("shapes", [[(3,)], [(3,), (2, 2)], [(200, 200)]])
def test_nan_in_a_parameter_points_to_detect_anomaly_once(caplog, shapes):
    parameters = [ones(*shape, requires_grad=True) for shape in shapes]
    optimizer = SGD(parameters)
    for _ in range(2):
        for parameter in parameters:
            (parameter * float("nan")).sum().backward()
        optimizer.step()
    (message,) = messages(caplog)
    assert message.startswith("SGD.step: a parameter became NaN")
    assert "nn_tensor.detect_anomaly()" in message


def test_clipping_a_norm_that_is_not_finite_points_to_detect_anomaly():
    x = ones(3, requires_grad=True)
    (x * float("nan")).sum().backward()
    with pytest.raises(FloatingPointError, match=r"inside nn_tensor\.detect_anomaly\(\)"):
        clip_gradients_by_norm([x], 1.0)
