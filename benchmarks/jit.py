"""Programs as written, under `jit`, by hand, in PyTorch and in JAX.

    python benchmarks/jit.py [chain] [inference] [training] [addition] [nanoGPT] [token]

The times of the first calls are those of recording and compiling: cold where numba has not yet kept
the loops on disk (`NUMBA_CACHE_DIR`), warm from the second run on.
"""

from __future__ import annotations

import sys
import time

import generation
import numpy as np
from character_model import make_torch_model
from measure import blas_kernel, report, side_by_side
from mlp_step import make_ours, make_torch
from nn_jit import jit
from nn_layers import Dense, ReLU, Sequential
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import Adam
from nn_tensor import Tensor, no_grad, use_kernels
from nn_transformer import LanguageModel, generate
from small_operations import chain, chain_of


def update(p, g, m, v, rate, epsilon):
    """Move one parameter by Adam, in plain NumPy."""
    m += np.float32(0.1) * (g - m)
    v *= np.float32(0.999)
    v += np.float32(0.001) * (g * g)
    p -= np.float32(rate) * (m / (np.sqrt(v) + np.float32(epsilon)))


def compiled_update():
    """Return the same as one loop compiled by numba, for arrays in C order."""
    import numba

    @numba.njit(error_model="numpy", nogil=True, cache=True)
    def loop(p, g, m, v, rate, epsilon):
        for i in range(p.size):
            m[i] += np.float32(0.1) * (g[i] - m[i])
            v[i] = np.float32(0.999) * v[i] + np.float32(0.001) * (g[i] * g[i])
            p[i] -= rate * (m[i] / (np.sqrt(v[i]) + epsilon))

    def run(p, g, m, v, rate, epsilon):
        flat = (x.reshape(-1) for x in (p, g, m, v))
        loop(*flat, np.float32(rate), np.float32(epsilon))

    return run


def step_by_hand(images, classes, update=update):
    """Return the step of `mlp_step` in plain NumPy, without a framework."""
    rng = np.random.default_rng(0)
    model = [Dense(a, b, rng=rng) for a, b in ((784, 128), (128, 64), (64, 10))]
    parameters = [p.numpy().copy() for layer in model for p in layer.parameters]
    means = [np.zeros_like(p) for p in parameters]
    squares = [np.zeros_like(p) for p in parameters]
    rows, count = np.arange(len(classes)), 0

    def step():
        nonlocal count
        w1, b1, w2, b2, w3, b3 = parameters
        h1 = np.maximum(images @ w1 + b1, 0)
        h2 = np.maximum(h1 @ w2 + b2, 0)
        logits = h2 @ w3 + b3
        logits -= logits.max(axis=1, keepdims=True)
        e = np.exp(logits)
        total = e.sum(axis=1, keepdims=True)
        loss = (np.log(total)[:, 0] - logits[rows, classes]).mean()
        g3 = e / total
        g3[rows, classes] -= 1
        g3 /= np.float32(len(classes))
        g2 = (g3 @ w3.T) * (h2 > 0)
        g1 = (g2 @ w2.T) * (h1 > 0)
        gradients = (
            images.T @ g1, g1.sum(0), h1.T @ g2, g2.sum(0), h2.T @ g3, g3.sum(0)
        )  # fmt: skip
        count += 1
        correction = (1 - 0.999**count) ** 0.5
        rate, epsilon = 1e-3 * correction / (1 - 0.9**count), 1e-8 * correction
        for p, g, m, v in zip(parameters, gradients, means, squares, strict=True):
            update(p, g, m, v, rate, epsilon)
        return float(loss)

    return step


def train(model, loss_fn, optimizer):
    def step(x, y):
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def make_jit(images, classes):
    rng = np.random.default_rng(0)
    layers = [Dense(a, b, rng=rng) for a, b in ((784, 128), (128, 64), (64, 10))]
    model = Sequential(layers[0], ReLU(), layers[1], ReLU(), layers[2])
    loss_fn, optimizer = SoftmaxCrossEntropyLoss(), Adam(model.parameters, lr=1e-3)

    step = jit(train(model, loss_fn, optimizer))
    x, y = Tensor(images), Tensor(classes)
    return model, lambda: step(x, y).item()


def training(images, classes):
    model, ours = make_ours(images, classes)
    _, fast = make_jit(images, classes)
    steps = {"as written": ours, "jit": fast, "NumPy by hand": step_by_hand(images, classes)}
    try:
        steps["by hand, fused Adam of numba"] = step_by_hand(images, classes, compiled_update())
    except ModuleNotFoundError:
        print("numba is not installed: no compiled Adam by hand")
    try:
        steps["PyTorch, fused Adam"] = make_torch(images, classes, model, fused=True)
    except ModuleNotFoundError:
        print("PyTorch is not installed: no comparison with it")
    losses = {name: [step() for _ in range(20)] for name, step in steps.items()}
    assert losses["jit"] == losses["as written"]
    for name in losses:
        np.testing.assert_allclose(losses[name], losses["jit"], rtol=1e-3)
    report("training step of an MLP", side_by_side(steps, calls=50, rounds=15), "jit")
    with use_kernels("reference"):
        for _ in range(4):
            fast()
        some = {name: steps[name] for name in ("as written", "jit", "NumPy by hand")}
        report("the same with NumPy alone", side_by_side(some, calls=50, rounds=15), "jit")


def inference(images):
    rng = np.random.default_rng(0)
    layers = [Dense(a, b, rng=rng) for a, b in ((784, 128), (128, 64), (64, 10))]
    model = Sequential(layers[0], ReLU(), layers[1], ReLU(), layers[2])
    predict = no_grad()(lambda x: model(x))
    fast, x = jit(predict), Tensor(images[:1])
    for _ in range(4):
        np.testing.assert_array_equal(fast(x).numpy(), predict(x).numpy())
    sides = {"as written": lambda: predict(x), "jit": lambda: fast(x)}
    try:
        import torch
    except ModuleNotFoundError:
        pass
    else:
        network = torch.nn.Sequential(
            torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64),
            torch.nn.ReLU(), torch.nn.Linear(64, 10),
        )  # fmt: skip
        given = torch.tensor(images[:1])

        def theirs():
            with torch.inference_mode():
                return network(given)

        sides["PyTorch"] = theirs
    report("inference of the MLP, batch 1", side_by_side(sides, calls=300, rounds=15), "jit")


def small_operations():
    values = np.random.default_rng(0).standard_normal(32).astype(np.float32)
    x = Tensor(values, requires_grad=True)

    def plain():
        x.zero_grad()
        loss = chain(x)
        loss.backward()
        return loss

    fast, unfused = jit(plain), jit(plain, fuse=False)
    start = time.perf_counter()
    for _ in range(4):
        fast()
        unfused()
    print(f"recording and compiling the chain: {time.perf_counter() - start:.2f} s")
    sides = {"as written": plain, "jit": fast, "jit, not fused": unfused}
    try:
        import jax
    except ModuleNotFoundError:
        print("JAX is not installed: no comparison with it")
    else:
        their = jax.jit(jax.value_and_grad(lambda v: chain_of(v, 1.01, jax.numpy.tanh)))
        given = jax.numpy.asarray(values)
        sides["JAX"] = lambda: jax.block_until_ready(their(given))
    title = "20 operations on 32 floats and a sum, forward and backward"
    report(title, side_by_side(sides, calls=300, rounds=15), "jit")


def language_model(title, sizes, tokens, calls, compiled):
    """Compare training steps of a model of `sizes` on rows of `tokens`."""
    vocab_size, d_model, num_heads, num_layers = sizes
    inputs, targets = (np.ascontiguousarray(x) for x in (tokens[:, :-1], tokens[:, 1:]))

    def make(wrap):
        model = LanguageModel(
            vocab_size, d_model, num_heads, num_layers,
            max_seq_len=inputs.shape[1], dropout=0.0, bias=False, rng=0,
        )  # fmt: skip
        optimizer = Adam(model.parameters, lr=1e-4)
        step = wrap(train(model, SoftmaxCrossEntropyLoss(), optimizer))
        x, y = Tensor(inputs), Tensor(targets)
        return model, lambda: step(x, y).item()

    model, plain = make(lambda step: step)
    _, fast = make(jit)
    print(f"{title}: {sum(p.size for p in model.parameters)} parameters")
    start = time.perf_counter()
    sides = {"as written": plain, "jit": fast}
    losses = {name: [step() for _ in range(10)] for name, step in sides.items()}
    print(f"  the first ten steps of both: {time.perf_counter() - start:.2f} s")
    assert losses["jit"] == losses["as written"]
    try:
        import torch
    except ModuleNotFoundError:
        print("PyTorch is not installed: no comparison with it")
    else:
        for name in ("PyTorch, fused Adam", "PyTorch, compiled")[: 1 + compiled]:
            source, _ = make(lambda step: step)
            network = make_torch_model(torch, source)
            optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
            called = torch.compile(network) if name.endswith("compiled") else network

            def loss_fn(logits, y):
                flat = logits.view(-1, logits.shape[-1])
                return torch.nn.functional.cross_entropy(flat, y.view(-1))

            step = train(called, loss_fn, optimizer)
            x, y = torch.tensor(inputs), torch.tensor(targets)
            side = lambda step=step, x=x, y=y: step(x, y).item()  # noqa: E731
            try:
                found = [side() for _ in range(10)]
            except Exception as error:
                print(f"  {name}: {type(error).__name__}, no comparison")
            else:
                np.testing.assert_allclose(found, losses["jit"], rtol=1e-3)
                sides[name] = side
    report(title, side_by_side(sides, calls=calls, rounds=11), "jit")


def addition():
    """Compare steps on five-digit addition, as 12345+67890=080235."""
    rng = np.random.default_rng(2)
    pairs = rng.integers(0, 100_000, (64, 2))
    rows = [f"{a:05}+{b:05}={a + b:06}" for a, b in pairs]
    tokens = np.array([["0123456789+=".index(c) for c in row] for row in rows])
    language_model("a transformer on five-digit addition", (12, 16, 2, 1), tokens, 30, True)


def nano_gpt():
    tokens = np.random.default_rng(1).integers(0, 65, (12, 65))
    language_model("nanoGPT's step for a CPU", (65, 128, 4, 4), tokens, 3, False)


def token() -> None:
    """Compare tokens of the language model of `generation`, greedily, with a KV cache."""
    model, count = generation.make_model(), 250
    prompt = np.random.default_rng(1).integers(0, generation.VOCAB_SIZE, (1, 8))
    runs = {
        "as written": lambda: generate(model, prompt, count),
        "jit": lambda: generate(model, prompt, count, jit=True),
    }
    try:
        theirs = generation.make_torch_generate(model)
    except ModuleNotFoundError:
        print("PyTorch is not installed: no comparison with it")
    else:
        runs["PyTorch"] = lambda: theirs(prompt, count)
    tokens = [run() for run in runs.values()]
    assert all(row == tokens[0] for row in tokens)
    medians = side_by_side(runs, calls=1, rounds=15)
    each = {name: median / count for name, median in medians.items()}
    report("a token of a language model, with its cache", each, "jit")


def main() -> None:
    print(blas_kernel())
    rng = np.random.default_rng(1)
    images = rng.standard_normal((32, 784)).astype(np.float32)
    classes = rng.integers(0, 10, 32)
    rows = {
        "chain": small_operations,
        "inference": lambda: inference(images),
        "training": lambda: training(images, classes),
        "addition": addition,
        "nanoGPT": nano_gpt,
        "token": token,
    }
    for name in sys.argv[1:] or rows:
        rows[name]()


if __name__ == "__main__":
    main()
