"""The time of a batch: loading from memory, augmentation, threads.

Run it with: python benchmarks/data_loading.py

Beside nn-data there are the bare NumPy expressions, and PyTorch's `DataLoader` and torchvision's
transforms where these are installed. Each number is for one batch.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
from measure import report, side_by_side
from nn_data import ItemSource, Loader
from nn_data.transforms import Compose, Normalize, RandomAffine, RandomCrop, RandomFlip

BATCH = 32
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def endless(loader):
    """Return a function that gives the next batch, epoch after epoch."""
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    return lambda: next(batches)


def memory(samples, features):
    """Load shuffled batches of an array and labels."""
    rng = np.random.default_rng(0)
    x = rng.random((samples, features), dtype=np.float32)
    y = rng.integers(0, 10, samples)
    order = rng.permutation(samples)
    indices = itertools.cycle(np.split(order, range(BATCH, samples, BATCH)))

    def bare():
        chosen = next(indices)
        return x[chosen], y[chosen]

    base = f"(X[idx], y[idx]), {features}"
    candidates = {base: bare, "Loader": endless(Loader((x, y), BATCH, shuffle=True))}
    candidates["Loader, in order"] = endless(Loader((x, y), BATCH))
    with contextlib.suppress(ModuleNotFoundError):
        from nn_tensor import Tensor

        tensors = Loader((x, y), BATCH, shuffle=True, convert=Tensor)
        candidates["Loader, convert=Tensor"] = endless(tensors)
    with contextlib.suppress(ModuleNotFoundError):
        import torch
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
        candidates["PyTorch DataLoader"] = endless(DataLoader(data, BATCH, shuffle=True))
    title = f"a shuffled batch of {BATCH}×{features} and labels, of {samples:,} samples"
    report(title, side_by_side(candidates, calls=300), base)


def by_hand(x, rng):
    """Pad, crop, flip and normalize as one would write it for this shape."""
    n, channels, height, width = x.shape
    padded = np.zeros((n, channels, height + 8, width + 8), x.dtype)
    padded[:, :, 4:-4, 4:-4] = x
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    out = windows[np.arange(n), :, rng.integers(0, 9, n), rng.integers(0, 9, n)]
    flipped = np.flatnonzero(rng.random(n) < 0.5)
    out[flipped] = out[flipped][..., ::-1]
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (MEAN, STD))
    result = out.astype(np.float32)
    result *= 1 / (255 * std)
    result -= mean / std
    return result


def augmentation():
    """Augment bytes of 256×3×32×32."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (256, 3, 32, 32), dtype=np.uint8)
    augment = Compose(RandomCrop(32, padding=4), RandomFlip(), Normalize(MEAN, STD, scale=1 / 255))
    np.testing.assert_allclose(
        augment(x, rng=np.random.default_rng(1)), by_hand(x, np.random.default_rng(1)), atol=1e-5
    )
    candidates = {"by hand": lambda: by_hand(x, rng), "nn-data": lambda: augment(x, rng=rng)}
    try:
        import torch
        from torchvision.transforms import v2
    except (ImportError, RuntimeError) as error:
        print(f"no comparison with torchvision: {error}")
    else:
        theirs = v2.Compose(
            [
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )
        images = torch.from_numpy(x)
        candidates["torchvision, each image"] = lambda: torch.stack([theirs(i) for i in images])
        candidates["torchvision, all alike"] = lambda: theirs(images)
    title = "pad, crop, flip and normalize 256×3×32×32 bytes"
    report(title, side_by_side(candidates, calls=3), "by hand")
    affine = RandomAffine(degrees=15, translate=0.1, scale=0.1)
    report(
        "rotate, shift and scale the same",
        side_by_side({"nn-data": lambda: affine(x, rng)}, calls=3),
        "nn-data",
    )


class Files(ItemSource):
    """Arrays that are compressed in files, and unpacked when they are read."""

    def __init__(self, folder, count):
        super().__init__()
        rng = np.random.default_rng(0)
        self.paths = [Path(folder, f"{i}.z") for i in range(count)]
        for path in self.paths:
            pixels = rng.integers(0, 64, (3, 128, 128), dtype=np.uint8)
            path.write_bytes(zlib.compress(pixels.tobytes()))

    def __len__(self):
        return len(self.paths)

    def read(self, index):
        content = zlib.decompress(self.paths[index].read_bytes())
        return np.frombuffer(content, np.uint8).reshape(3, 128, 128)


def threads():
    """Load compressed files while the loop waits for a device."""
    with tempfile.TemporaryDirectory() as folder:
        source = Files(folder, 256)

        def epoch(workers):
            def run():
                for _ in Loader(source, 16, workers=workers):
                    time.sleep(0.005)

            return run

        candidates = {f"{n} workers": epoch(n) for n in (0, 1, 2)}
        medians = side_by_side(candidates, calls=1, rounds=7)
        report("16 batches of 16 compressed files, 5 ms of waiting for each", medians, "0 workers")


def main():
    memory(10_000, 784)
    memory(1_797, 64)
    augmentation()
    threads()


if __name__ == "__main__":
    main()
