"""Random networks with the same weights give PyTorch's numbers, forward and backward."""

import numpy as np
import pytest
from nn_layers import (
    ELU,
    AvgPool2D,
    BatchNorm2D,
    Conv2D,
    Dense,
    Flatten,
    GroupNorm,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from nn_losses import SoftmaxCrossEntropyLoss
from nn_tensor import Tensor

torch = pytest.importorskip("torch")
CLOSE = {"float64": {"rtol": 1e-9, "atol": 1e-11}, "float32": {"rtol": 1e-4, "atol": 1e-4}}
ACTIVATIONS = [
    (ReLU, torch.nn.ReLU),
    (Tanh, torch.nn.Tanh),
    (Sigmoid, torch.nn.Sigmoid),
    (LeakyReLU, torch.nn.LeakyReLU),
    (ELU, torch.nn.ELU),
]


def copy(ours, theirs):
    """Give PyTorch's module the weights of ours."""
    turned = isinstance(ours, Dense)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(ours.weights.data.T if turned else ours.weights.data))
        if ours.bias is not None:
            theirs.bias.copy_(torch.tensor(ours.bias.data))
    return ours, theirs


def convolution(rng, channels, size):
    outputs = channels * int(rng.integers(1, 4))
    kernel = [int(k) for k in rng.integers(1, 4, 2)]
    settings = {
        "stride": [int(s) for s in rng.integers(1, 3, 2)],
        "padding": [int(p) for p in rng.integers(0, 3, 2)],
        "dilation": [int(d) for d in rng.integers(1, 3, 2)],
        "groups": channels if rng.random() < 0.3 else 1,
        "bias": bool(rng.random() < 0.7),
    }
    ours = Conv2D(channels, outputs, tuple(kernel), dtype=size.dtype, rng=rng, **_tuples(settings))
    theirs = torch.nn.Conv2d(channels, outputs, kernel, **settings)
    return *copy(ours, theirs), outputs


def _tuples(settings):
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}


def norm(rng, channels, dtype):
    if rng.random() < 0.5:
        return copy(BatchNorm2D(channels, dtype=dtype), torch.nn.BatchNorm2d(channels))
    return copy(GroupNorm(1, channels, dtype=dtype), torch.nn.GroupNorm(1, channels))


def pool(rng):
    kernel, stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    if rng.random() < 0.5:
        return MaxPool2D(kernel, stride), torch.nn.MaxPool2d(kernel, stride)
    return AvgPool2D(kernel, stride), torch.nn.AvgPool2d(kernel, stride)


def network(rng, image, dtype):
    """Return a random convolutional network and its twin; `image` goes through both."""
    pairs, channels = [], image.shape[1]
    probe = torch.tensor(image)
    for _ in range(int(rng.integers(1, 4))):
        ours, theirs, outputs = convolution(rng, channels, image)
        kinds = [(ours, theirs), norm(rng, outputs, dtype)]
        activation = ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))]
        kinds.append((activation[0](), activation[1]()))
        if rng.random() < 0.5:
            kinds.append(pool(rng))
        try:
            for _, theirs in kinds:
                probe = theirs(probe)
        except RuntimeError:  # too small by now for this kernel
            probe = torch.tensor(image)
            for _, theirs in pairs:
                probe = theirs(probe)
            break
        pairs += kinds
        channels = outputs
    features = int(np.prod(probe.shape[1:]))
    pairs.append((Flatten(), torch.nn.Flatten()))
    pairs.append(copy(LayerNorm(features, dtype=dtype), torch.nn.LayerNorm(features)))
    pairs.append(copy(Dense(features, 5, dtype=dtype, rng=rng), torch.nn.Linear(features, 5)))
    ours, theirs = zip(*pairs, strict=True)
    return Sequential(ours), torch.nn.Sequential(*theirs)


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, request.param))
    yield request.param
    torch.set_default_dtype(before)


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_pytorch(seed, dtype):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(2, 5)), int(rng.integers(1, 4)), *map(int, rng.integers(9, 16, 2)))
    image = rng.standard_normal(shape).astype(dtype)
    classes = rng.integers(0, 5, shape[0])
    ours, theirs = network(rng, image, dtype)
    for module in theirs.modules():  # what was probed left its traces
        if hasattr(module, "reset_running_stats"):
            module.reset_running_stats()

    x, tx = Tensor(image, requires_grad=True), torch.tensor(image, requires_grad=True)
    scores, expected = ours(x), theirs(tx)
    np.testing.assert_allclose(scores.data, expected.detach().numpy(), **CLOSE[dtype])
    loss = SoftmaxCrossEntropyLoss()(scores, classes)
    torch_loss = torch.nn.functional.cross_entropy(expected, torch.tensor(classes))
    loss.backward()
    torch_loss.backward()
    assert scores.dtype == loss.dtype == dtype
    np.testing.assert_allclose(loss.item(), torch_loss.item(), **CLOSE[dtype])
    np.testing.assert_allclose(x.grad.data, tx.grad.numpy(), **CLOSE[dtype])
    gradients = [
        p.grad.data.T if p.ndim == 2 else p.grad.data  # Dense keeps its weights the other way
        for p in ours.parameters
    ]
    for gradient, parameter in zip(gradients, theirs.parameters(), strict=True):
        np.testing.assert_allclose(gradient, parameter.grad.numpy(), **CLOSE[dtype])
