"""Compare training steps on a GPU with PyTorch, model by model:

    python benchmarks/cuda_against_pytorch.py [MODEL ...]

A round is so many steps with Adam as take about 0.1 s, and one read of the loss at its end, which
waits for the device. The losses of the first steps are compared first; then the candidates take
turns in one process. The ratio is PyTorch's time over that of nn, for the faster of PyTorch's
optimizers: above 1, nn is faster. Neither side computes in TF32.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from against_pytorch_rows import (
    copy_weights,
    make_resnet,
    random,
    torch,
    torch_convnet,
    torch_mlp,
    torch_resnet,
    transformer,
)
from character_model import make_torch_model
from compare_programs import make_convnet, make_language_model, make_mlp
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import Adam
from nn_tensor import Tensor

STEPS_COMPARED, TOLERANCE = 5, 1e-3
ROUND = 0.1  # seconds
STAGES = [(16, 3, 1), (32, 3, 2), (64, 3, 2)]  # of ResNet-20: channels, blocks, stride

TRANSFORMER = "Transformer, 6 + 6 layers, d 256, 32×20 and 32×22, loss read"

Step = Callable[[], Any]


def classes(*shape: int, count: int = 10) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).integers(0, count, shape)


def same_layers(make: Callable[[], Any]) -> Callable[[Any], Any]:
    """Return what makes a PyTorch network with the weights of a model of the same layers."""

    def made(model: Any) -> Any:
        network = make()
        copy_weights(network, model)
        return network

    return made


def language_model(model: Any) -> Any:
    return make_torch_model(torch, model)


# For each row: the model, its PyTorch network, inputs and targets.
MODELS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Any, Any]] = {
    "MLP 784-128-64-10, batch 32": (
        make_mlp,
        same_layers(torch_mlp),
        random(32, 784),
        classes(32),
    ),
    "MLP 784-128-64-10, batch 1024": (
        make_mlp,
        same_layers(torch_mlp),
        random(1024, 784),
        classes(1024),
    ),
    "ConvNet 1→32→64, batch 32": (
        make_convnet,
        same_layers(torch_convnet),
        random(32, 1, 28, 28),
        classes(32),
    ),
    "ResNet-20 with BatchNorm2D, batch 128": (
        lambda: make_resnet(STAGES, True),
        same_layers(lambda: torch_resnet(STAGES, True)),
        random(128, 3, 32, 32),
        classes(128),
    ),
    "language model, 4 layers, d 128, 12×64 tokens": (
        lambda: make_language_model(64, bias=False),
        language_model,
        classes(12, 64, count=65),
        classes(12, 64, count=65),
    ),
}


def ours(model: Any, x: Any, y: Any) -> Step:
    """Return a step of a model, which returns the loss without reading it."""
    model.set_device("cuda")
    inputs, targets = (Tensor(a, device="cuda") for a in (x, y))
    optimizer, loss_fn = Adam(model.parameters, lr=1e-4), SoftmaxCrossEntropyLoss()

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    return step


def theirs(network: Any, x: Any, y: Any, fused: bool) -> Step:
    """Return a step of a PyTorch network."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = network.to(device)
    inputs, targets = (torch.tensor(a, device=device) for a in (x, y))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=fused)
    loss_fn = torch.nn.functional.cross_entropy

    def step() -> Any:
        optimizer.zero_grad()
        logits = network(inputs)
        loss = loss_fn(logits.view(-1, logits.shape[-1]), targets.view(-1))
        loss.backward()
        optimizer.step()
        return loss

    return step


def transformer_steps() -> dict[str, Step]:
    """Return the steps of an encoder-decoder, which read the loss each time."""
    found = transformer("cuda" if torch.cuda.is_available() else "cpu")
    return {
        who: lambda step=step: Tensor(step()[0]) for who, step in found.items() if "," not in who
    }


def candidates(name: str) -> dict[str, Step]:
    """Return the steps of a model by the name of who computes them."""
    if name == TRANSFORMER:
        return transformer_steps()
    make_model, make_network, x, y = MODELS[name]
    steps = {"nn": ours(make_model(), x, y)}
    for label, fused in {"eager": False, "fused Adam": True}.items():
        steps[label] = theirs(make_network(make_model()), x, y, fused)
    return steps


def check_losses(name: str, steps: dict[str, Step]) -> None:
    """Exit unless all candidates have the same losses in their first steps."""
    losses = {
        who: [float(step().detach()) for _ in range(STEPS_COMPARED)] for who, step in steps.items()
    }
    for who, found in losses.items():
        if not np.allclose(found, losses["nn"], rtol=TOLERANCE):
            raise SystemExit(f"{name}: losses of {who} {found}, of nn {losses['nn']}")


def time_of(step: Step, count: int) -> float:
    """Return the microseconds of one step of `count`."""
    start = time.perf_counter()
    for _ in range(count):
        loss = step()
    float(loss.detach())
    return (time.perf_counter() - start) / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", default=[""], help="only those with one of the texts")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    if torch is None:
        sys.exit("PyTorch is not installed: there is nothing to compare with")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
    print(f"PyTorch {torch.__version__} on {device}, {arguments.rounds} rounds\n")
    print("| training step, times in µs | nn | PyTorch, eager | fused Adam | ratio |")
    print("|---|--:|--:|--:|--:|")
    for name in [*MODELS, TRANSFORMER]:
        if not any(text in name for text in arguments.models):
            continue
        steps = candidates(name)
        check_losses(name, steps)
        times: dict[str, list[float]] = {who: [] for who in steps}
        for step in steps.values():
            time_of(step, 3)
        counts = {who: max(1, int(ROUND * 1e6 / time_of(step, 5))) for who, step in steps.items()}
        for _ in range(arguments.rounds):
            for who, step in steps.items():
                times[who].append(time_of(step, counts[who]))
        medians = {who: statistics.median(found) for who, found in times.items()}
        ratio = min(medians["eager"], medians["fused Adam"]) / medians["nn"]
        cells = [f"{median:.0f}" for median in medians.values()]
        print(f"| {name} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
