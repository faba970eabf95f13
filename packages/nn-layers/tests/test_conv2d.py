"""Conv2D and its operations: values, gradients of both orders, kernels, checks, initialization."""

import math

import numpy as np
import pytest
from nn_layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential
from nn_layers.ops.conv2d import (
    conv2d,
    conv2d_backward_input,
    conv2d_backward_weight,
    conv2d_forward,
    conv2d_input_gradient,
    conv2d_weight_gradient,
)
from nn_layers.ops.im2col import col2im, im2col
from nn_layers.ops.windows import Windows
from nn_tensor import Tensor, grad, no_grad, ones, use_kernels, zeros
from nn_tensor.testing import assert_close, gradcheck

# batch, channels, outputs, size, windows, groups
CASES = {
    "plain": (2, 3, 4, (5, 6), Windows((3, 3)), 1),
    "padded": (2, 1, 2, (4, 4), Windows((3, 3), (1, 1), (1, 1, 1, 1)), 1),
    "one side padded": (1, 2, 2, (4, 5), Windows((2, 4), (1, 1), (0, 1, 1, 2)), 1),
    "strided": (2, 2, 3, (7, 8), Windows((3, 2), (2, 3), (1, 1, 0, 0)), 1),
    "strided over the kernel": (1, 2, 2, (7, 7), Windows((2, 1), (3, 4)), 1),
    "dilated": (2, 2, 2, (6, 7), Windows((3, 2), (1, 1), (1, 1, 1, 1), (2, 3)), 1),
    "strided and dilated": (1, 2, 2, (8, 7), Windows((2, 3), (2, 2), (1, 1, 2, 2), (3, 2)), 1),
    "more padding than kernel": (1, 2, 2, (3, 3), Windows((2, 2), (1, 1), (3, 3, 3, 3)), 1),
    "groups": (2, 4, 6, (4, 4), Windows((3, 3), (1, 1), (1, 1, 1, 1)), 2),
    "depthwise": (2, 3, 3, (5, 5), Windows((3, 3), (2, 2), (1, 1, 1, 1)), 3),
    "1×1": (2, 3, 4, (3, 3), Windows((1, 1)), 1),
    "1×1 in groups": (1, 4, 2, (3, 3), Windows((1, 1)), 2),
    "1×1 strided": (2, 2, 3, (5, 5), Windows((1, 1), (2, 2)), 1),
    "many outputs": (1, 1, 9, (4, 4), Windows((3, 3), (1, 1), (1, 1, 1, 1)), 1),
    "by rows": (2, 17, 2, (5, 4), Windows((3, 3), (1, 1), (1, 1, 1, 1)), 1),
    "by rows in groups": (2, 96, 2, (6, 3), Windows((2, 1), (1, 1), (1, 0, 0, 0), (3, 1)), 2),
    "no images": (0, 2, 3, (4, 4), Windows((3, 3)), 1),
}  # fmt: skip
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def arrays(case, rng):
    n, c, o, size, windows, groups = case
    weights = rng.standard_normal((o, c // groups, *windows.kernel))
    return rng.standard_normal((n, c, *size)), weights, rng.standard_normal(o)


def by_definition(x, w, bias, windows, groups):
    """Sum up each window by itself."""
    top, bottom, left, right = windows.padding
    (sh, sw), (dh, dw) = windows.stride, windows.dilation
    o, c, kh, kw = w.shape
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    rows = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    line = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    out = np.empty((x.shape[0], o, rows, line))
    for k in range(o):
        first = k // (o // groups) * c
        for p in range(rows):
            for q in range(line):
                down = slice(p * sh, p * sh + dh * (kh - 1) + 1, dh)
                right = slice(q * sw, q * sw + dw * (kw - 1) + 1, dw)
                window = x[:, first : first + c, down, right]
                out[:, k, p, q] = (window * w[k]).sum((1, 2, 3)) + bias[k]
    return out


def layouts(x):
    """List arrays that are equal to `x` but lie in memory in other ways."""
    wide = np.repeat(x, 2, axis=-1)[..., ::2]
    return [x, x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2), wide, np.asfortranarray(x)]


@each_case
def test_values(case, device, rng):
    *_, windows, groups = case
    x, w, b = arrays(case, rng)
    expected = by_definition(x, w, b, windows, groups)
    for a in layouts(x):
        given = [Tensor(v, device=device) for v in (a, w, b)]
        assert_close(conv2d(*given, windows, groups), expected, 1e-12, 1e-12)
    out = conv2d(*given[:2], 0.0, windows, groups)
    assert_close(out, expected - b[:, None, None], 1e-12, 1e-12)


@each_case
def test_gradients_of_first_and_second_order(case, rng):
    *_, windows, groups = case
    x, w, b = arrays(case, rng)
    g = rng.standard_normal(by_definition(x, w, b, windows, groups).shape)
    size = x.shape[2:]
    gradcheck(lambda *v: conv2d(*v, windows, groups), [x, w, b], order=2)
    gradcheck(lambda *v: conv2d_input_gradient(*v, size, windows, groups), [g, w], order=2)
    gradcheck(lambda *v: conv2d_weight_gradient(*v, windows, groups), [x, g], order=2)


def test_gradient_of_third_order(rng):
    windows = Windows((2, 2), (1, 1), (1, 0, 0, 1))
    x, w, b = arrays((1, 2, 2, (3, 3), windows, 1), rng)
    gradcheck(lambda *v: conv2d(*v, windows) ** 3, [x, w, b], order=3)


@each_case
def test_gradients_do_not_depend_on_layout(case, rng):
    *_, windows, groups = case
    x, w, b = arrays(case, rng)
    found = []
    g = rng.standard_normal(by_definition(x, w, b, windows, groups).shape)
    for values in zip(layouts(x), layouts(w), layouts(g), strict=True):
        given = [Tensor(t, requires_grad=True) for t in (*values[:2], b)]
        conv2d(*given, windows, groups).backward(values[2])
        found.append([t.grad.numpy() for t in given])
    for other in found[1:]:
        for actual, expected in zip(other, found[0], strict=True):
            assert_close(actual, expected, 1e-12, 1e-11)


@each_case
@pytest.mark.parametrize("max_columns", [1, 7, 10**6])
def test_the_tiling_does_not_change_the_result(case, max_columns, rng):
    *_, windows, groups = case
    x, w, b = arrays(case, rng)
    x = np.concatenate([x, x, x])
    g = rng.standard_normal(conv2d_forward(np, x, w, b, windows, groups).shape)
    size = x.shape[2:]
    assert_close(
        conv2d_forward.reference(np, x, w, b, windows, groups, max_columns),
        conv2d_forward(np, x, w, b, windows, groups), 1e-12, 1e-12,
    )  # fmt: skip
    assert_close(
        conv2d_backward_weight.reference(np, x, g, windows, groups, max_columns),
        conv2d_backward_weight(np, x, g, windows, groups), 1e-12, 1e-12,
    )  # fmt: skip
    assert_close(
        conv2d_backward_input.reference(np, g, w, size, windows, groups, max_columns),
        conv2d_backward_input(np, g, w, size, windows, groups), 1e-12, 1e-12,
    )  # fmt: skip


def test_the_cases_unfold_whole_windows_and_single_rows(monkeypatch, rng):
    unfolded = []  # heights of what was unfolded of the kernel

    def spy(xp, columns, *arguments):
        unfolded.append(columns.shape[1])
        im2col(xp, columns, *arguments)

    monkeypatch.setattr("nn_layers.ops.conv2d.im2col", spy)

    def by_rows(case):
        *_, windows, groups = case
        unfolded.clear()
        conv2d(*arrays(case, rng), windows, groups)
        return windows.kernel[0] > 1 and set(unfolded) == {1}

    assert [name for name, case in CASES.items() if by_rows(case)] == [
        "by rows", "by rows in groups"
    ]  # fmt: skip


def test_no_gradient_is_computed_for_an_input_that_needs_none(monkeypatch):
    conv = Conv2D(1, 2, 3)
    out = conv(ones(2, 1, 5, 5)).sum()
    monkeypatch.setattr("nn_layers.ops.conv2d.conv2d_input_gradient", None)
    out.backward()
    assert conv.weights.grad.shape == (2, 1, 3, 3)


def test_inputs_are_not_changed(device, rng):
    values = [v.astype(np.float32) for v in arrays(CASES["padded"], rng)]
    for v in values:
        v.flags.writeable = False
    tensors = [Tensor(v, device=device, requires_grad=True) for v in values]
    conv2d(*tensors, CASES["padded"][4]).sum().backward()
    for v, t in zip(values, tensors, strict=True):
        np.testing.assert_array_equal(t.numpy(), v)
        assert t.grad.dtype == np.float32


def test_memory_is_bounded():
    """A large image is divided into tiles: no copy of all its windows is made."""
    import tracemalloc

    conv = Conv2D(16, 4, 3, padding=1)
    x = ones(1, 16, 512, 512)
    with no_grad():
        conv(x)
        tracemalloc.start()
        conv(x)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 2.5 * x.data.nbytes  # the padded image, the output, and a tile


# Kernels


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3), (1, 2)], ids=str)
@pytest.mark.parametrize("dilation", [(1, 1), (1, 2), (2, 1)], ids=str)
def test_the_compiled_kernels(stride, dilation, dtype, rng):
    pytest.importorskip("numba", reason="numba compiles these")
    (sh, sw), (dh, dw) = stride, dilation
    height, width = 1 + 3 * sh + 2 * dh + 1, 4 * sw + dw + 2
    padded = rng.standard_normal((2, 3, height, width)).astype(dtype)
    columns = rng.standard_normal((3, 3, 2, 4, 2, 5)).astype(dtype)
    results = []
    for choice in ("auto", "reference"):
        with use_kernels(choice):
            results.append((columns.copy(), padded.copy()))
            im2col(np, results[-1][0], padded, 1, stride, dilation)
            col2im(np, results[-1][1], columns, 1, stride, dilation)
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected)


# PyTorch


def draw(rng):
    """Draw a layer and the shape of an input that is large enough for it."""
    groups = int(rng.integers(1, 4))
    kernel, dilation = rng.integers(1, 4, 2), rng.integers(1, 3, 2)
    stride = rng.integers(1, 4, 2) if rng.random() < 0.5 else np.array([1, 1])
    padding = rng.integers(0, 3, 2)
    least = np.maximum(dilation * (kernel - 1) + 1 - 2 * padding, 1)
    settings = {
        "in_channels": groups * int(rng.integers(1, 20)),
        "out_channels": groups * int(rng.integers(1, 5)),
        "groups": groups,
        "bias": bool(rng.random() < 0.8),
    }
    for name, values in (
        ("kernel_size", kernel), ("stride", stride), ("padding", padding), ("dilation", dilation)
    ):  # fmt: skip
        settings[name] = tuple(map(int, values))
    size = least + rng.integers(0, 20, 2)
    return settings, (int(rng.integers(0, 4)), settings["in_channels"], *map(int, size))


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-9), ("float32", 1e-4)])
@pytest.mark.parametrize("seed", range(12))
def test_against_torch(seed, dtype, rtol, device):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    for _ in range(3):
        settings, shape = draw(rng)
        layer = Conv2D(**settings, device=device, dtype=dtype, rng=rng)
        theirs = torch.nn.Conv2d(**settings, dtype=getattr(torch, dtype))
        with torch.no_grad():
            theirs.weight.copy_(torch.from_numpy(layer.weights.numpy()))
            if settings["bias"]:
                theirs.bias.zero_()
        data = rng.standard_normal(shape).astype(dtype)
        x, x_torch = Tensor(data, device=device, requires_grad=True), torch.tensor(data)
        out, out_torch = layer(x), theirs(x_torch.requires_grad_())
        g = rng.standard_normal(out.shape).astype(dtype)
        out.backward(Tensor(g, device=device))
        out_torch.backward(torch.from_numpy(g))
        pairs = [(out, out_torch), (x.grad, x_torch.grad), (layer.weights.grad, theirs.weight.grad)]
        if settings["bias"]:
            pairs.append((layer.bias.grad, theirs.bias.grad))
        for actual, expected in pairs:
            expected = expected.detach().numpy()
            scale = abs(expected).max(initial=1)
            assert_close(actual, expected, rtol, rtol * scale, name=str(settings))


def test_double_backward_against_torch(device, rng):
    torch = pytest.importorskip("torch")
    values = [rng.standard_normal(s) for s in ((2, 4, 7, 6), (6, 2, 3, 2), (6,))]
    windows = Windows((3, 2), (2, 1), (1, 1, 1, 1), (1, 2))
    ours = [Tensor(v, device=device, requires_grad=True) for v in values]
    gradients = grad((conv2d(*ours, windows, 2) ** 3).sum(), ours, create_graph=True)
    sum((g * g).sum() for g in gradients).backward()
    theirs = [torch.tensor(v, requires_grad=True) for v in values]
    out = torch.nn.functional.conv2d(*theirs, (2, 1), (1, 1), (1, 2), 2)
    gradients = torch.autograd.grad((out**3).sum(), theirs, create_graph=True)
    sum((g * g).sum() for g in gradients).backward()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9)


@pytest.mark.parametrize("stride", [2, 3, (1, 4)], ids=str)
@pytest.mark.parametrize("kernel", [1, 2, 3, (4, 5)], ids=str)
@pytest.mark.parametrize("dilation", [1, (1, 3)], ids=str)
@pytest.mark.parametrize("size", [(6, 5), (7, 9), (1, 12)], ids=str)
def test_same_with_strides_as_tensorflow_defines_it(stride, kernel, dilation, size, device, rng):
    layer = Conv2D(
        2, 3, kernel, stride, "same", dilation=dilation, dtype="float64", device=device, rng=0
    )
    data = rng.standard_normal((2, 2, *size))
    sides = []
    for n, k, s, d in zip(size, layer.kernel_size, layer.stride, layer.dilation, strict=True):
        reach = (k - 1) * d + 1
        # "SAME" in the documentation of tf.nn.convolution, for a window with holes
        total = max(reach - s, 0) if n % s == 0 else max(reach - n % s, 0)
        sides.append((total // 2, total - total // 2))
    plain = Conv2D(2, 3, kernel, stride, dilation=dilation, dtype="float64", device=device, rng=0)
    padded = Tensor(np.pad(data, [(0, 0), (0, 0), *sides]), device=device)
    out = layer(Tensor(data, device=device))
    assert out.shape[2:] == tuple(-(-n // s) for n, s in zip(size, layer.stride, strict=True))
    np.testing.assert_allclose(out.numpy(), plain(padded).numpy(), rtol=1e-12, atol=1e-13)


def test_valid_means_no_padding():
    layer = Conv2D(1, 1, 3, padding="valid", rng=0)
    assert layer.padding == (0, 0)
    assert repr(layer) == "Conv2D(1→1, 3×3)"
    assert layer(ones(1, 1, 5, 4)).shape == (1, 1, 3, 2)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("kernel", [1, 2, 3, (4, 5), (2, 7)], ids=str)
@pytest.mark.parametrize("dilation", [1, 2, (1, 3)], ids=str)
def test_same_against_torch(kernel, dilation, device, rng):
    torch = pytest.importorskip("torch")
    layer = Conv2D(2, 3, kernel, padding="same", dilation=dilation, dtype="float64", device=device)
    data = rng.standard_normal((2, 2, 6, 5))
    weights = torch.from_numpy(layer.weights.numpy())
    expected = torch.nn.functional.conv2d(
        torch.tensor(data), weights, padding="same", dilation=dilation
    )
    out = layer(Tensor(data, device=device))
    assert out.shape == (2, 3, 6, 5)
    np.testing.assert_allclose(out.numpy(), expected.numpy(), rtol=1e-9, atol=1e-12)


# The layer


def test_the_specification(device):
    conv = Conv2D(in_channels=3, out_channels=16, kernel_size=3, stride=1, padding=1, device=device)
    out = conv(ones(4, 3, 8, 10, device=device))
    assert (out.shape, out.dtype, out.device) == ((4, 16, 8, 10), np.float32, device)
    assert (conv.weights.shape, conv.bias.shape) == ((16, 3, 3, 3), (16,))
    assert (conv.device, conv.dtype) == (device, np.float32)
    assert [*conv.state_dict()] == ["weights", "bias", "__metadata__"]
    assert [*Conv2D(1, 1, 1, bias=False).state_dict()] == ["weights", "__metadata__"]
    other = Conv2D(3, 16, 3, padding=1)
    other.load_state_dict(conv.state_dict())
    np.testing.assert_array_equal(other.weights.numpy(), conv.weights.numpy())


def test_a_network_learns(rng):
    model = Sequential(
        Conv2D(1, 4, 3, padding=1, rng=0), ReLU(), MaxPool2D(), Conv2D(4, 8, 3, padding=1, rng=1),
        ReLU(), MaxPool2D(), Flatten(), Dense(8, 2, rng=2),
    )  # fmt: skip
    x = rng.standard_normal((20, 1, 5, 5)).astype(np.float32)
    target = np.stack([x.mean((1, 2, 3)), x.max((1, 2, 3))], 1)
    losses = []
    for _ in range(60):
        loss = ((model(x) - target) ** 2).mean()
        model.zero_grad()
        loss.backward()
        with no_grad():
            for p in model.parameters:
                p.data = p.data - 0.1 * p.grad.data
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_options_are_shown():
    assert repr(Conv2D(3, 8, 3)) == "Conv2D(3→8, 3×3)"
    conv = Conv2D(4, 8, (3, 5), 2, (1, 2), dilation=(1, 2), groups=2, bias=False, name="stem")
    assert repr(conv) == (
        "Conv2D(4→8, 3×5, stride=2, padding=(1, 2), dilation=(1, 2), groups=2, bias=False, "
        "name='stem')"
    )
    assert repr(Conv2D(1, 1, 2, padding="same")) == "Conv2D(1→1, 2×2, padding='same')"
    assert (conv.in_channels, conv.out_channels, conv.kernel_size) == (4, 8, (3, 5))
    assert (conv.stride, conv.padding, conv.dilation, conv.groups) == ((2, 2), (1, 2), (1, 2), 2)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("given", ["float16", "float32", "float64"])
def test_floats_are_converted_to_the_parameters(dtype, given, device):
    conv = Conv2D(2, 3, 3, dtype=dtype, device=device)
    x = ones(1, 2, 4, 4, dtype=given, device=device, requires_grad=True)
    out = conv(x)
    assert out.dtype == dtype
    out.sum().backward()
    assert (x.grad.dtype, conv.weights.grad.dtype, conv.bias.grad.dtype) == (given, dtype, dtype)


@pytest.mark.parametrize("name", ["xavier", "he", "lecun"])
def test_initial_weights(name, device):
    bound = {
        "xavier": math.sqrt(6 / (9 * (20 + 30))), "he": math.sqrt(6 / 180),
        "lecun": math.sqrt(3 / 180),
    }[name]  # fmt: skip
    conv = Conv2D(40, 60, 3, groups=2, initialization=name, rng=0, device=device)
    weights = conv.weights.numpy()
    assert abs(weights).max() == pytest.approx(bound, rel=1e-3)
    assert weights.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    again = Conv2D(40, 60, 3, groups=2, initialization=name, rng=0).weights.numpy()
    np.testing.assert_array_equal(again, weights)
    assert not np.any(conv.bias.numpy())
    assert all(p.requires_grad for p in conv.parameters)


WRONG_SETTINGS = [
    ({"in_channels": 0}, ValueError, "in_channels: expected an integer >= 1, got 0"),
    ({"out_channels": 2.0}, TypeError, "out_channels: expected an integer >= 1, got 2.0"),
    (
        {"kernel_size": 0},
        ValueError,
        "kernel_size: expected sizes >= 1, .* got 0",
    ),
    ({"kernel_size": (3, 3, 3)}, TypeError, r"kernel_size: .* got \(3, 3, 3\)"),
    ({"kernel_size": "3"}, TypeError, "kernel_size: .* got '3'"),
    ({"kernel_size": True}, TypeError, "kernel_size: .* got True"),
    ({"stride": (1, 0)}, ValueError, r"stride: .* got \(1, 0\)"),
    ({"stride": None}, TypeError, "stride: .* got None"),
    ({"padding": -1}, ValueError, "padding: expected sizes >= 0, .* got -1"),
    ({"padding": "full"}, ValueError, "padding: expected .*'valid' or 'same', got 'full'"),
    ({"dilation": 1.5}, TypeError, "dilation: .* got 1.5"),
    ({"groups": 2}, ValueError, "groups: 2 does not divide in_channels, which is 3"),
    ({"groups": 3}, ValueError, "groups: 3 does not divide out_channels, which is 4"),
    ({"groups": 0}, ValueError, "groups: expected an integer >= 1, got 0"),
    ({"dtype": "int32"}, TypeError, "dtype: expected a floating dtype, got int32"),
    ({"device": "tpu"}, ValueError, "device: .* got 'tpu'"),
    ({"initialization": "xaviar"}, ValueError, "expected one of 'xavier', .*, got 'xaviar'"),
    ({"rng": "seed"}, TypeError, "rng: .* got 'seed'"),
]


@pytest.mark.parametrize(("settings", "error", "reason"), WRONG_SETTINGS)
def test_wrong_settings(settings, error, reason):
    with pytest.raises(error, match=reason):
        Conv2D(**{"in_channels": 3, "out_channels": 4, "kernel_size": 3, **settings})


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((2, 13, 9, 9), "input has 13 channels, expected 3 (its shape is (2, 13, 9, 9))"),
        (
            (2, 9, 9, 3),
            "input has 9 channels, expected 3; channels come second: .transpose(0, 3, 1, 2) (its "
            "shape is (2, 9, 9, 3))",
        ),
        (
            (3, 9, 9),
            "input has 3 dimensions, expected 4: (batch, channels, height, width) (its shape is "
            "(3, 9, 9))",
        ),
        ((2, 3, 5, 5), "kernel 7×7 does not fit into 5×5 with padding 0"),
        ((2, 3, 7, 0), "kernel 7×7 does not fit into 7×0 with padding 0"),
    ],
    ids=str,
)
def test_wrong_shapes(shape, reason):
    with pytest.raises(ValueError, match="Sequential") as info:
        Sequential(Conv2D(3, 4, 7))(zeros(shape))
    assert str(info.value) == f"Sequential[0] Conv2D(3→4, 7×7): {reason}"


def test_a_kernel_that_does_not_fit_is_described():
    with pytest.raises(ValueError, match=r"kernel 3×3 with dilation 4 does not fit .* padding 1"):
        Conv2D(1, 1, 3, padding=1, dilation=4)(zeros(1, 1, 6, 6))
    with pytest.raises(ValueError, match=r"kernel 9×1 does not fit into 4×6 with padding \(2, 0\)"):
        Conv2D(1, 1, (9, 1), padding=(2, 0))(zeros(1, 1, 4, 6))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "complex64"])
def test_other_input_is_refused(dtype):
    with pytest.raises(TypeError, match=rf"input is {dtype}, expected floats; .*astype\('float32'"):
        Conv2D(1, 1, 1)(ones(1, 1, 2, 2, dtype=dtype))


def test_the_hint_about_the_channels_is_right():
    assert Conv2D(3, 4, 7)(ones(2, 9, 9, 3).transpose(0, 3, 1, 2)).shape == (2, 4, 3, 3)


@pytest.mark.cuda
def test_mixed_devices_are_refused():
    with pytest.raises(ValueError, match=r"Conv2D.*cpu and cuda"):
        Conv2D(1, 1, 1, device="cuda")(ones(1, 1, 2, 2))


@pytest.mark.parametrize("algorithm", ["auto", "direct", "winograd"])
def test_algorithms_agree(algorithm: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 24, 18, 15)).astype(np.float32)
    layer = Conv2D(24, 20, 3, padding=1, rng=0, algorithm=algorithm)
    exact = Conv2D(24, 20, 3, padding=1, rng=0, dtype=np.float64)
    results = []
    for model, images in ((layer, x), (exact, x.astype(np.float64))):
        inputs = Tensor(images, requires_grad=True)
        y = model(inputs)
        (y * y).sum().backward()
        results.append([t.numpy() for t in (y, inputs.grad, model.weights.grad, model.bias.grad)])
    for actual, expected in zip(*results, strict=True):
        assert abs(actual - expected).max() <= 1e-5 * abs(expected).max()


def test_the_algorithm_is_shown_and_checked() -> None:
    assert "algorithm='direct'" in repr(Conv2D(2, 3, 3, algorithm="direct"))
    with pytest.raises(ValueError, match="algorithm: expected one of 'auto', 'direct', 'winograd'"):
        Conv2D(2, 3, 3, algorithm="fft")
