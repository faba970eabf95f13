"""LSTM and GRU layers, forward and backward, compared with PyTorch.

Values and gradients are compared first. `--cpu` gives the CPU time of one thread instead of the
wall-clock time of all: it does not depend on what else runs on the machine.

Run it with: python benchmarks/recurrent.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time

if "--cpu" in sys.argv:  # before a library starts its threads
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import numpy as np
from measure import blas_kernel, report, side_by_side
from nn_recurrent import GRU, LSTM, from_torch_recurrent
from nn_tensor import Tensor, reuse_memory, use_kernels

# input size, hidden size, time, batch
SHAPES = [
    (16, 32, 100, 16),
    (32, 64, 32, 128),
    (64, 128, 50, 32),
    (128, 256, 64, 32),
    (256, 512, 35, 20),
]


def make_steps(name, shape):
    """Return functions that compute a layer and all its gradients."""
    torch = find_torch()
    inputs, size, time_steps, batch = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, time_steps, inputs)).astype(np.float32)
    g = rng.standard_normal((batch, time_steps, size)).astype(np.float32)
    layer = {"LSTM": LSTM, "GRU": GRU}[name](inputs, size, rng=0)
    mine, gradient = Tensor(x, requires_grad=True), Tensor(g)

    def ours():
        layer.zero_grad()
        mine.zero_grad()
        output, _ = layer(mine)
        output.backward(gradient)
        return output.numpy(), mine.grad.numpy()

    def numpy_only():
        with use_kernels("reference"):
            return ours()

    steps = {"nn": ours, "nn, NumPy only": numpy_only}
    if not torch:
        return steps
    network = getattr(torch.nn, name)(inputs, size, batch_first=True)
    layer.load_state_dict(from_torch_recurrent(network.state_dict()))
    there, gradient_there = torch.tensor(x, requires_grad=True), torch.tensor(g)

    def theirs():
        network.zero_grad()
        there.grad = None
        output, _ = network(there)
        output.backward(gradient_there)
        return output.detach().numpy(), there.grad.numpy()

    for actual, expected in zip(ours(), theirs(), strict=True):
        scale = float(abs(expected).max())
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * scale)
    return {"PyTorch": theirs, **steps}


def find_torch():
    """Return PyTorch, or None."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    if "--cpu" in sys.argv:
        torch.set_num_threads(1)
    return torch


def cpu_times(steps, rounds=9):
    """Return the median CPU time of one call of each function, in microseconds."""
    times = {name: [] for name in steps}
    for function in steps.values():
        function()
    for _ in range(rounds):
        for name, function in steps.items():
            start = time.process_time()
            function()
            times[name].append((time.process_time() - start) * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cpu", action="store_true", help="CPU time of one thread")
    parser.add_argument("--rounds", type=int, default=11, help="rounds (%(default)s)")
    args = parser.parse_args()
    reuse_memory()
    print(blas_kernel())
    for name in ("LSTM", "GRU"):
        for shape in SHAPES:
            steps = make_steps(name, shape)
            if args.cpu:
                medians = cpu_times(steps, args.rounds)
            else:
                medians = side_by_side(steps, calls=5, rounds=args.rounds)
            title = "{} {}, hidden {}, time {}, batch {}".format(name, *shape)
            report(title, medians, "PyTorch" if "PyTorch" in medians else "nn")


if __name__ == "__main__":
    main()
