"""The public home of the operations, and options that are given by position."""

import importlib
import pkgutil
import tracemalloc

import nn_layers
import nn_layers.ops
import numpy as np
import pytest
from nn_layers import (
    ELU,
    GELU,
    AvgPool2D,
    BatchNorm1D,
    Conv2D,
    Dense,
    Dropout,
    GroupNorm,
    LayerNorm,
    LeakyReLU,
    LogSoftmax,
    MaxPool2D,
    Reshape,
    RMSNorm,
    Softmax,
    initialize,
)
from nn_layers.ops.embedding import embedding_lookup
from nn_tensor import Tensor
from nn_tensor.extend import Kernel

MODULES = [
    importlib.import_module(f"nn_layers.ops.{info.name}")
    for info in pkgutil.iter_modules(nn_layers.ops.__path__)
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_operation_and_kernel_is_public(module):
    ours = {
        name: value
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__
        and (isinstance(value, Kernel) or hasattr(value, "gradient"))
        and name != "_"
    }
    assert set(ours) <= set(module.__all__)
    for name, value in ours.items():
        assert value.__name__ == name
        assert value.__doc__


def test_the_package_shows_what_users_need():
    assert set(dir(nn_layers)) == {*nn_layers.__all__, "ops"}


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: Dense(3, 2, "he"), "Dense .*: give initialization='he' by name"),
        (lambda: Conv2D(1, 1, 3, 1, 0, 2), "Conv2D .*: give dilation=2 by name"),
        (lambda: MaxPool2D(2, 2, 0, "p"), "MaxPool2D .*: give name='p' by name"),
        (lambda: AvgPool2D(2, 2, 0, "p"), "AvgPool2D .*: give name='p' by name"),
        (lambda: Dropout(0.5, 0), r"Dropout takes 1 positional argument \(p\): give rng=0 by name"),
        (lambda: Softmax(-1, "cpu"), "Softmax .*: give device='cpu' by name"),
        (lambda: LogSoftmax(-1, "cpu"), "LogSoftmax .*: give device='cpu' by name"),
        (lambda: LeakyReLU(0.1, "cpu"), "LeakyReLU .*: give device='cpu' by name"),
        (lambda: ELU(0.1, "cpu"), "ELU .*: give device='cpu' by name"),
        (lambda: GELU("tanh", "cpu"), "GELU .*: give device='cpu' by name"),
        (lambda: LayerNorm(3, 1e-6), "LayerNorm .*: give epsilon=1e-06 by name"),
        (lambda: RMSNorm(3, 1e-6), "RMSNorm .*: give epsilon=1e-06 by name"),
        (lambda: GroupNorm(1, 3, 1e-6), "GroupNorm .*: give epsilon=1e-06 by name"),
        (lambda: BatchNorm1D(3, 1e-6, 0.2), "give epsilon=1e-06, momentum=0.2 by name"),
        (lambda: Reshape(3, "r"), "Reshape .*: give name='r' by name"),
        (lambda: initialize("he", (2, 2), 2, 2, 0), "initialize .*: give rng=0 by name"),
    ],
)
def test_options_are_given_by_name(call, reason):
    with pytest.raises(TypeError, match=reason):
        call()


@pytest.mark.parametrize("count", [4, 4000])
def test_a_lookup_does_not_copy_weights_in_another_order(count, rng):
    weights = rng.standard_normal((16, 100_000)).astype(np.float32).T  # 6 MB
    tokens = rng.integers(-len(weights), len(weights), count)
    tracemalloc.start()
    try:
        result = embedding_lookup(Tensor(weights), Tensor(tokens))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(result.numpy(), weights[tokens])
    assert peak < 2_000_000
