"""What a Trainer costs: a step against the plain loop, and how long it waits for batches.

Run it with: python benchmarks/trainer.py [FOLDER]

FOLDER holds MNIST's IDX files, plain or compressed; with it the time that training waits for data
is measured, where two threads pad, crop and flip the images.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from functools import partial

import numpy as np
from measure import Rounds, Watch, blas_kernel, times_side_by_side
from nn_data import Loader, read_idx_folder
from nn_data.transforms import Compose, Normalize, RandomCrop, RandomFlip
from nn_layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import Adam
from nn_tensor import Tensor
from nn_train import Trainer

BATCH = 64
STEPS = 100


def small():
    """Return a model whose step is mostly Python, what trains it, and a batch."""
    rng = np.random.default_rng(0)
    model = Sequential(Dense(20, 32, rng=0), ReLU(), Dense(32, 2, rng=1))
    model.train()
    batch = Tensor(rng.normal(size=(32, 20)).astype(np.float32)), Tensor(rng.integers(0, 2, 32))
    return model, SoftmaxCrossEntropyLoss(), Adam(model.parameters), batch


def overhead():
    """Compare a step, and an epoch of `fit`, with the loop written by hand."""
    model, loss_fn, optimizer, (x, y) = small()

    def by_hand():
        loss = loss_fn(model(x), y)
        model.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def loop():
        total = 0.0
        for _ in range(STEPS):
            total += by_hand() * len(y)

    *parts, batch = small()
    stepping = partial(Trainer(*parts).step, batch)
    *parts, batch = small()
    fitting = partial(Trainer(*parts).fit, [batch] * STEPS, epochs=1, progress=False)
    for title, calls, steps, base, other in (
        ("Trainer.step", 300, 1, by_hand, stepping),
        (f"Trainer.fit, {STEPS} steps", 3, STEPS, loop, fitting),
    ):
        # A round for both, one right after the other: what is left is the difference.
        times = times_side_by_side({"by hand": base, title: other}, calls)
        more = [b - a for a, b in zip(*times.values(), strict=True)]
        bare, own = (statistics.median(values) / steps for values in times.values())
        print(
            f"{title:<24} {own:7.1f} µs a step, by hand {bare:.1f}, "
            f"{statistics.median(more) / steps:+.1f} µs"
        )


class Timed:
    """The batches of a loader, and the time that `next` takes for them."""

    def __init__(self, loader):
        self.loader, self.waited = loader, 0.0

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        batches = iter(self.loader)
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - start
            yield batch


def perceptron():
    sizes = (784, 256, 256, 10)
    layers = [Dense(n, m, rng=n) for n, m in itertools.pairwise(sizes)]
    return Sequential(Flatten(), layers[0], ReLU(), layers[1], ReLU(), layers[2])


def convolutional():
    return Sequential(
        *(Conv2D(1, 32, kernel_size=3, padding=1, rng=0), ReLU(), MaxPool2D(2)),
        *(Conv2D(32, 64, kernel_size=3, padding=1, rng=1), ReLU(), MaxPool2D(2)),
        *(Flatten(), Dense(64 * 7 * 7, 128, rng=2), ReLU(), Dense(128, 10, rng=3)),
    )


def waiting(folder):
    """Measure how much of an epoch `fit` waits for augmented batches."""
    images, labels = read_idx_folder(folder)[0]
    data = images[:10_000, None], labels[:10_000].astype(np.int64)
    augment = Compose(RandomCrop(28, padding=2), RandomFlip(), Normalize(0.13, 0.31, scale=1 / 255))
    print(f"{len(data[1])} images in batches of {BATCH}: pad and crop, flip, normalize")
    for build, epochs in ((perceptron, 5), (convolutional, 2)):
        for workers in (0, 2):
            model = build()
            loader = Loader(
                data,
                BATCH,
                shuffle=True,
                transform=(augment, None),
                workers=workers,
                convert=Tensor,
            )
            timed = Timed(loader)
            trainer = Trainer(model, SoftmaxCrossEntropyLoss(), Adam(model.parameters))
            trainer.fit(timed, epochs=1, progress=False)  # compiles, and reads the data

            def epoch(timed=timed, trainer=trainer):
                timed.waited, watch, start = 0.0, Watch(), time.perf_counter()
                trainer.fit(timed, epochs=1, progress=False)
                seconds = time.perf_counter() - start
                return (timed.waited, seconds), watch.share_of_others()

            rounds = Rounds(epochs)
            waited, seconds = np.median([rounds.take(epoch) for _ in range(epochs)], axis=0)
            print(
                f"  {build.__name__:<14} {workers} workers: waits {waited * 1e3:6.1f} ms of "
                f"{seconds:6.3f} s, {waited / seconds:6.2%}  ({rounds.report()})"
            )


def main():
    print(blas_kernel())
    overhead()
    if len(sys.argv) > 1:
        waiting(sys.argv[1])


if __name__ == "__main__":
    main()
