"""Train the ConvNet with algorithm="auto" (Winograd where it pays) and "direct", over five seeds:

    python benchmarks/convolution_algorithms.py [--steps 1000]

Both start from the same weights and see the same batches of noisy images of ten classes. Winograd's
rounding is twice as large, so single steps soon differ; the losses that they reach must not. The
mean loss of the last tenth of the steps is compared: over the seeds, the mean of the differences
must be within two of its standard errors, or within 1 % of the loss.
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


def train(seed, algorithm, steps):
    """Return the mean loss of the last tenth of the steps."""
    model, loss_fn, losses = make_model(seed, algorithm), SoftmaxCrossEntropyLoss(), []
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
    print("| seed | auto | direct |\n|--:|--:|--:|")
    found = []
    for seed in range(options.seeds):
        found.append([train(seed, name, options.steps) for name in ("auto", "direct")])
        print(f"| {seed} | {found[-1][0]:.4f} | {found[-1][1]:.4f} |", flush=True)
    differences = [auto - direct for auto, direct in found]
    mean, level = statistics.fmean(differences), statistics.fmean(d for _, d in found)
    error = statistics.stdev(differences) / len(differences) ** 0.5 if len(found) > 1 else 0.0
    print(f"\nmean difference {mean:+.4f}, its standard error {error:.4f}, mean loss {level:.4f}")
    if abs(mean) > max(2 * error, 0.01 * level):
        raise SystemExit("the algorithms do not reach the same loss")


if __name__ == "__main__":
    main()
