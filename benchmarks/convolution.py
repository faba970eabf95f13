"""Convolutions, forward and backward, and a training step of a convolutional network.

The network is conv 1→32, pool, conv 32→64, pool, 3136-128-10, on 32 images of 28×28, with Adam.
All kernels are 3×3, with padding 1.

Run it with: python benchmarks/convolution.py
"""

from __future__ import annotations

import numpy as np
from measure import report, side_by_side
from nn_layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import Adam
from nn_tensor import Tensor

# batch, input channels, output channels, height and width
SHAPES = [
    (32, 1, 32, 28),
    (32, 32, 64, 14),
    (8, 64, 64, 32),
    (4, 64, 64, 56),
    (4, 128, 128, 28),
    (8, 512, 512, 7),
]


def make_layers(shape):
    """Return functions that compute one layer and all its gradients."""
    batch, inputs, outputs, size = shape
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, inputs, size, size)).astype(np.float32)
    gradient = rng.standard_normal((batch, outputs, size, size)).astype(np.float32)
    layer = Conv2D(inputs, outputs, 3, padding=1, rng=rng)
    x, g = Tensor(images, requires_grad=True), Tensor(gradient)

    def ours():
        layer.zero_grad()
        x.zero_grad()
        y = layer(x)
        y.backward(g)
        return [t.numpy() for t in (y, x.grad, layer.weights.grad, layer.bias.grad)]

    steps = {"nn": ours}
    torch = find_torch()
    if torch:
        network = torch.nn.Conv2d(inputs, outputs, 3, padding=1)
        with torch.no_grad():
            network.weight.copy_(torch.tensor(layer.weights.data))
            network.bias.zero_()
        x_torch, g_torch = torch.tensor(images, requires_grad=True), torch.tensor(gradient)

        def theirs():
            network.zero_grad()
            x_torch.grad = None
            y = network(x_torch)
            y.backward(g_torch)
            return [
                t.detach().numpy()
                for t in (y, x_torch.grad, network.weight.grad, network.bias.grad)
            ]

        steps["PyTorch"] = theirs
        for actual, expected in zip(ours(), theirs(), strict=True):
            scale = float(abs(expected).max())
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * scale)
    return steps


def make_networks():
    """Return functions that do one training step."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((32, 1, 28, 28)).astype(np.float32)
    classes = rng.integers(0, 10, 32)
    model = Sequential(
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
    steps = {}
    torch = find_torch()
    for fused in (False, True) if torch else ():
        layers = [
            torch.nn.Conv2d(1, 32, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(32, 64, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(3136, 128),
            torch.nn.ReLU(),
            torch.nn.Linear(128, 10),
        ]
        with torch.no_grad():
            for layer, other in zip(layers, model, strict=True):
                if isinstance(other, (Conv2D, Dense)):
                    weights = other.weights.numpy()
                    weights = weights.T if isinstance(other, Dense) else weights
                    layer.weight.copy_(torch.tensor(weights))
                    layer.bias.zero_()
        network = torch.nn.Sequential(*layers)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=fused)
        name = "PyTorch, fused Adam" if fused else "PyTorch"
        data = torch.tensor(images), torch.tensor(classes)
        steps[name] = make_step(network, torch.nn.CrossEntropyLoss(), optimizer, *data)
    optimizer = Adam(model.parameters, lr=1e-3)
    ours = make_step(model, SoftmaxCrossEntropyLoss(), optimizer, Tensor(images), Tensor(classes))
    return {"nn": ours, **steps}


def make_step(model, loss_fn, optimizer, x, y, transform=lambda step: step):
    """Return the step, which reads the same for both frameworks; `transform` may be `jit`."""

    @transform
    def step():
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return lambda: step().item()


def find_torch():
    """Return PyTorch, or None without it."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    return torch


def main() -> None:
    if not find_torch():
        print("PyTorch is not installed: no comparison with it")
    for shape in SHAPES:
        steps = make_layers(shape)
        batch, inputs, outputs, size = shape
        title = f"{inputs}→{outputs}, {size}×{size}, batch {batch}: forward and backward"
        medians = side_by_side(steps, calls=1)
        report(title, medians, list(steps)[-1])
        operations = 3 * 2 * 9 * inputs * outputs * batch * size * size
        rates = [f"{name} {operations / t / 1e3:.0f}" for name, t in medians.items()]
        print(f"  GFLOP/s: {', '.join(rates)}")
    steps = make_networks()
    losses = {name: [step() for _ in range(10)] for name, step in steps.items()}
    for name in losses:
        np.testing.assert_allclose(losses[name], losses["nn"], rtol=1e-3)
    report("one training step", side_by_side(steps, calls=1), list(steps)[-1])


if __name__ == "__main__":
    main()
