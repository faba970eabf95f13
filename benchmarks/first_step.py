"""The first training step of a ConvNet, which compiles kernels: python benchmarks/first_step.py

Each step runs in a process of its own: with an empty cache of machine code, then with the one that
the step before has filled. Imports are not timed. The processes share nothing else.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from compare_programs import make_convnet
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import Adam
from nn_tensor import Tensor

BATCH_SIZE = 32


def first_step() -> float:
    """Return the seconds of the first step of this process."""
    rng = np.random.default_rng(0)
    images = Tensor(rng.standard_normal((BATCH_SIZE, 1, 28, 28)).astype(np.float32))
    classes = Tensor(rng.integers(0, 10, BATCH_SIZE))
    model, loss_fn = make_convnet(), SoftmaxCrossEntropyLoss()
    optimizer = Adam(model.parameters)
    start = time.perf_counter()
    loss = loss_fn(model(images), classes)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return time.perf_counter() - start


def main(rounds: int = 3) -> None:
    times: dict[str, list[float]] = {"empty cache": [], "filled cache": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
            for taken in times.values():
                command = [sys.executable, __file__, "once"]
                answer = subprocess.run(command, env=environment, check=True, capture_output=True)
                taken.append(float(answer.stdout))
    for name, taken in times.items():
        print(f"first step, {name:<13} {statistics.median(taken):6.2f} s")


if __name__ == "__main__":
    if sys.argv[1:] == ["once"]:
        print(first_step())
    else:
        main()
