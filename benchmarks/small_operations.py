"""Twenty chained elementwise operations on 32 floats and a sum, forward and backward.

The overhead of an operation beside its arithmetic: python benchmarks/small_operations.py
"""

from __future__ import annotations

import numpy as np
from measure import report, side_by_side
from nn_tensor import Tensor


def chain_of(x, factor, tanh):
    y = x
    for _ in range(5):
        y = y * factor
        y = y + x
        y = tanh(y)
        y = y * y
    return y.sum()


def chain(x):
    return chain_of(x, 1.01, Tensor.tanh)


def chain_numpy(x):
    return chain_of(x, np.float32(1.01), np.tanh)


def main() -> None:
    values = np.random.default_rng(0).standard_normal(32).astype(np.float32)
    ours = Tensor(values, requires_grad=True)

    def step():
        ours.zero_grad()
        chain(ours).backward()

    both = {"nn_tensor": step}
    forward = {"NumPy": lambda: chain_numpy(values), "nn_tensor": lambda: chain(ours)}
    step()
    try:
        import torch
    except ModuleNotFoundError:
        print("PyTorch is not installed: no comparison with it")
    else:
        torchs = torch.tensor(values, requires_grad=True)

        def torch_step():
            torchs.grad = None
            chain(torchs).backward()

        torch_step()
        np.testing.assert_allclose(ours.grad.data, torchs.grad.numpy(), rtol=1e-5)
        both["PyTorch"] = torch_step
        forward["PyTorch"] = lambda: chain(torchs)
    report("forward", side_by_side(forward, calls=100), "NumPy")
    report("forward and backward", side_by_side(both, calls=100), list(both)[-1])


if __name__ == "__main__":
    main()
