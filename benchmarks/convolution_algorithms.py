"""Train the ConvNet with algorithm="auto" (Winograd where it pays) and "direct", over five seeds:

    python benchmarks/convolution_algorithms.py [--steps 1000]

Both start from the same weights and see the same batches of noisy images of ten classes. Winograd's
rounding is twice as large, so single steps soon differ; the losses that they reach must not. The
mean loss of the last tenth of the steps is compared. How far losses differ that differ in rounding
alone is found by training twice, from weights that differ by a millionth: over the seeds, the mean
of the differences must be within two standard errors of that, or within 1 % of the loss.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
from nn_layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import Adam
from nn_tensor import Tensor

BATCH, CLASSES, NOISE = 32, 10, 4.0
ALGORITHMS = "auto", "direct"


def make_model(seed, algorithm):
    rng = np.random.default_rng(seed)
    return Sequential(
        Conv2D(1, 32, 3, padding=1, algorithm=algorithm, rng=rng),
        ReLU(),
        MaxPool2D(),
        Conv2D(32, 64, 3, padding=1, algorithm=algorithm, rng=rng),
        ReLU(),
        MaxPool2D(),
        Flatten(),
        Dense(3136, 128, rng=rng),
        ReLU(),
        Dense(128, CLASSES, rng=rng),
    )


def train(seed, algorithm, steps, repeat):
    """Return the mean loss of the last tenth of the steps."""
    model, loss_fn, losses = make_model(seed, algorithm), SoftmaxCrossEntropyLoss(), []
    rng = np.random.default_rng(2000 + repeat)
    for p in model.parameters:
        p.data *= (1 + 1e-6 * rng.standard_normal(p.shape)).astype(np.float32)
    optimizer = Adam(model.parameters, lr=1e-3)
    rng = np.random.default_rng(1000 + seed)
    patterns = rng.standard_normal((CLASSES, 1, 28, 28))
    for _ in range(steps):
        classes = rng.integers(0, CLASSES, BATCH)
        noise = NOISE * rng.standard_normal((BATCH, 1, 28, 28))
        images = Tensor((patterns[classes] + noise).astype(np.float32))
        optimizer.zero_grad()
        loss = loss_fn(model(images), Tensor(classes))
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return statistics.fmean(losses[-max(1, steps // 10) :])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    print("| seed | auto | again | direct | again |\n|--:|--:|--:|--:|--:|")
    found = []
    for seed in range(options.seeds):
        found.append([train(seed, name, options.steps, n) for name in ALGORITHMS for n in (0, 1)])
        print(f"| {seed} | " + " | ".join(f"{loss:.4f}" for loss in found[-1]) + " |", flush=True)
    losses = np.array(found).reshape(-1, len(ALGORITHMS), 2)
    mean, level = np.diff(losses.mean(2), axis=1).mean(), losses.mean()
    # of the mean of two trainings: half the mean square of their difference is the variance of one
    error = (np.square(np.diff(losses, axis=2)).mean() / 2 / len(losses)) ** 0.5
    print(f"\nmean difference {mean:+.4f}, standard error {error:.4f}, mean loss {level:.4f}")
    if abs(mean) > max(2 * error, 0.01 * level):
        raise SystemExit("the algorithms do not reach the same loss")


if __name__ == "__main__":
    main()
