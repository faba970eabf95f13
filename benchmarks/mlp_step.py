"""A training step of an MLP 784-128-64-10 with Adam, on 32 images.

Run it with: python benchmarks/mlp_step.py
"""

from __future__ import annotations

import itertools

import numpy as np
from measure import report, side_by_side
from nn_layers import Dense, ReLU, Sequential
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import Adam
from nn_tensor import Tensor

SIZES = (784, 128, 64, 10)


def make_ours(images, classes):
    rng = np.random.default_rng(0)
    first, second, third = (Dense(a, b, rng=rng) for a, b in itertools.pairwise(SIZES))
    model = Sequential(first, ReLU(), second, ReLU(), third)
    loss_fn = SoftmaxCrossEntropyLoss()
    optimizer = Adam(model.parameters, lr=1e-3)
    x, y = Tensor(images), Tensor(classes)

    def step():
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return model, step


def make_torch(images, classes, model, fused):
    import torch

    layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(SIZES)]
    with torch.no_grad():
        for layer, ours in zip(layers, (model[0], model[2], model[4]), strict=True):
            layer.weight.copy_(torch.tensor(ours.weights.data.T))
            layer.bias.copy_(torch.tensor(ours.bias.data))
    relu = torch.nn.ReLU()
    network = torch.nn.Sequential(layers[0], relu, layers[1], relu, layers[2])
    loss_fn = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=fused)
    x, y = torch.tensor(images), torch.tensor(classes)

    def step():
        loss = loss_fn(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def main() -> None:
    rng = np.random.default_rng(1)
    images = rng.standard_normal((32, 784)).astype(np.float32)
    classes = rng.integers(0, 10, 32)
    model, ours = make_ours(images, classes)
    steps = {"nn": ours}
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        print("PyTorch is not installed: no comparison with it")
    else:
        steps["PyTorch"] = make_torch(images, classes, model, fused=False)
        steps["PyTorch, fused Adam"] = make_torch(images, classes, model, fused=True)
    losses = {name: [step() for _ in range(20)] for name, step in steps.items()}
    for name in losses:
        np.testing.assert_allclose(losses[name], losses["nn"], rtol=1e-3)
    report("one step", side_by_side(steps, calls=20), list(steps)[-1])


if __name__ == "__main__":
    main()
