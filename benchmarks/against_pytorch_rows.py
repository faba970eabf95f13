"""The rows of against_pytorch.py: the same computation by the packages and by variants of PyTorch.

A row is a function that returns its candidates, by name; a candidate returns its results as arrays.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import numpy as np
from compare_programs import make_convnet, make_language_model, make_mlp
from convolution import find_torch, make_step
from nn_jit import jit
from nn_layers import (
    GELU,
    BaseModel,
    BatchNorm2D,
    Conv2D,
    Dense,
    Embedding,
    Flatten,
    GlobalAvgPool2D,
    LayerNorm,
    MaxPool2D,
    ReLU,
    Sequential,
    Softmax,
)
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import Adam
from nn_tensor import Tensor, no_grad, relu, use_kernels

Candidates = dict[str, Callable[[], object]]
torch = find_torch()


def with_numpy(function):
    """Return a function that computes without compiled kernels."""

    def alone():
        with use_kernels("reference"):
            return function()

    return alone


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def copy_weights(network, model) -> None:
    """Give a PyTorch network the weights of a model with the same layers in the same order."""
    modules = [m for m in network.modules() if [*m.parameters(recurse=False)]]
    values = iter(model.parameters)
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                value = next(values).numpy()
                transposed = isinstance(module, torch.nn.Linear) and value.ndim == 2
                parameter.copy_(torch.tensor(value.T if transposed else value))


def layer_row(layer, network, x, channels_last=False) -> Candidates:
    """Return forward and backward passes of one layer, `network` being a function of PyTorch's."""
    model, integers = layer(), x.dtype.kind == "i"
    data = Tensor(x) if integers else Tensor(x, requires_grad=True)
    parameters = getattr(model, "parameters", [])
    with no_grad():
        shape = model(data).shape
    g = random(*shape, seed=1)
    grad = Tensor(g)

    def ours():
        data.zero_grad()
        for parameter in parameters:
            parameter.zero_grad()
        out = model(data)
        out.backward(grad)
        grads = [] if integers else [data.grad.numpy()]
        return [out.numpy(), *grads, *(p.grad.numpy().reshape(-1) for p in parameters)]

    candidates = {"nn": ours, "nn, NumPy": with_numpy(ours)}
    if not torch:
        return candidates

    def peer(memory_format):
        module = network()
        if isinstance(module, torch.nn.Module):
            copy_weights(module, model)
            module.to(memory_format=memory_format)
        weights = list(module.parameters()) if isinstance(module, torch.nn.Module) else []
        t = torch.tensor(x).contiguous(memory_format=memory_format)
        t.requires_grad_(not integers)
        gt = torch.tensor(g).contiguous(memory_format=memory_format)

        def theirs():
            t.grad = None
            for weight in weights:
                weight.grad = None
            out = module(t)
            out.backward(gt)
            grads = [] if integers else [t.grad.numpy()]
            others = [w.grad.numpy().reshape(-1) for w in weights]
            return [out.detach().numpy(), *grads, *others]

        return theirs

    candidates["eager"] = peer(torch.contiguous_format)
    if channels_last:
        candidates["channels_last"] = peer(torch.channels_last)
    return candidates


def cross_entropy() -> Candidates:
    x, classes = random(1024, 1000), np.random.default_rng(1).integers(0, 1000, 1024)
    logits, target = Tensor(x, requires_grad=True), Tensor(classes)
    loss_fn = SoftmaxCrossEntropyLoss()

    def ours():
        logits.zero_grad()
        loss = loss_fn(logits, target)
        loss.backward()
        return [loss.numpy(), logits.grad.numpy()]

    candidates = {"nn": ours, "nn, NumPy": with_numpy(ours)}
    if torch:
        t, c = torch.tensor(x, requires_grad=True), torch.tensor(classes)

        def theirs():
            t.grad = None
            loss = torch.nn.functional.cross_entropy(t, c)
            loss.backward()
            return [loss.detach().numpy(), t.grad.numpy()]

        candidates["eager"] = theirs
    return candidates


def training_row(make_model, make_network, x, classes, channels_last=False) -> Candidates:
    """Return training steps with Adam."""

    def ours(*transform):
        model = make_model()
        optimizer, loss_fn = Adam(model.parameters, lr=1e-4), SoftmaxCrossEntropyLoss()
        step = make_step(model, loss_fn, optimizer, Tensor(x), Tensor(classes), *transform)
        return lambda: [step()]

    candidates = {"nn": ours(), "nn, jit": ours(jit), "nn, NumPy": with_numpy(ours())}
    if not torch:
        return candidates

    def peer(fused, memory_format=torch.contiguous_format, compiled=False):
        network = make_network()
        copy_weights(network, make_model())
        network = network.to(memory_format=memory_format)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=fused)
        function = torch.compile(network) if compiled else network
        images = torch.tensor(x)
        if images.ndim == 4:
            images = images.contiguous(memory_format=memory_format)
        loss_fn = torch.nn.CrossEntropyLoss()
        step = make_step(function, loss_fn, optimizer, images, torch.tensor(classes))
        return lambda: [step()]

    candidates |= {"eager": peer(False), "fused Adam": peer(True)}
    candidates["compile"] = peer(True, compiled=True)
    if channels_last:
        candidates["channels_last, fused Adam"] = peer(True, torch.channels_last)
    return candidates


def inference_row(batch) -> Candidates:
    model, images = make_convnet(), random(batch, 1, 28, 28)
    model.eval()
    x = Tensor(images)

    def ours(function):
        def predict():
            with no_grad():
                return [function(x).numpy()]

        return predict

    candidates = {
        "nn": ours(model),
        "nn, jit": ours(jit(model)),
        "nn, NumPy": with_numpy(ours(model)),
    }
    if torch:

        def peer(memory_format, compiled=False):
            network = torch_convnet()
            copy_weights(network, model)
            network = network.to(memory_format=memory_format)
            function = torch.compile(network) if compiled else network
            t = torch.tensor(images).contiguous(memory_format=memory_format)

            def theirs():
                with torch.no_grad():
                    return [function(t).numpy()]

            return theirs

        candidates["eager"] = peer(torch.contiguous_format)
        candidates["channels_last"] = peer(torch.channels_last)
        candidates["compile"] = peer(torch.contiguous_format, compiled=True)
    return candidates


def torch_mlp():
    nn = torch.nn
    layers = nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    return nn.Sequential(*layers)


def torch_convnet():
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


class Block(BaseModel):
    """A residual block: y = ReLU(x' + f(x)), with a 1×1 convolution where the shape changes."""

    def __init__(self, inputs, outputs, stride, norm, rng):
        super().__init__()

        def conv(channels, kernel, step):
            return Conv2D(channels, outputs, kernel, step, kernel // 2, rng=rng)

        def normal():
            return BatchNorm2D(outputs) if norm else Sequential()

        first, second = conv(inputs, 3, stride), conv(outputs, 3, 1)
        self.body = Sequential(first, normal(), ReLU(), second, normal())
        changed = stride > 1 or inputs != outputs
        self.shortcut = Sequential(conv(inputs, 1, stride), normal()) if changed else Sequential()

    def forward(self, x):
        return relu(self.body(x) + self.shortcut(x))


def make_resnet(stages, norm):
    """Return a residual net for 3 channels; a stage has channels, blocks and a stride."""
    rng, channels = np.random.default_rng(0), stages[0][0]
    layers = [Conv2D(3, channels, 3, padding=1, rng=rng)]
    layers += [BatchNorm2D(channels), ReLU()] if norm else [ReLU()]
    for outputs, count, stride in stages:
        for number in range(count):
            layers.append(Block(channels, outputs, 1 if number else stride, norm, rng))
            channels = outputs
    return Sequential(*layers, GlobalAvgPool2D(), Flatten(), Dense(channels, 10, rng=rng))


def torch_resnet(stages, norm):
    nn = torch.nn

    class TorchBlock(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()

            def conv(channels, kernel, step):
                return nn.Conv2d(channels, outputs, kernel, step, kernel // 2)

            def normal():
                return nn.BatchNorm2d(outputs) if norm else nn.Sequential()

            self.body = nn.Sequential(
                conv(inputs, 3, stride), normal(), nn.ReLU(), conv(outputs, 3, 1), normal()
            )
            changed = stride > 1 or inputs != outputs
            parts = [conv(inputs, 1, stride), normal()] if changed else []
            self.shortcut = nn.Sequential(*parts)

        def forward(self, x):
            return torch.relu(self.body(x) + self.shortcut(x))

    channels = stages[0][0]
    layers = [nn.Conv2d(3, channels, 3, padding=1)]
    layers += [nn.BatchNorm2d(channels), nn.ReLU()] if norm else [nn.ReLU()]
    for outputs, count, stride in stages:
        for number in range(count):
            layers.append(TorchBlock(channels, outputs, 1 if number else stride))
            channels = outputs
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)
    return nn.Sequential(*layers, *head)


def resnet_row(stages, norm, batch) -> Candidates:
    return training_row(
        functools.partial(make_resnet, stages, norm),
        functools.partial(torch_resnet, stages, norm),
        random(batch, 3, 32, 32, seed=3),
        np.random.default_rng(4).integers(0, 10, batch),
        channels_last=True,
    )


def convolution_row(inputs, outputs, kernel, batch, size) -> Candidates:
    return layer_row(
        lambda: Conv2D(inputs, outputs, kernel, padding=kernel // 2, rng=0),
        lambda: torch.nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2),
        random(batch, inputs, size, size),
        channels_last=True,
    )


def nano_gpt() -> Candidates:
    """Return training steps of nanoGPT's configuration for a CPU."""
    from character_model import make_torch_model

    tokens = np.random.default_rng(1).integers(0, 65, (12, 65))
    x, y = (np.ascontiguousarray(part) for part in (tokens[:, :-1], tokens[:, 1:]))

    def ours(*transform):
        model, loss_fn = make_language_model(64, bias=False), SoftmaxCrossEntropyLoss()
        optimizer = Adam(model.parameters, lr=1e-4)
        step = make_step(model, loss_fn, optimizer, Tensor(x), Tensor(y), *transform)
        return lambda: [step()]

    candidates = {"nn": ours(), "nn, jit": ours(jit), "nn, NumPy": with_numpy(ours())}
    if torch:

        def peer(fused):
            network = make_torch_model(torch, make_language_model(64, bias=False))
            optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=fused)

            def loss_fn(logits, target):
                return torch.nn.functional.cross_entropy(
                    logits.view(-1, logits.shape[-1]), target.view(-1)
                )

            step = make_step(network, loss_fn, optimizer, torch.tensor(x), torch.tensor(y))
            return lambda: [step()]

        candidates |= {"eager": peer(False), "fused Adam": peer(True)}
    return candidates


def transformer(device="cpu") -> Candidates:
    """Return steps of the layers of an encoder-decoder: 6 + 6, batch 32, lengths 20 and 22."""
    from nn_transformer import (
        Transformer,
        causal_mask,
        from_torch_transformer,
        torch_transformer_settings,
    )

    source, target, wanted = random(32, 20, 256), random(32, 22, 256), random(32, 22, 256, seed=1)
    model = Transformer(8, 8, d_model=256, num_heads=4, num_layers=6, d_ff=1024, dropout=0.0)
    peers = {}
    if torch:
        network = torch.nn.Transformer(256, 4, 6, 6, 1024, 0.0, batch_first=True)
        state = {name: value.numpy() for name, value in network.state_dict().items()}
        model = Transformer(8, 8, **torch_transformer_settings(state, 4), dropout=0.0)
        model.load_state_dict({**model.state_dict(), **from_torch_transformer(state)})
        peers = {"eager": (network, False), "fused Adam": (copy.deepcopy(network), True)}
    model.train()
    model.set_device(device)
    s, t, w = (Tensor(a, device=device) for a in (source, target, wanted))
    mask = causal_mask(22).to(device)

    def ours(transform=lambda step: step):
        trained = copy.deepcopy(model)
        parameters = [*trained.encoder.parameters, *trained.decoder.parameters]
        optimizer = Adam(parameters, lr=1e-4)

        @transform
        def step():
            memory = trained.encoder.run(s, None)
            difference = trained.decoder.run(t, memory, mask, None) - w
            loss = (difference * difference).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return lambda: [step().numpy()]

    candidates = {"nn": ours(), "nn, jit": ours(jit), "nn, NumPy": with_numpy(ours())}

    def make_theirs(network, fused):
        network = network.to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=fused)
        x, y, wanted_ = (torch.tensor(a, device=device) for a in (source, target, wanted))
        mask = torch.nn.Transformer.generate_square_subsequent_mask(22, device=device)

        def theirs():
            difference = network(x, y, tgt_mask=mask, tgt_is_causal=True) - wanted_
            loss = (difference * difference).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return [loss.detach().cpu().numpy()]

        return theirs

    candidates |= {name: make_theirs(*peer) for name, peer in peers.items()}
    return candidates


_IMAGES = (32, 32, 28, 28)
_RESIDUAL = [(64, 3, 1)]
_RESNET20 = [(16, 3, 1), (32, 3, 2), (64, 3, 2)]
_RESNET18 = [(64, 2, 1), (128, 2, 2), (256, 2, 2), (512, 2, 2)]
_CLASSES = np.random.default_rng(2)

ROWS: dict[str, Callable[[], Candidates]] = {
    "ReLU": lambda: layer_row(ReLU, lambda: torch.nn.ReLU(), random(*_IMAGES)),
    "GELU": lambda: layer_row(GELU, lambda: torch.nn.GELU(), random(1024, 512)),
    "LayerNorm": lambda: layer_row(
        lambda: LayerNorm(512), lambda: torch.nn.LayerNorm(512), random(1024, 512)
    ),
    "embedding": lambda: layer_row(
        lambda: Embedding(1000, 256, rng=0),
        lambda: torch.nn.Embedding(1000, 256),
        np.random.default_rng(0).integers(0, 1000, (32, 64)),
    ),
    "softmax": lambda: layer_row(
        lambda: Softmax(-1), lambda: torch.nn.Softmax(-1), random(1024, 1000)
    ),
    "cross-entropy": cross_entropy,
    "BatchNorm": lambda: layer_row(
        lambda: BatchNorm2D(64),
        lambda: torch.nn.BatchNorm2d(64),
        random(16, 64, 32, 32),
        channels_last=True,
    ),
    "max-pool": lambda: layer_row(
        lambda: MaxPool2D(2), lambda: torch.nn.MaxPool2d(2), random(*_IMAGES), channels_last=True
    ),
    "convolution 64×32×32": lambda: convolution_row(64, 64, 3, 16, 32),
    "convolution 512×7×7": lambda: convolution_row(512, 512, 3, 8, 7),
    "convolution 1×1": lambda: convolution_row(256, 256, 1, 8, 14),
    "residual net": lambda: resnet_row(_RESIDUAL, False, 16),
    "residual net, BatchNorm": lambda: resnet_row(_RESIDUAL, True, 16),
    "ResNet-20": lambda: resnet_row(_RESNET20, True, 32),
    "ResNet-18": lambda: resnet_row(_RESNET18, True, 8),
    **{
        f"ConvNet, batch {n}": lambda n=n: training_row(
            make_convnet, torch_convnet, random(n, 1, 28, 28), _CLASSES.integers(0, 10, n), True
        )
        for n in (32, 128)
    },
    **{f"inference ConvNet, batch {n}": lambda n=n: inference_row(n) for n in (1, 256)},
    "Transformer": transformer,
    "nanoGPT": nano_gpt,
    **{
        f"MLP, batch {n}": lambda n=n: training_row(
            make_mlp, torch_mlp, random(n, 784), _CLASSES.integers(0, 10, n)
        )
        for n in (32, 1024)
    },
}
