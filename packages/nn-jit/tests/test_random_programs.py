"""Programs made at random, with their gradients, under `jit`: equal to plain runs."""

import os

import nn_tensor
import numpy as np
import pytest
from nn_jit import jit
from nn_tensor import Tensor, no_grad

COMPILED = int(os.environ.get("NN_JIT_PROGRAMS", "20"))  # 60 on demand

UNARY = [
    nn_tensor.exp,
    nn_tensor.tanh,
    nn_tensor.sigmoid,
    nn_tensor.abs,
    nn_tensor.relu,
    nn_tensor.softmax,
    lambda x: x.T,
    lambda x: x * 0.5 - 1,
    lambda x: x[::-1],
    lambda x: x.reshape(2, -1).reshape(4, 4),
    lambda x: x.sum(axis=0, keepdims=True).broadcast_to((4, 4)),
    lambda x: x.mean() + x,
    lambda x: x - x.max(axis=1, keepdims=True),
    lambda x: x.astype("float64").astype("float32"),
    lambda x: nn_tensor.concatenate([x[:2], x[1:3]]),
    lambda x: x.copy(),
    lambda x: nn_tensor.where(x > 0, x, 0.1 * x),
    lambda x: x / (1 + x * x),
    lambda x: x * 2 if x.shape[0] == 4 else x,
    lambda x: nn_tensor.clip(x, -1, 1),
    lambda x: x[nn_tensor.argsort(x[:, 0])],
]
BINARY = [
    nn_tensor.add,
    nn_tensor.subtract,
    nn_tensor.multiply,
    nn_tensor.maximum,
    lambda x, y: x @ y * 0.3,
    lambda x, y: x * y[0],
    lambda x, y: nn_tensor.where(x > y, x, y * 0.5),
    lambda x, y: nn_tensor.stack([x, y]).mean(axis=0),
]


def make(seed):
    """Return a function with parameters and a buffer, the same for the same seed."""
    rng = np.random.default_rng(seed)
    parameters = [
        Tensor(rng.standard_normal((4, 4)).astype(np.float32), requires_grad=True) for _ in range(2)
    ]
    buffer = nn_tensor.zeros(4, 4)
    plan = []
    for _ in range(rng.integers(5, 41)):
        kind = rng.choice(["unary", "binary", "write", "replace"], p=[0.5, 0.4, 0.07, 0.03])
        choice = rng.integers(1000)
        plan.append((kind, choice, rng.integers(1000), rng.integers(1000)))
    clears = bool(rng.integers(2))

    def step(x, y):
        values = [x, y, *parameters]
        for kind, choice, first, second in plan:
            a, b = values[first % len(values)], values[second % len(values)]
            if kind == "unary":
                values.append(UNARY[choice % len(UNARY)](a))
            elif kind == "binary":
                values.append(BINARY[choice % len(BINARY)](a, b))
            elif kind == "write":
                with no_grad():
                    buffer[choice % 4] = a.detach()[0] * 0.1
                values.append(buffer * 1.0)
            else:
                with no_grad():
                    buffer.data = buffer * 0.5 + a.detach() * 0.01
                values.append(a + buffer)
        loss = sum(v.tanh().mean() for v in values[-3:])
        if clears:
            for p in parameters:
                p.zero_grad()
        if loss.requires_grad:
            loss.backward()
        with no_grad():
            for p in parameters:
                if p.has_grad:
                    p -= p.grad * 0.01
        return loss.detach(), values[-1].detach()

    return step, parameters, buffer


# Compiled loops are new machine code for each program, which takes a second.
@pytest.mark.parametrize(
    ("seed", "fuse"), [(s, False) for s in range(60)] + [(s, True) for s in range(COMPILED)]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_random_program_is_equal(seed, fuse):
    plain, parameters, buffer = make(seed)
    fast, other_parameters, other_buffer = make(seed)
    fast = jit(fast, fuse=fuse)
    rng = np.random.default_rng(seed + 1000)
    for _ in range(7):
        x, y = (Tensor(rng.standard_normal((4, 4)).astype(np.float32)) for _ in range(2))
        for a, b in zip(plain(x, y), fast(x, y), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    for a, b in zip([*parameters, buffer], [*other_parameters, other_buffer], strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert sum(program.replays for program in fast.explain().programs) >= 3
