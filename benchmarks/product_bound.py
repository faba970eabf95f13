"""How much faster than PyTorch a step could be whose products ran at the processor's rate.

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/product_bound.py [ROW ...]

The floating-point operations of the matrix products of a training step are those that PyTorch
counts. The rate is the highest that nn, NumPy or PyTorch reaches in a product of two large square
matrices. A step that did nothing but its products, all of them at this rate, would be faster than
PyTorch by the ratio in the column "bound": no implementation in float32 that does the same
multiplications can be.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
from against_pytorch import OURS
from against_pytorch_rows import ROWS, torch
from measure import blas_kernel, times_side_by_side
from nn_tensor import Tensor, matmul, no_grad, reuse_memory

NAMES = "Transformer", "nanoGPT", "MLP, batch 1024", "MLP, batch 32"
SIZE, TRIES = 2048, 9


def highest_rate():
    """Return the most floating-point operations of a product in a nanosecond."""
    x = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)
    tensor, other = Tensor(x), torch.tensor(x)
    products = {
        "nn": lambda: matmul(tensor, tensor),
        "NumPy": lambda: x @ x,
        "PyTorch": lambda: other @ other,
    }
    times = {name: [] for name in products}
    for _ in range(TRIES):
        for name, product in products.items():
            time.sleep(0.2)
            product()
            start = time.perf_counter()
            product()
            times[name].append(time.perf_counter() - start)
    rates = {name: 2 * SIZE**3 / min(values) / 1e9 for name, values in times.items()}
    print(", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()), "GFLOP/s at most\n")
    return max(rates.values())


def count(step):
    """Return the floating-point operations of the products of a step of PyTorch."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def main(names: list[str]) -> None:
    if not torch:
        raise SystemExit("PyTorch is not installed")
    reuse_memory()
    print(blas_kernel())
    with no_grad():
        rate = highest_rate()
    print("| row | GFLOP | ms at this rate | nn, ms | PyTorch, ms | ratio | bound |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in names or NAMES:
        candidates = ROWS[name]()
        flops = count(candidates["eager"])
        del candidates["nn, NumPy"]
        candidates.pop("compile", None)
        for function in candidates.values():
            for _ in range(3):
                function()
        calls = 5 if flops > 1e8 else 100
        taken = times_side_by_side(candidates, calls, 7)
        medians = {key: statistics.median(values) / 1e3 for key, values in taken.items()}
        ours = min(value for key, value in medians.items() if key in OURS)
        peer = min(value for key, value in medians.items() if key not in OURS)
        least = flops / rate / 1e6
        cells = name, f"{flops / 1e9:.3f}", f"{least:.2f}", f"{ours:.2f}", f"{peer:.2f}"
        print(f"| {' | '.join(cells)} | {peer / ours:.2f} | {peer / least:.2f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
