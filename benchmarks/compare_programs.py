"""The programs that compare.py times, in a process that has one tree on its PYTHONPATH.

They use only names and options that all versions since 0.1.0 have. Each line on standard input is
a request, a JSON list of a function's name and its arguments; each line on standard output is the
answer.
"""

from __future__ import annotations

import functools
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from measure import blas_kernel
from nn_layers import GELU, Conv2D, Dense, Flatten, LayerNorm, MaxPool2D, ReLU, Sequential
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import Adam, AdamW, clip_gradients_by_norm
from nn_tensor import Tensor, no_grad, reuse_memory, use_kernels
from nn_transformer import Embedding, LanguageModel, generate

Program = Callable[[], object]
CHECKED_CALLS = 10  # of each program, whose results are compared


def small_operations(backward: bool) -> Program:
    x = Tensor(np.random.default_rng(0).standard_normal(32).astype(np.float32), requires_grad=True)

    def step():
        y = x
        for _ in range(5):
            y = y * 1.01
            y = y + x
            y = y.tanh()
            y = y * y
        total = y.sum()
        if not backward:
            return total
        x.zero_grad()
        total.backward()
        return x.grad

    return step


def make_mlp():
    rng = np.random.default_rng(0)
    first, second, third = (Dense(a, b, rng=rng) for a, b in itertools.pairwise((784, 128, 64, 10)))
    return Sequential(first, ReLU(), second, ReLU(), third)


def make_convnet():
    rng = np.random.default_rng(0)
    return Sequential(
        Conv2D(1, 32, 3, padding=1, rng=rng),
        ReLU(),
        MaxPool2D(),
        Conv2D(32, 64, 3, padding=1, rng=rng),
        ReLU(),
        MaxPool2D(),
        Flatten(),
        Dense(3136, 128, rng=rng),
        ReLU(),
        Dense(128, 10, rng=rng),
    )


def make_images(shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def training_step(make_model, shape) -> Program:
    model, loss_fn = make_model(), SoftmaxCrossEntropyLoss()
    optimizer = Adam(model.parameters, lr=1e-4)
    x = Tensor(make_images(shape))
    y = Tensor(np.random.default_rng(2).integers(0, 10, shape[0]))

    def step():
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def inference(make_model, shape) -> Program:
    model, images = make_model(), make_images(shape)
    model.eval()

    def step():
        with no_grad():
            return model(Tensor(images))

    return step


def make_language_model(max_seq_len, bias):
    return LanguageModel(
        65,
        d_model=128,
        num_heads=4,
        num_layers=4,
        max_seq_len=max_seq_len,
        dropout=0.0,
        bias=bias,
        rng=0,
    )


def character_model_step() -> Program:
    model, loss_fn = make_language_model(64, bias=False), SoftmaxCrossEntropyLoss()
    optimizer = AdamW(model.parameters, lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.1)
    tokens = np.random.default_rng(1).integers(0, 65, (12, 65))
    x, y = (Tensor(np.ascontiguousarray(part)) for part in (tokens[:, :-1], tokens[:, 1:]))

    def step():
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        clip_gradients_by_norm(model.parameters, 1.0)
        optimizer.step()
        return loss.item()

    return step


def generation(tokens) -> Program:
    model = make_language_model(256, bias=True)
    for parameter in model.parameters:  # large logits, so that the most probable token is clear
        if parameter.ndim == 2:
            parameter.data *= 4
    prompt = np.random.default_rng(1).integers(0, 65, (1, 8))
    return lambda: generate(model, prompt, tokens)


def layer_alone(make_layer, x, gradient) -> Program:
    """Return the forward pass of a layer by NumPy alone, or its gradients for one output."""
    layer, recorded = make_layer(), x.dtype.kind == "f"
    data = Tensor(x, requires_grad=True) if recorded else Tensor(x)
    leaves = [*([data] if recorded else []), *getattr(layer, "parameters", [])]
    with use_kernels("reference"):
        out = layer(data)
    g = Tensor(np.random.default_rng(3).standard_normal(out.shape).astype(np.float32))

    def forward():
        with use_kernels("reference"):
            return layer(data).numpy().reshape(-1)[::997]

    def backward():
        for leaf in leaves:
            leaf.zero_grad()
        with use_kernels("reference"):
            out.backward(g, retain_graph=True)
        return leaves[0].grad.numpy().reshape(-1)[::997]

    return backward if gradient else forward


def make_layers():
    tokens = np.random.default_rng(0).integers(0, 1000, (32, 64))
    return {
        "ReLU": (ReLU, make_images((32, 32, 28, 28))),
        "GELU": (GELU, make_images((1024, 512))),
        "LayerNorm": (lambda: LayerNorm(512), make_images((1024, 512))),
        "LayerNorm of 4096 rows": (lambda: LayerNorm(1024), make_images((4096, 1024))),
        "embedding": (lambda: Embedding(1000, 256, rng=0), tokens),
    }


PROGRAMS: dict[str, Callable[[], Program]] = {
    "small operations, forward": lambda: small_operations(backward=False),
    "small operations, forward and backward": lambda: small_operations(backward=True),
    "MLP step, batch 32": lambda: training_step(make_mlp, (32, 784)),
    "MLP step, batch 1024": lambda: training_step(make_mlp, (1024, 784)),
    "ConvNet step, batch 32": lambda: training_step(make_convnet, (32, 1, 28, 28)),
    "character model step, batch 12": character_model_step,
    "generation, 125 tokens": lambda: generation(125),
    "MLP inference, batch 1": lambda: inference(make_mlp, (1, 784)),
    "MLP inference, batch 256": lambda: inference(make_mlp, (256, 784)),
    "ConvNet inference, batch 1": lambda: inference(make_convnet, (1, 1, 28, 28)),
    "ConvNet inference, batch 256": lambda: inference(make_convnet, (256, 1, 28, 28)),
    **{
        f"{name}, {what}, NumPy alone": functools.partial(layer_alone, *layer, what == "gradient")
        for name, layer in make_layers().items()
        for what in ("forward", "gradient")
    },
}
prepared: dict[str, Program] = {}


def rows():
    """Return the names of the programs."""
    return list(PROGRAMS)


def describe():
    """Return where the packages come from, and what computes."""
    import nn_tensor

    try:
        import numba
    except ImportError:
        numba = None
    compiled = f"numba {numba.__version__}" if numba else "no numba"
    return nn_tensor.__file__, f"NumPy {np.__version__}, {blas_kernel()}, {compiled}"


def results(row):
    """Return what the first calls of a program give, as numbers."""
    program = PROGRAMS[row]()
    values = [program() for _ in range(CHECKED_CALLS)]
    arrays = [v.numpy() if isinstance(v, Tensor) else np.asarray(v) for v in values]
    return np.concatenate([array.ravel() for array in arrays]).tolist()


def prepare(row):
    """Make a program and call it until all that it does once is done; return a call's seconds."""
    prepared.clear()
    prepared[row] = PROGRAMS[row]()
    for _ in range(3):
        prepared[row]()
    start = time.perf_counter()
    prepared[row]()
    return time.perf_counter() - start


def turn(row, seconds, calls, clock):
    """Return the time of a call: the median of samples of `calls` calls, taken for a time."""
    program, times, read = prepared[row], [], getattr(time, clock)
    for _ in range(calls):  # fills the caches
        program()
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = read()
        for _ in range(calls):
            program()
        times.append((read() - start) / calls)
    return statistics.median(times)


def cpu():
    """Return the CPU seconds of this process."""
    return time.process_time()


def main():
    reuse_memory()
    functions = {f.__name__: f for f in (rows, describe, results, prepare, turn, cpu)}
    answers = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(functions[name](*arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
