"""Layers for sequences, and those that enlarge images: parity with PyTorch, errors."""

from __future__ import annotations

from typing import Any

import nn_layers as nl
import numpy as np
import pytest
from nn_tensor import Tensor
from nn_tensor.testing import assert_close

PAIRS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Conv1d", (4, 6, 3), {}, (2, 4, 9)),
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 2, "dilation": 2, "groups": 2}, (2, 4, 9)),
    ("Conv1d", (4, 6, 5), {"padding": "same", "bias": False}, (2, 4, 9)),
    ("MaxPool1d", (2, 2), {}, (2, 3, 7)),
    ("MaxPool1d", (3, 2, 1), {}, (2, 3, 8)),
    ("AvgPool1d", (2, 2), {}, (2, 3, 7)),
    ("AvgPool1d", (3, 1, 1), {}, (2, 3, 8)),
    ("ConvTranspose2d", (4, 6, 3), {}, (2, 4, 3, 5)),
    (
        "ConvTranspose2d",
        (4, 6, (4, 3)),
        {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2},
        (2, 4, 3, 5),
    ),
    (
        "ConvTranspose2d",
        (4, 6, 3),
        {"stride": (1, 3), "dilation": (2, 1), "output_padding": (1, 2), "bias": False},
        (2, 4, 3, 5),
    ),
    (
        "ConvTranspose2d",
        (4, 6, 3),
        {"dilation": 3, "padding": 2, "output_padding": 1},
        (2, 4, 3, 5),
    ),
    ("Upsample", (), {"scale_factor": 2}, (2, 3, 3, 4)),
    ("Upsample", (), {"scale_factor": (3, 2), "mode": "bilinear"}, (2, 3, 3, 4)),
    ("Upsample", (), {"scale_factor": 3, "mode": "bilinear", "align_corners": True}, (2, 3, 1, 4)),
    ("PReLU", (), {}, (2, 3, 4)),
    ("PReLU", (3,), {}, (2, 3, 4)),
]


@pytest.mark.parametrize(
    ("name", "sizes", "options", "shape"), PAIRS, ids=lambda value: str(value).replace(" ", "")
)
def test_against_torch(
    name: str, sizes: Any, options: Any, shape: Any, rng: np.random.Generator, device: str
) -> None:
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, name)(*sizes, **options).double()
    given = {k: v for k, v in options.items() if k != "scale_factor"}
    if name == "Upsample":
        sizes = (options["scale_factor"],)
    ours = getattr(nl, name.replace("1d", "1D").replace("2d", "2D"))(*sizes, **given)
    ours.to(device, "float64")
    pairs = list(zip(ours.parameters, theirs.parameters(), strict=True))
    for mine, other in pairs:
        mine.data[...] = Tensor(other.detach().numpy(), device=device).data
    data = rng.normal(size=shape)
    x = Tensor(data, device=device, requires_grad=True)
    there = torch.tensor(data, requires_grad=True)
    y, expected = ours(x), theirs(there)
    assert_close(y, expected.detach().numpy(), rtol=1e-11, atol=1e-12)
    weight = rng.normal(size=y.shape)
    y.backward(Tensor(weight, device=device))
    expected.backward(torch.tensor(weight))
    assert_close(x.grad, there.grad.numpy(), rtol=1e-11, atol=1e-12)
    for mine, other in pairs:
        assert_close(mine.grad, other.grad.numpy(), rtol=1e-11, atol=1e-12)


def test_causal_outputs_do_not_depend_on_later_input(rng: np.random.Generator) -> None:
    layer = nl.Conv1D(2, 3, 3, padding="causal", dilation=2, rng=0, dtype="float64")
    x = rng.normal(size=(1, 2, 10))
    changed = x.copy()
    changed[:, :, 6:] = 9
    assert_close(layer(x)[:, :, :6], layer(changed)[:, :, :6])
    assert layer(x).shape == (1, 3, 10)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("time", [1, 6, 7, 12])
def test_same_of_sequences_as_tensorflow_defines_it(
    stride: int, kernel: int, dilation: int, time: int, rng: np.random.Generator, device: str
) -> None:
    options: dict[str, Any] = {"dilation": dilation, "dtype": "float64", "rng": 0, "device": device}
    layer = nl.Conv1D(2, 3, kernel, stride, "same", **options)
    data = rng.normal(size=(2, 2, time))
    reach = (kernel - 1) * dilation + 1
    # "SAME" in the documentation of tf.nn.convolution, for a window with holes
    total = max(reach - (stride if time % stride == 0 else time % stride), 0)
    padded = np.pad(data, [(0, 0), (0, 0), (total // 2, total - total // 2)])
    expected = nl.Conv1D(2, 3, kernel, stride, **options)(Tensor(padded, device))
    out = layer(Tensor(data, device))
    assert out.shape == (2, 3, -(-time // stride))
    assert_close(out, expected.numpy())
    images = nl.Conv2D(2, 3, (1, kernel), (1, stride), "same", **{**options, "dilation": 1})
    if dilation == 1:
        images.load_state_dict({**layer.state_dict(), "weights": layer.weights.numpy()[:, :, None]})
        assert_close(images(Tensor(data[:, :, None], device))[:, :, 0], out.numpy())


def test_valid_means_no_padding_of_sequences() -> None:
    layer = nl.Conv1D(1, 1, 3, padding="valid", rng=0)
    assert layer.padding == 0
    assert repr(layer) == "Conv1D(1→1, 3)"
    assert layer(np.ones((1, 1, 5), "f")).shape == (1, 1, 3)


def test_same_with_strides_of_sequences_is_shown() -> None:
    layer = nl.Conv1D(1, 1, 3, 2, "same", rng=0)
    assert repr(layer) == "Conv1D(1→1, 3, stride=2, padding='same')"


def test_global_maximum_has_the_gradient_at_the_first(device: str) -> None:
    x = Tensor(np.array([[[1.0, 3.0, 3.0]]]), device=device, requires_grad=True)
    nl.GlobalMaxPool1D()(x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[[0, 1, 0]]])
    images = Tensor(np.array([[[[1.0, np.nan], [3.0, 2.0]]]]), device=device)
    assert np.isnan(nl.GlobalMaxPool2D()(images).numpy()).all()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nl.Conv1D(2, 3, 3), (2, 2), r"Conv1D\(2→3, 3\): input has 2 dimensions, expected 3"),
        (nl.Conv1D(2, 3, 3), (2, 5, 2), r"input has 5 channels, expected 2; channels come second"),
        (nl.Conv1D(2, 3, 3), (2, 2, 2), r"kernel 1×3 does not fit"),
        (nl.MaxPool1D(3), (2, 2, 2), r"kernel 1×3 does not fit"),
        (nl.AvgPool1D(), (2, 2, 0), "sequences of length 0"),
        (nl.GlobalMaxPool1D(), (2, 2, 0), "sequences of length 0"),
        (nl.GlobalMaxPool2D(), (2, 2, 0, 3), "images of 0×3"),
        (nl.ConvTranspose2D(2, 3, 3), (1, 3, 4, 4), "input has 3 channels, expected 2"),
        (nl.ConvTranspose2D(2, 3, 1, padding=2), (1, 2, 4, 4), "leaves no output"),
        (nl.Upsample(2), (1, 2, 0, 4), "images of 0×4"),
        (nl.PReLU(3), (2, 4), r"does not have 3 channels"),
    ],
    ids=str,
)
def test_errors(layer: Any, shape: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer(np.zeros(shape))


def test_other_errors() -> None:
    with pytest.raises(ValueError, match=r"padding: expected .*'valid', 'same' or 'causal', got"):
        nl.Conv1D(2, 3, 3, padding="full")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="groups: 2 does not divide out_channels"):
        nl.Conv1D(2, 3, 3, groups=2)
    with pytest.raises(TypeError, match="complex numbers have no maximum"):
        nl.GlobalMaxPool1D()(np.zeros((1, 2, 3), complex))
    with pytest.raises(TypeError, match="complex numbers have no maximum"):
        nl.MaxPool1D()(np.zeros((1, 2, 3), complex))
    with pytest.raises(TypeError, match="Upsample takes"):
        nl.Upsample(2, "bilinear")  # type: ignore[misc]


def test_enlarging_undoes_the_shape_of_a_strided_convolution() -> None:
    x = np.zeros((1, 3, 9, 14))
    down = nl.Conv2D(3, 5, 3, stride=2, padding=1)
    up = nl.ConvTranspose2D(5, 3, 3, stride=2, padding=1, output_padding=(0, 1))
    assert up(down(x)).shape == x.shape
