"""Comparing a function with its jit."""

import numpy as np
from nn_jit import jit
from nn_tensor import Tensor

__all__ = ["agree", "assert_same", "inputs", "replays"]


def inputs(count=6, shape=(3,)):
    rng = np.random.default_rng(0)
    return [Tensor(rng.standard_normal(shape).astype(np.float32)) for _ in range(count)]


def agree(function, calls, make=None):
    """Compare a function with its jit on the same calls; `make` builds a function with state."""
    make = make or (lambda: function)
    plain, fast = make(), jit(make())
    for args in calls:
        args = args if isinstance(args, tuple) else (args,)
        assert_same(fast(*args), plain(*args))
    return fast


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, (tuple, list)):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        assert_same(list(a.values()), list(b.values()))
    elif isinstance(a, Tensor):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    else:
        np.testing.assert_array_equal(a, b)


def replays(fast):
    return sum(program.replays for program in fast.explain().programs)
