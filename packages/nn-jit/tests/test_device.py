"""Programs on a device."""

import numpy as np
from nn_jit import jit
from nn_tensor import Tensor


def gradients(device, make_function):
    """Return the gradients of some calls."""
    w = Tensor([[1.0, -2.0], [0.5, 3.0]], device=device, requires_grad=True)

    def function(x):
        w.zero_grad()
        loss = ((x @ w).tanh() * x).sum()
        loss.backward()
        return loss, w.grad

    function = make_function(function)
    rng = np.random.default_rng(0)
    batches = [Tensor(rng.normal(size=(3, 2)), device=device) for _ in range(6)]
    return [part.numpy() for x in batches for part in function(x)]


def test_losses_and_gradients_are_those_of_the_function_as_written(device):
    for fast, plain in zip(gradients(device, jit), gradients(device, lambda f: f), strict=True):
        np.testing.assert_array_equal(fast, plain)
