"""Programs as written, under `jit`, and in PyTorch: a small MLP, a chain of operations, inference.

Run it with: python benchmarks/jit.py
"""

from __future__ import annotations

import time

import numpy as np
from measure import blas_kernel, report, side_by_side
from mlp_step import make_ours, make_torch
from nn_jit import jit
from nn_layers import Dense, ReLU, Sequential
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import Adam
from nn_tensor import Tensor, no_grad, use_kernels
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


def make_jit(images, classes):
    rng = np.random.default_rng(0)
    layers = [Dense(a, b, rng=rng) for a, b in ((784, 128), (128, 64), (64, 10))]
    model = Sequential(layers[0], ReLU(), layers[1], ReLU(), layers[2])
    loss_fn, optimizer = SoftmaxCrossEntropyLoss(), Adam(model.parameters, lr=1e-3)

    @jit
    def step(x, y):
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

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


def main() -> None:
    print(blas_kernel())
    rng = np.random.default_rng(1)
    images = rng.standard_normal((32, 784)).astype(np.float32)
    classes = rng.integers(0, 10, 32)
    small_operations()
    inference(images)
    training(images, classes)


if __name__ == "__main__":
    main()
