"""Count what a training step does on a CUDA device: launches, synchronizations and copies.

Run it on the stand-in for CUDA, which needs no GPU (docs/cuda_on_cpu.md):

    python tools/cuda_on_cpu benchmarks/cuda_counts.py

A step ends with the user's own read of the loss, ``float(loss)``, which is one synchronization and
one copy to the host. With ``--where MODEL`` it prints which kernels and lines ask for them.
"""

from __future__ import annotations

import argparse
import collections
import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from nn_layers import BaseModel, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import Adam, AdamW, LossScaler, clip_gradients_by_norm
from nn_tensor import Tensor, autocast
from nn_transformer import LanguageModel, Transformer, generate

__all__ = ["KINDS", "MODELS", "count", "main"]

KINDS = ("launches", "synchronizations", "host_to_device", "device_to_host")
VOCAB_SIZE = 65


def perceptron() -> Callable[[], Any]:
    """Return a step of an MLP 784-128-64-10 with Adam on 32 images."""
    sizes, parts = (784, 128, 64, 10), []
    for n, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        parts += [ReLU()] if n else []
        parts.append(Dense(inputs, outputs, rng=n))
    return _classifier(Sequential(*parts), (32, 784))


def convolutional() -> Callable[[], Any]:
    """Return a step of a network 1→32→64 with two pooling layers, with Adam on 8 images."""
    model = Sequential(
        Conv2D(1, 32, 3, 1, "same", rng=0),
        ReLU(),
        MaxPool2D(2, 2),
        Conv2D(32, 64, 3, 1, "same", rng=1),
        ReLU(),
        MaxPool2D(2, 2),
        Flatten(),
        Dense(64 * 7 * 7, 128, rng=2),
        ReLU(),
        Dense(128, 10, rng=3),
    )
    return _classifier(model, (8, 1, 28, 28))


def _classifier(model: BaseModel, shape: tuple[int, ...]) -> Callable[[], Any]:
    rng = np.random.default_rng(0)
    model.set_device("cuda")
    x = Tensor(rng.standard_normal(shape).astype(np.float32), device="cuda")
    y = Tensor(rng.integers(0, 10, shape[0]), device="cuda")
    optimizer, loss_fn = Adam(model.parameters), SoftmaxCrossEntropyLoss()

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def language_model(half: str | None = None) -> Callable[[], Any]:
    """Return a step of 4 layers, d 128, on 12×64 tokens, with dropout, AdamW and clipping.

    Args:
        half: a half-precision dtype to compute in, with a loss scaler; None for float32.
    """
    model = _language_model(0.1)
    rng = np.random.default_rng(0)
    tokens, targets = (
        Tensor(rng.integers(0, VOCAB_SIZE, (12, 64)), device="cuda") for _ in range(2)
    )
    matrices = [p for p in model.parameters if p.ndim >= 2]
    vectors = [p for p in model.parameters if p.ndim < 2]
    optimizer = AdamW(
        [{"parameters": matrices}, {"parameters": vectors, "weight_decay": 0.0}], lr=1e-3
    )
    loss_fn = SoftmaxCrossEntropyLoss()

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_fn(model(tokens), targets)
        loss.backward()
        clip_gradients_by_norm(model.parameters, 1.0)
        optimizer.step()
        return float(loss)

    scaler = LossScaler(init_scale=256.0)

    def step_in_half() -> float:
        optimizer.zero_grad()
        with autocast(half):
            loss = loss_fn(model(tokens), targets)
        scaler.scale(loss).backward()
        scaler.step(optimizer, clip_norm=1.0)
        return float(loss)

    return step if half is None else step_in_half


def _language_model(dropout: float) -> LanguageModel:
    model = LanguageModel(VOCAB_SIZE, 128, 4, 4, max_seq_len=64, dropout=dropout, rng=0)
    model.set_device("cuda")
    return model


def transformer() -> Callable[[], Any]:
    """Return a step of the specification's Transformer, d 64 and its default layers, with Adam."""
    model = Transformer(100, 100, d_model=64, num_heads=4, max_seq_len=32, rng=0)
    model.set_device("cuda")
    rng = np.random.default_rng(0)
    source, target, expected = (
        Tensor(rng.integers(0, 100, (4, 10)), device="cuda") for _ in range(3)
    )
    optimizer, loss_fn = Adam(model.parameters), SoftmaxCrossEntropyLoss()

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_fn(model(source, target), expected)
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def generation() -> Callable[[], Any]:
    """Return the generation of one more token, as the difference of two lengths."""
    model = _language_model(0.0).eval()
    prompt = Tensor(np.arange(8)[None], device="cuda")

    def write(tokens: int = 9) -> Any:
        return generate(model, prompt, tokens)

    return write


MODELS: dict[str, Callable[[], Callable[[], Any]]] = {
    "MLP 784-128-64-10, batch 32, Adam": perceptron,
    "ConvNet 1→32→64, batch 8, Adam": convolutional,
    "language model, dropout 0.1, AdamW, clipping": language_model,
    "language model in float16, with a loss scaler": functools.partial(language_model, "float16"),
    "Transformer of the specification, Adam": transformer,
    "`generate`, a token": generation,
}


def record(function: Callable[[], Any], places: bool = False) -> Any:
    """Return the recorder of one call, after two that compile kernels and make state."""
    from cuda_on_cpu import Recorder

    for _ in range(2):
        function()
    with Recorder(places=places) as recorder:
        function()
    return recorder


def count(name: str) -> dict[str, int]:
    """Return the numbers of launches, synchronizations and copies of one step of a model."""
    step = MODELS[name]()
    counts = record(step).counts
    if MODELS[name] is generation:  # without what the prompt takes
        first = record(functools.partial(step, 8)).counts
        return {kind: counts[kind] - first[kind] for kind in KINDS}
    return {kind: counts[kind] for kind in KINDS}


def explain(name: str) -> None:
    """Print which kernels are launched, and which lines launch, wait and copy."""
    events = record(MODELS[name](), places=True).events
    for kind in KINDS:
        chosen = [event for event in events if event.kind == kind]
        for what in ("name", "place"):
            counter = collections.Counter(getattr(event, what) for event in chosen)
            for value, number in counter.most_common(40):
                print(f"{kind:>18} {number:5}  {value}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--where", metavar="MODEL", help="part of the name of a model to explain")
    chosen = parser.parse_args().where
    if chosen:
        explain(next(name for name in MODELS if chosen in name))
        return
    print(f"| step | {' | '.join(kind.replace('_', ' ') for kind in KINDS)} |")
    print("|---" * (len(KINDS) + 1) + "|")
    for name in MODELS:
        print(f"| {name} | {' | '.join(f'{n:,}' for n in count(name).values())} |")


if __name__ == "__main__":
    main()
