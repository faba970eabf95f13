"""Pooling: values, gradients of both orders, ties, NaN, kernels, checks."""

import numpy as np
import pytest
from nn_layers import AvgPool2D, GlobalAvgPool2D, MaxPool2D, Sequential
from nn_layers.ops.pooling import (
    avg_pool2d,
    avg_pool2d_gradient,
    gather_by_window_index,
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_forward,
    max_unpool2d,
)
from nn_layers.ops.windows import Windows
from nn_tensor import Tensor, ones, use_kernels, zeros
from nn_tensor.testing import assert_close, gradcheck

# shape, windows
CASES = {
    "halves": ((2, 3, 4, 6), Windows((2, 2), (2, 2))),
    "does not divide": ((2, 1, 5, 7), Windows((2, 3), (2, 3))),
    "overlapping": ((1, 2, 6, 7), Windows((3, 3), (2, 2))),
    "padded": ((2, 2, 5, 4), Windows((3, 2), (2, 2), (1, 1, 1, 1))),
    "padded, overlapping": ((1, 1, 4, 4), Windows((3, 3), (1, 1), (1, 1, 1, 1))),
    "gaps": ((2, 2, 8, 7), Windows((2, 2), (3, 4))),
    "dilated": ((1, 2, 7, 8), Windows((3, 2), (2, 1), (2, 2, 1, 1), (2, 3))),
    "1×1": ((1, 2, 3, 3), Windows((1, 1))),
    "whole": ((2, 2, 3, 4), Windows((3, 4))),
    "large": ((1, 1, 19, 18), Windows((18, 16), (1, 2))),  # its indices need more than a byte
    "no images": ((0, 2, 4, 4), Windows((2, 2), (2, 2))),
    "no channels": ((2, 0, 4, 4), Windows((2, 2), (2, 2))),
}
each_case = pytest.mark.parametrize(("shape", "windows"), CASES.values(), ids=CASES)


def distinct(shape, rng):
    """Return numbers far enough apart for differences."""
    return rng.permuted(np.arange(np.prod(shape)) * 0.05 - 1).reshape(shape)


def windows_of(x, windows, value):
    """Yield position and elements of each window, by definition."""
    top, bottom, left, right = windows.padding
    (kh, kw), (sh, sw), (dh, dw) = windows.kernel, windows.stride, windows.dilation
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)
    for p in range((x.shape[2] - dh * (kh - 1) - 1) // sh + 1):
        for q in range((x.shape[3] - dw * (kw - 1) - 1) // sw + 1):
            down = slice(p * sh, p * sh + dh * (kh - 1) + 1, dh)
            yield p, q, x[:, :, down, q * sw : q * sw + dw * (kw - 1) + 1 : dw]


def by_definition(x, windows, value, function):
    cells = {(p, q): function(v, axis=(2, 3)) for p, q, v in windows_of(x, windows, value)}
    rows, line = max(cells)
    out = np.empty((*x.shape[:2], rows + 1, line + 1))
    for (p, q), values in cells.items():
        out[:, :, p, q] = values
    return out


def layouts(x):
    """List arrays that are equal to `x` but lie in memory in other ways."""
    wide = np.repeat(x, 2, axis=-1)[..., ::2]
    return [x, x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2), wide, np.asfortranarray(x)]


@each_case
def test_values(shape, windows, device, rng):
    x = rng.standard_normal(shape)
    largest = by_definition(x, windows, -np.inf, np.max)
    means = by_definition(x, windows, 0, np.mean)
    for a in layouts(x):
        assert_close(max_pool2d(Tensor(a, device=device), windows), largest, 0, 0)
        assert_close(avg_pool2d(Tensor(a, device=device), windows), means)


@each_case
def test_gradients_of_first_and_second_order(shape, windows, rng):
    x = distinct(shape, rng)
    gradcheck(lambda v: max_pool2d(v, windows), [x], order=2)
    gradcheck(lambda v: avg_pool2d(v, windows), [x], order=2)
    gradcheck(lambda v: max_pool2d(v, windows) ** 2, [x], order=2, rtol=1e-6)
    out, index = max_pool2d_forward(np, x, windows)
    gradcheck(lambda g: max_unpool2d(g, index, shape[2:], windows), [out], order=2)
    gradcheck(lambda v: gather_by_window_index(v, index, windows), [x], order=2)
    gradcheck(lambda g: avg_pool2d_gradient(g, shape[2:], windows), [out], order=2)


@each_case
@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d], ids=["max", "average"])
def test_gradients_do_not_depend_on_layout(pool, shape, windows, rng):
    found, g = [], rng.standard_normal(pool(Tensor(np.zeros(shape)), windows).shape)
    x = distinct(shape, rng)
    for a, b in zip(layouts(x), layouts(g), strict=True):
        given = Tensor(a, requires_grad=True)
        pool(given, windows).backward(b)
        found.append(given.grad.numpy())
    for other in found[1:]:
        assert_close(other, found[0])


@pytest.mark.parametrize("choice", ["auto", "reference"])
def test_the_first_of_equals_gets_the_gradient(choice, device):
    with use_kernels(choice):
        x = zeros(1, 1, 4, 4, device=device, requires_grad=True)
        MaxPool2D()(x).sum().backward()
        corners = np.array([[1, 0, 1, 0], [0, 0, 0, 0]] * 2)
        np.testing.assert_array_equal(x.grad.numpy()[0, 0], corners)
        x = Tensor([[[[1.0, 2.0], [2.0, 2.0]]]], device=device, requires_grad=True)
        MaxPool2D()(x).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy()[0, 0], [[0, 1], [0, 0]])


@pytest.mark.parametrize("choice", ["auto", "reference"])
@pytest.mark.parametrize("place", range(4))
def test_nan_is_the_maximum(place, choice, device):
    data = np.array([np.inf, 1.0, 2.0, -np.inf])
    data[place] = np.nan
    with use_kernels(choice):
        x = Tensor(data.reshape(1, 1, 2, 2), device=device, requires_grad=True)
        out = MaxPool2D()(x)
        assert np.isnan(out.numpy()).all()
        out.backward([3.0])
    np.testing.assert_array_equal(x.grad.numpy().ravel(), np.where(np.isnan(data), 3, 0))


@pytest.mark.parametrize("choice", ["auto", "reference"])
def test_padding_never_is_the_maximum(choice, device):
    with use_kernels(choice):
        x = Tensor(np.full((1, 1, 3, 3), -np.inf), device=device, requires_grad=True)
        MaxPool2D(3, 2, padding=1)(x).sum().backward()
        # each window's first element inside the image
        np.testing.assert_array_equal(x.grad.numpy()[0, 0], [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("choice", ["auto", "reference"])
def test_an_infinite_gradient_stays_at_its_place(choice, device):
    with use_kernels(choice):
        x = Tensor([[[[1.0, 2.0], [0.0, 0.0]]]], device=device, requires_grad=True)
        MaxPool2D()(x).backward([np.inf])
        np.testing.assert_array_equal(x.grad.numpy()[0, 0], [[0, np.inf], [0, 0]])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_the_dtype_stays(dtype):
    for layer in (MaxPool2D(), MaxPool2D(3, 1, 1), AvgPool2D(), GlobalAvgPool2D()):
        x = ones(1, 1, 4, 4, dtype=dtype, requires_grad=True)
        out = layer(x)
        out.sum().backward()
        assert (out.dtype, x.grad.dtype) == (np.dtype(dtype), np.dtype(dtype))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int8", "bool"])
def test_integers_have_a_maximum(dtype, device, rng):
    x = rng.integers(-100, 100, (2, 2, 5, 5)).astype(dtype)
    for layer in (MaxPool2D(), MaxPool2D(3, 2, padding=1)):
        out = layer(Tensor(x, device=device))
        low = np.iinfo(dtype).min if dtype != "bool" else False
        assert_close(out, by_definition(x, layer._windows, low, np.max), check_dtype=False)
        assert out.dtype == dtype


def test_inputs_are_not_changed(device, rng):
    x = rng.standard_normal((1, 2, 5, 5))
    x.flags.writeable = False
    for layer in (MaxPool2D(), MaxPool2D(3, 1, 1), AvgPool2D(), AvgPool2D(3, 1, 1)):
        given = Tensor(x, device=device, requires_grad=True)
        layer(given).sum().backward()
        np.testing.assert_array_equal(given.numpy(), x)


@each_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_compiled_kernel(shape, windows, dtype, rng):
    pytest.importorskip("numba", reason="numba compiles this")
    x = rng.standard_normal(shape).astype(dtype)
    out, index = max_pool2d_forward(np, x, windows)
    results = [np.full_like(x, np.nan), np.full_like(x, np.nan)]
    max_pool2d_backward(np, out, index, results[0], windows)
    max_pool2d_backward.reference(np, out, index, results[1], windows)
    assert_close(*results)


@pytest.mark.parametrize("channels", [2, 4000])
def test_a_large_batch_is_pooled_in_blocks(channels, rng):
    (_, _, *size), windows = CASES["padded"]
    x = rng.standard_normal((3, channels, *size))
    out, index = max_pool2d_forward.reference(np, x, windows)
    assert_close(out, by_definition(x, windows, -np.inf, np.max))
    assert_close(gather_by_window_index(x, index, windows), out)
    assert_close(avg_pool2d(x, windows), by_definition(x, windows, 0, np.mean))
    g, size = rng.standard_normal(out.shape), tuple(size)
    with use_kernels("reference"):
        unpooled, gradient = (
            max_unpool2d(g, index, size, windows),
            avg_pool2d_gradient(g, size, windows),
        )
        for i in range(3):
            one = slice(i, i + 1)
            assert_close(unpooled[one], max_unpool2d(g[one], index[one], size, windows), 0, 0)
            assert_close(gradient[one], avg_pool2d_gradient(g[one], size, windows), 0, 0)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-9), ("float32", 1e-4)])
def test_against_torch(seed, dtype, rtol, device):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    for _ in range(6):
        kernel = tuple(map(int, rng.integers(1, 5, 2)))
        stride = tuple(map(int, rng.integers(1, 5, 2)))
        padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
        size = [k + int(rng.integers(0, 12)) for k in kernel]
        # few values: many windows have several maxima
        data = rng.integers(-3, 3, (int(rng.integers(0, 4)), 3, *size)).astype(dtype)
        for ours, theirs in (
            (MaxPool2D, torch.nn.functional.max_pool2d),
            (AvgPool2D, torch.nn.functional.avg_pool2d),
        ):
            x = Tensor(data, device=device, requires_grad=True)
            x_torch = torch.tensor(data, requires_grad=True)
            out, out_torch = (
                ours(kernel, stride, padding)(x),
                theirs(x_torch, kernel, stride, padding),
            )
            g = rng.standard_normal(out.shape).astype(dtype)
            out.backward(Tensor(g, device=device))
            out_torch.backward(torch.from_numpy(g))
            assert_close(out, out_torch.detach().numpy(), rtol, rtol)
            assert_close(x.grad, x_torch.grad.numpy(), rtol, rtol)


def test_global_avg_pool2d(device, rng):
    x = rng.standard_normal((2, 3, 4, 5))
    layer = GlobalAvgPool2D()
    out = layer(Tensor(x, device=device))
    assert_close(out, x.mean((2, 3)))
    assert layer(zeros(0, 3, 4, 5)).shape == (0, 3)
    gradcheck(layer, [x], order=2)
    with pytest.raises(ValueError, match=r"GlobalAvgPool2D: input has images of 0×5, expected"):
        layer(zeros(2, 3, 0, 5))


def test_the_specification():
    pool = MaxPool2D(kernel_size=2, stride=2)
    assert pool(ones(2, 3, 28, 28)).shape == (2, 3, 14, 14)
    assert pool(ones(2, 3, 29, 27)).shape == (2, 3, 14, 13)
    assert repr(pool) == repr(MaxPool2D()) == "MaxPool2D(2×2, stride=2)"
    assert MaxPool2D(3)(ones(1, 1, 7, 7)).shape == (1, 1, 3, 3)
    assert MaxPool2D(3, None).stride == (3, 3)
    assert repr(AvgPool2D((3, 2), (1, 2), 1, name="p")) == (
        "AvgPool2D(3×2, stride=(1, 2), padding=1, name='p')"
    )
    assert repr(GlobalAvgPool2D()) == "GlobalAvgPool2D()"
    assert pool.parameters == []
    assert pool([[[[1.0, 2.0], [3.0, 4.0]]]]).item() == 4


WRONG_SETTINGS = [
    ({"kernel_size": 0}, ValueError, "kernel_size: expected sizes >= 1, .* got 0"),
    ({"kernel_size": (2, 2, 2)}, TypeError, r"kernel_size: .* got \(2, 2, 2\)"),
    ({"kernel_size": None}, TypeError, "kernel_size: .* got None"),
    ({"stride": -1}, ValueError, "stride: .* got -1"),
    ({"stride": 2.0}, TypeError, "stride: .* got 2.0"),
    ({"padding": -1}, ValueError, "padding: expected sizes >= 0, .* got -1"),
    ({"padding": "same"}, TypeError, "padding: .* got 'same'"),
    ({"padding": 2}, ValueError, "padding: expected at most half of kernel_size 2, got 2"),
    (
        {"kernel_size": (4, 3), "padding": (2, 2)},
        ValueError,
        r"padding: expected at most half of kernel_size \(4, 3\), got \(2, 2\)",
    ),
]


@pytest.mark.parametrize("layer", [MaxPool2D, AvgPool2D])
@pytest.mark.parametrize(("settings", "error", "reason"), WRONG_SETTINGS)
def test_wrong_settings(layer, settings, error, reason):
    with pytest.raises(error, match=reason):
        layer(**settings)


@pytest.mark.parametrize("layer", [MaxPool2D, AvgPool2D])
def test_wrong_inputs(layer):
    name = f"Sequential[0] {layer.__name__}(2×2, stride=2): "
    for shape, reason in (
        ((1, 1, 1, 5), "kernel 2×2 does not fit into 1×5 with padding 0"),
        (
            (2, 4, 4),
            "input has 3 dimensions, expected 4: (batch, channels, height, width) (its shape is "
            "(2, 4, 4))",
        ),
        ((1, 1, 0, 4), "input has images of 0×4, expected at least one pixel"),
    ):
        with pytest.raises(ValueError, match="Sequential") as info:
            Sequential(layer())(zeros(shape))
        assert str(info.value) == name + reason
    with pytest.raises(TypeError, match=r"Sequential\[0\] .*: input is complex64"):
        Sequential(layer())(ones(1, 1, 2, 2, dtype="complex64"))


@pytest.mark.parametrize("layer", [AvgPool2D(), GlobalAvgPool2D()])
def test_integers_have_no_mean(layer):
    with pytest.raises(TypeError, match=r"input is int64, expected floats; .*astype\('float32'"):
        layer(ones(1, 1, 2, 2, dtype="int64"))


def test_half_precision_averages_large_windows(device: str) -> None:
    x = ones((1, 1, 100, 100), dtype="float16", device=device, requires_grad=True)
    y = AvgPool2D(100)(x)
    assert y.dtype == "float16"
    assert y.tolist() == [[[[1]]]]
    overlapping = AvgPool2D(90, 1)(x)
    assert overlapping[0, 0, 0, 0].item() == 1
    overlapping.sum().backward()
    np.testing.assert_allclose(x.grad[0, 0, 50, 50].item(), 121 / 8100, rtol=1e-3)


@pytest.mark.parametrize("size", [(8, 8), (6, 8), (8, 6)])
def test_gradients_for_images_of_another_size_are_refused(size):
    """They are no less refused where the compiled kernels compute."""
    g, windows = Tensor(np.ones((4, 3, 8, 8), np.float32)), Windows((2, 2), (2, 2))
    index = Tensor(np.zeros(g.shape, np.uint8))
    with pytest.raises(ValueError, match="broadcast"):
        avg_pool2d_gradient(g, size, windows)
    with pytest.raises(ValueError, match="broadcast"):
        max_unpool2d(g, index, size, windows)
