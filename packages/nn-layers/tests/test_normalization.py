"""Normalization: values, gradients of every order, running statistics, dtypes, checks."""

import warnings

import numpy as np
import pytest
from nn_layers import BatchNorm1D, BatchNorm2D, GroupNorm, LayerNorm, RMSNorm, Sequential
from nn_layers.ops import layer_norm
from nn_layers.ops.batch_norm import batch_norm
from nn_layers.ops.layer_norm import standardize_and_scale
from nn_layers.ops.normalization import scale_and_shift, standardize, standardize_gradient
from nn_tensor import Tensor, ones, use_kernels
from nn_tensor.testing import assert_close, gradcheck

# layer, the shape of its input, and its namesake in torch with arguments
CASES = {
    "LayerNorm": (lambda **o: LayerNorm(5, **o), (3, 5), ("LayerNorm", (5,))),
    "LayerNorm of a vector": (lambda **o: LayerNorm(5, **o), (5,), ("LayerNorm", (5,))),
    "LayerNorm of 2 axes": (
        lambda **o: LayerNorm((3, 4), epsilon=0.1, **o),
        (2, 2, 3, 4),
        ("LayerNorm", ((3, 4), 0.1)),
    ),
    "RMSNorm": (lambda **o: RMSNorm(5, **o), (2, 3, 5), ("RMSNorm", (5,))),
    "RMSNorm of 2 axes": (
        lambda **o: RMSNorm([3, 4], epsilon=0.1, **o),
        (2, 3, 4),
        ("RMSNorm", ((3, 4), 0.1)),
    ),
    "GroupNorm": (lambda **o: GroupNorm(2, 6, **o), (3, 6, 4), ("GroupNorm", (2, 6))),
    "GroupNorm 1": (
        lambda **o: GroupNorm(1, 4, epsilon=0.1, **o),
        (3, 4),
        ("GroupNorm", (1, 4, 0.1)),
    ),
    "GroupNorm 4": (lambda **o: GroupNorm(4, 4, **o), (2, 4, 3, 2), ("GroupNorm", (4, 4))),
    "BatchNorm1D": (lambda **o: BatchNorm1D(4, **o), (6, 4), ("BatchNorm1d", (4,))),
    "BatchNorm1D of sequences": (
        lambda **o: BatchNorm1D(3, epsilon=0.1, momentum=0.5, **o),
        (2, 3, 5),
        ("BatchNorm1d", (3, 0.1, 0.5)),
    ),
    "BatchNorm1D, mean": (
        lambda **o: BatchNorm1D(3, momentum=None, **o),
        (4, 3),
        ("BatchNorm1d", (3, 1e-5, None)),
    ),
    "BatchNorm2D": (lambda **o: BatchNorm2D(3, **o), (2, 3, 4, 5), ("BatchNorm2d", (3,))),
}
BATCH = [name for name in CASES if name.startswith("Batch")]
each_case = pytest.mark.parametrize("name", CASES)
each_batch_norm = pytest.mark.parametrize("name", BATCH)


def build(name, rng=None, **options):
    """Return the layer and its usual input shape; with `rng` its parameters are random."""
    make, shape, _ = CASES[name]
    layer = make(**options)
    for parameter in layer.parameters if rng is not None else ():
        drawn = rng.uniform(0.5, 2, parameter.shape).astype(parameter.dtype)
        parameter.data = Tensor(drawn, device=parameter.device)
    return layer, shape


def standard(x, axes, epsilon, center=True):
    x = x.astype(np.float64)
    centered = x - x.mean(axes, keepdims=True) if center else x
    return centered / np.sqrt((centered**2).mean(axes, keepdims=True) + epsilon)


@pytest.mark.parametrize("axes", [(-1,), (0,), (0, 2), (1, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("center", [True, False])
class TestStandardize:
    def test_values(self, axes, center, device, rng):
        x = rng.standard_normal((3, 4, 5)) + 2
        for array in (x, x.T.copy().T, np.repeat(x, 2, 1)[:, ::2], x[::-1]):
            array.flags.writeable = False
            moments = []
            out = standardize(Tensor(array, device=device), axes, 0.1, center, moments)
            assert_close(out, standard(array, axes, 0.1, center), rtol=1e-13, atol=1e-14)
            mean, variance = moments
            if center:
                assert_close(mean, array.mean(axes, keepdims=True), rtol=1e-13)
                assert_close(variance, array.var(axes, keepdims=True), rtol=1e-13)

    def test_gradients(self, axes, center, rng):
        x = rng.standard_normal((3, 2, 4)) + 0.5
        gradcheck(lambda t: standardize(t, axes, 0.1, center), [x], order=2)

    def test_gradients_of_third_order(self, axes, center, rng):
        x = rng.standard_normal((2, 2, 3)) + 0.5
        gradcheck(lambda t: standardize(t, axes, 0.5, center) ** 2, [x], order=3)

    def test_its_backward_as_an_operation(self, axes, center, rng):
        g, normal = rng.standard_normal((2, 3, 2, 4))
        inverse = rng.uniform(0.5, 2, np.mean(normal, axes, keepdims=True).shape)
        gradcheck(lambda *t: standardize_gradient(*t, axes, center), [g, normal, inverse], order=2)


def test_gradients_of_scale_and_shift(rng):
    for shapes in (((3, 4), (4,), (4,)), ((2, 3, 4), (3, 1), (3, 1)), ((0, 2), (2,), (2,))):
        gradcheck(scale_and_shift, [rng.standard_normal(shape) for shape in shapes], order=2)


@pytest.mark.parametrize("shape", [(5, 3), (3, 2, 4), (2, 3, 2, 2)], ids=str)
class TestBatchNorm:
    def test_values_and_moments(self, shape, device, rng):
        x, axes = rng.standard_normal(shape) + 2, (0, *range(2, len(shape)))
        weights, bias = rng.standard_normal((2, shape[1]))
        column = (-1, *[1] * (len(shape) - 2))
        expected = standard(x, axes, 0.1) * weights.reshape(column) + bias.reshape(column)
        for array in (x, np.asfortranarray(x), np.repeat(x, 2, 0)[::2], x[::-1][::-1]):
            array.flags.writeable = False
            moments = []
            inputs = (Tensor(a, device=device) for a in (array, weights, bias))
            out = batch_norm(*inputs, 0.1, moments)
            assert_close(out, expected, rtol=1e-12, atol=1e-13)
            for moment, truth in zip(moments, (x.mean(axes), x.var(axes)), strict=True):
                assert_close(moment, truth, rtol=1e-12)

    @pytest.mark.parametrize("order", [2, 3])
    def test_gradients(self, shape, order, rng):
        inputs = [rng.standard_normal(shape) + 0.5, *rng.standard_normal((2, shape[1]))]
        gradcheck(lambda *t: batch_norm(*t, 0.5) ** 2, inputs, order=order)

    def test_dtypes_are_promoted(self, shape, device, rng):
        x = Tensor(rng.standard_normal(shape), dtype="float32", device=device, requires_grad=True)
        vectors = [
            Tensor(rng.standard_normal(shape[1]), dtype=dtype, device=device, requires_grad=True)
            for dtype in ("float16", "float64")
        ]
        out = batch_norm(x, *vectors, 0.1)
        out.sum().backward()
        assert out.dtype == np.float64
        dtypes = [str(t.grad.dtype) for t in (x, *vectors)]
        assert dtypes == ["float32", "float16", "float64"]


def test_batch_norm_of_wrong_shapes():
    for shape, weights, bias, reason in (
        (
            (4, 3),
            (4,),
            (3,),
            r"weights: expected one for each of the 3 channels of x.*\(4,\)",
        ),
        ((4, 3, 2), (3, 1), (3,), r"weights: .* got the shape \(3, 1\)"),
        ((4, 3), (3,), (1,), r"bias: expected one for each of the 3 channels of x, got .*\(1,\)"),
        ((4,), (4,), (4,), r"x: expected \(batch, channels, ...\), got the shape \(4,\)"),
    ):
        with pytest.raises(ValueError, match=reason):
            batch_norm(ones(*shape), ones(*weights), ones(*bias), 0.1)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("center", [0, 1e4])
def test_batch_norm_of_large_images(affine, center, device, rng):
    """They are left to compiled kernels; multiples of 2**-8 are what float32 holds at 10,000."""
    x = center + rng.integers(-256, 257, (6, 3, 20, 40)) / 256
    g, results = rng.standard_normal(x.shape), []
    for dtype in ("float32", "float64"):
        layer = BatchNorm2D(3, affine=affine, dtype=dtype, device=device)
        t = Tensor(x, dtype=dtype, device=device, requires_grad=True)
        out = layer(t)
        out.backward(Tensor(g, dtype=dtype, device=device))
        grads = [p.grad for p in layer.parameters]
        results.append([out, t.grad, *grads, layer.running_mean, layer.running_var])
    atol = 2e-2 if center else 1e-5  # the mean itself is rounded
    for result, expected in zip(*results, strict=True):
        scale = max(1, abs(expected.numpy()).max())
        np.testing.assert_allclose(result.numpy(), expected.numpy(), rtol=0, atol=atol * scale)


@each_case
@pytest.mark.parametrize("training", [True, False])
def test_gradients(name, training, rng, device):
    layer, shape = build(name, rng, dtype="float64", device=device)
    x = Tensor(rng.standard_normal(shape) * 2 + 1, device=device)
    layer(x)
    layer.train(training)
    leaves = layer.parameters
    values = [Tensor(p.data) for p in leaves]

    def function(x, *parameters):
        layer.weights = parameters[0]
        if len(parameters) > 1:
            layer.bias = parameters[1]
        return layer(x)

    gradcheck(function, [x, *values], order=2)


@each_case
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_torch(name, affine, dtype, device, rng):
    torch = pytest.importorskip("torch")
    layer, shape = build(name, rng, dtype=dtype, device=device, affine=affine)
    kind, arguments = CASES[name][2]
    switch = "elementwise_affine" if kind in ("LayerNorm", "RMSNorm") else "affine"
    theirs = getattr(torch.nn, kind)(*arguments, **{switch: affine}, dtype=getattr(torch, dtype))
    for mine, other in ((layer.weights, "weight"), (layer.bias, "bias")):
        if mine is not None:
            with torch.no_grad():
                getattr(theirs, other).copy_(torch.tensor(mine.numpy()))
    rtol, atol = (1e-9, 1e-12) if dtype == "float64" else (1e-4, 1e-5)
    for step in range(3):
        if step == 2:
            layer.eval()
            theirs.eval()
        data = (3 * rng.standard_normal(shape) + 1).astype(dtype)
        x = Tensor(data, device=device, requires_grad=True)
        y = torch.tensor(data, requires_grad=True)
        out, expected = layer(x), theirs(y)
        assert out.dtype == dtype
        np.testing.assert_allclose(out.numpy(), expected.detach().numpy(), rtol=rtol, atol=atol)
        g = rng.standard_normal(shape).astype(dtype)
        out.backward(Tensor(g, device=device))
        expected.backward(torch.tensor(g))
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=rtol, atol=atol)
    for mine, other in ((layer.weights, "weight"), (layer.bias, "bias")):
        if mine is not None:  # the sum of three steps
            other = getattr(theirs, other)
            np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=rtol, atol=atol)
    for buffer in ("running_mean", "running_var", "num_batches_tracked"):
        if hasattr(layer, buffer):
            np.testing.assert_allclose(
                getattr(layer, buffer).numpy(), getattr(theirs, buffer).numpy(), rtol=rtol
            )


@each_case
@pytest.mark.parametrize("given", ["float16", "float32", "float64"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_converted_to_the_parameters(name, given, dtype, device, rng):
    layer, shape = build(name, dtype=dtype, device=device)
    x = Tensor(rng.standard_normal(shape).astype(given), device=device, requires_grad=True)
    for training in (True, False):
        out = layer.train(training)(x)
        out.sum().backward()
        assert (out.dtype, out.device, x.grad.dtype) == (dtype, device, given)
        assert {p.grad.dtype for p in layer.parameters} == {np.dtype(dtype)}


@pytest.mark.parametrize("name", [name for name in CASES if name not in BATCH])
def test_without_parameters_the_dtype_stays(name, device, rng):
    layer, shape = build(name, affine=False)
    assert (layer.parameters, layer.dtype, layer.device) == ([], None, None)
    for dtype in ("float16", "float32", "float64"):
        out = layer(Tensor(rng.standard_normal(shape), dtype=dtype, device=device))
        assert (out.dtype, out.device) == (dtype, device)
    with pytest.raises(TypeError, match="input is int64, expected floats"):
        layer(np.ones(shape, int))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (LayerNorm(4000, dtype="float16"), (2, 4000)),
        (RMSNorm(4000, dtype="float16"), (2, 4000)),
        (GroupNorm(2, 4, dtype="float16"), (2, 4, 1000)),
        (BatchNorm1D(2, dtype="float16"), (4000, 2)),
    ],
    ids=repr,
)
def test_half_precision_is_summed_in_float32(layer, shape, rng):
    # squares and sums beyond 65504, and ones too small for half precision
    for size in (200.0, 1e-2):
        x = (size * rng.standard_normal(shape)).astype("float16")
        layer.train()
        exact = type(layer)(
            *([2, 4] if isinstance(layer, GroupNorm) else [layer.parameters[0].shape[0]]),
            dtype="float64",
        )
        out = layer(x).numpy()
        assert_close(out, exact(x).numpy(), rtol=2e-3, atol=1e-3, check_dtype=False)


@each_case
def test_inputs_are_not_written_to_whatever_their_layout(name, device, rng):
    layer, shape = build(name, rng, dtype="float64", device=device)
    x = rng.standard_normal(shape)
    results = []
    for array in (x, np.asfortranarray(x), np.repeat(x, 2, -1)[..., ::2]):
        array.flags.writeable = False
        before = array.copy()
        t = Tensor(array, device=device, requires_grad=True)
        out = layer(t)
        (out**2).sum().backward()
        np.testing.assert_array_equal(array, before)
        results.append((out.numpy(), t.grad.numpy()))
    for out, gradient in results[1:]:
        np.testing.assert_allclose(out, results[0][0], rtol=1e-12)
        np.testing.assert_allclose(gradient, results[0][1], rtol=1e-9, atol=1e-13)


@each_case
@pytest.mark.parametrize("training", [True, False])
def test_no_samples(name, training, device):
    layer, shape = build(name, device=device)
    layer.train(training)
    if len(shape) == 1:
        shape = (1, *shape)
    x = ones(0, *shape[1:], device=device, requires_grad=True)
    before = layer.state_dict()
    out = layer(x)
    out.sum().backward()
    assert out.shape == x.grad.shape == x.shape
    for path, value in layer.state_dict().items():
        if path != "__metadata__":
            np.testing.assert_array_equal(value, before[path])


@each_case
def test_extremes(name, device):
    layer, shape = build(name, device=device)
    constant = Tensor(np.full(shape, 1e4, np.float32), device=device, requires_grad=True)
    out = layer(constant)
    out.sum().backward()
    assert np.isfinite(out.numpy()).all()
    assert np.isfinite(constant.grad.numpy()).all()
    data = np.ones(shape, np.float32)
    data.reshape(-1)[0] = np.nan
    assert np.isnan(layer.train()(Tensor(data, device=device)).numpy()).any()


def test_far_from_zero_the_variance_is_right():
    x = np.array([[1e4, 1e4 + 1, 1e4 + 2, 1e4 + 3]], np.float32)
    assert_close(LayerNorm(4)(x), standard(x, (-1,), 1e-5).astype(np.float32), rtol=1e-6)


# Batch normalization


@each_batch_norm
def test_running_statistics_are_state(name, device, rng):
    layer, shape = build(name, device=device)
    keys = ["weights", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert [*layer.state_dict()] == [*keys, "__metadata__"]
    assert [path for path, _ in layer.named_parameters()] == keys[:2]
    layer(Tensor(rng.standard_normal(shape), device=device))
    other, _ = build(name)
    other.load_state_dict(layer.state_dict())
    x = rng.standard_normal(shape).astype(np.float32)
    expected = layer.eval()(Tensor(x, device=device)).numpy()
    np.testing.assert_allclose(other.eval()(x).numpy(), expected, rtol=1e-6, atol=1e-6)
    layer.to(dtype="float64")
    assert layer.running_mean.dtype == np.float64
    assert layer.num_batches_tracked.dtype == np.int64


@each_batch_norm
def test_only_training_updates_the_running_statistics(name, rng):
    layer, shape = build(name)
    x = rng.standard_normal(shape)
    layer.eval()(x)
    assert layer.num_batches_tracked.item() == 0
    assert not layer.running_mean.numpy().any()
    with layer.no_grad():
        layer.train()(x)
    assert layer.num_batches_tracked.item() == 1
    assert layer.running_mean.numpy().all()
    assert not layer.running_mean.requires_grad


def test_a_graph_survives_later_batches(rng):
    layer = BatchNorm1D(3, dtype="float64")
    x, y = (Tensor(rng.standard_normal((4, 3)), requires_grad=True) for _ in range(2))
    first, second = layer.eval()(x), layer.train()(y)
    layer(y)
    (first.sum() + (second**3).sum()).backward()
    assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (BatchNorm1D(3), (1, 3)),
        (BatchNorm1D(3), (1, 3, 1)),
        (BatchNorm2D(3), (1, 3, 1, 1)),
    ],
)
def test_a_single_value_cannot_be_trained_on(layer, shape):
    before = layer.state_dict()
    with pytest.raises(
        ValueError, match=r"BatchNorm.D\(3\): input of shape .* has 1 value"
    ) as info:
        layer(ones(shape))
    assert str(shape) in str(info.value)
    assert layer.num_batches_tracked.item() == before["num_batches_tracked"]
    layer.eval()(ones(shape))


# Checks

SHAPE_ERRORS = [
    (LayerNorm(4), (2, 5), "LayerNorm(4): input of shape (2, 5) does not end in (4,)"),
    (LayerNorm((3, 4)), (4,), "LayerNorm(3×4): input of shape (4,) does not end in (3, 4)"),
    (LayerNorm(4), (), "LayerNorm(4): input of shape () does not end in (4,)"),
    (RMSNorm(4), (4, 1), "RMSNorm(4): input of shape (4, 1) does not end in (4,)"),
    (GroupNorm(2, 4), (4,), "input of shape (4,) has 1 dimensions, expected at least 2"),
    (GroupNorm(2, 4), (1, 6, 4), "GroupNorm(4 in 2 groups): input has 6 channels, expected 4"),
    (BatchNorm1D(3), (5, 4), "input has 4 channels, expected 3 (its shape is (5, 4))"),
    (BatchNorm1D(3), (5, 3, 1, 1), "has 4 dimensions, expected 2 or 3"),
    (BatchNorm2D(3), (5, 3), "BatchNorm2D(3): input of shape (5, 3) has 2 dimensions, expected 4"),
]


@pytest.mark.parametrize(("layer", "shape", "reason"), SHAPE_ERRORS, ids=lambda v: str(v)[:30])
def test_wrong_shapes(layer, shape, reason):
    with pytest.raises(ValueError, match="input") as info:
        Sequential(layer)(ones(shape))
    assert str(info.value).startswith(f"Sequential[0] {layer!r}: ")
    assert reason in str(info.value)


@each_case
def test_integers_are_refused(name):
    layer, shape = build(name)
    with pytest.raises(TypeError, match="input is int64, expected floats"):
        layer(np.ones(shape, int))


@pytest.mark.parametrize(
    ("make", "error", "reason"),
    [
        (lambda: LayerNorm(0), ValueError, "normalized_shape: .* got 0"),
        (lambda: LayerNorm(2.5), TypeError, "normalized_shape: .* got 2.5"),
        (lambda: LayerNorm(()), ValueError, r"normalized_shape: .* got \(\)"),
        (lambda: LayerNorm((3, -1)), ValueError, r"normalized_shape: .* got \(3, -1\)"),
        (
            lambda: LayerNorm(3, epsilon=-1),
            ValueError,
            "epsilon: expected a finite number >= 0, got -1",
        ),
        (
            lambda: LayerNorm(3, epsilon="x"),
            TypeError,
            "epsilon: expected a finite number >= 0, got 'x'",
        ),
        (lambda: LayerNorm(3, epsilon=np.nan), ValueError, "epsilon: .* finite .* got nan"),
        (lambda: LayerNorm(3, dtype="int32"), TypeError, "dtype: .* got int32"),
        (lambda: LayerNorm(3, device="tpu"), ValueError, "device: .* got 'tpu'"),
        (lambda: RMSNorm("3"), TypeError, "normalized_shape: .* got '3'"),
        (lambda: RMSNorm(3, epsilon=-0.5), ValueError, "epsilon: .* got -0.5"),
        (lambda: GroupNorm(0, 4), ValueError, "num_groups: .* got 0"),
        (lambda: GroupNorm(2, 0), ValueError, "num_channels: .* got 0"),
        (lambda: GroupNorm(3, 4), ValueError, "num_groups: 3 does not divide num_channels, .* 4"),
        (lambda: BatchNorm1D(-2), ValueError, "num_features: .* got -2"),
        (lambda: BatchNorm2D(True), TypeError, "num_features: .* got True"),
        (lambda: BatchNorm1D(2, momentum=1.5), ValueError, "momentum: .* got 1.5"),
        (lambda: BatchNorm1D(2, momentum="a"), TypeError, "momentum: .* got 'a'"),
    ],
)
def test_wrong_settings(make, error, reason):
    with pytest.raises(error, match=reason):
        make()


def test_repr():
    layers = [
        LayerNorm((3, 4)),
        LayerNorm(3, bias=False),
        LayerNorm(3, affine=False),
        RMSNorm(3, name="last"),
        GroupNorm(2, 4),
        BatchNorm1D(3, affine=False),
        BatchNorm2D(3),
    ]
    assert list(map(repr, layers)) == [
        "LayerNorm(3×4)",
        "LayerNorm(3, bias=False)",
        "LayerNorm(3, affine=False)",
        "RMSNorm(3, name='last')",
        "GroupNorm(4 in 2 groups)",
        "BatchNorm1D(3, affine=False)",
        "BatchNorm2D(3)",
    ]


def test_without_a_bias(device):
    layer = LayerNorm(3, bias=False, device=device)
    assert [path for path, _ in layer.named_parameters()] == ["weights"]
    assert layer.bias is None
    assert layer(ones(2, 3, device=device)).shape == (2, 3)


@pytest.mark.cuda
@each_case
def test_mixed_devices_are_refused(name):
    layer, shape = build(name, device="cuda")
    with pytest.raises(ValueError, match="cpu and cuda"):
        layer(ones(shape))


@pytest.mark.parametrize("places", [1000, 1 << 20, (1 << 20) + 1000])
def test_means_of_large_images_by_the_reference(places):
    x = np.full((2, 1, places, 1), 0.1, np.float32)
    moments = []
    with use_kernels("reference"):
        batch_norm(Tensor(x), ones(1), ones(1), 1e-5, moments)
    np.testing.assert_allclose(moments[0], x[0, 0, 0], 2e-6)


def test_no_warnings_about_extremes():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LayerNorm(3)(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("shape", "weights", "bias", "reason"),
    [
        ((4, 6), (3,), (3,), r"weights: expected the shape of the last axes of x, \(4, 6\), got"),
        ((4, 6), (1,), (1,), r"weights: .*, got \(1,\)"),
        ((2, 3, 4), (4, 3), (4, 3), r"weights: .*, got \(4, 3\)"),
        ((2, 3, 4), (2, 6), (2, 6), r"weights: .*, got \(2, 6\)"),
        ((6,), (1, 6), (1, 6), r"weights: .*, got \(1, 6\)"),
        (
            (4, 6),
            (6,),
            (1,),
            r"bias: expected the shape of the weights, \(6,\), or 0\.0, got \(1,\)",
        ),
        ((2, 3, 4), (3, 4), (4, 3), r"bias: .*, got \(4, 3\)"),
        ((2, 3, 4), (3, 4), (12,), r"bias: .*, got \(12,\)"),
        ((4, 6), (6,), 1.0, r"bias: .*, got 1\.0"),
    ],
)
def test_weights_and_bias_of_wrong_shapes(shape, weights, bias, reason):
    """Those of as many elements would be taken in the wrong order."""
    bias = bias if isinstance(bias, float) else ones(*bias)
    with pytest.raises(ValueError, match=reason):
        standardize_and_scale(ones(*shape), ones(*weights), bias, 1e-5)


def test_a_bias_that_is_another_number_than_zero():
    with pytest.raises(ValueError, match=r"bias: expected an array or 0\.0, got 1\.5"):
        scale_and_shift(ones(4, 6), ones(6), 1.5)


@pytest.mark.parametrize("length", [3, 50, 600])
@pytest.mark.parametrize("bias", ["float32", "float64", None])
@pytest.mark.parametrize("center", [True, False])
def test_layer_norm_of_large_matrices_by_the_reference(center, bias, length, rng, monkeypatch):
    x, g = rng.normal(size=(2, 17, length)).astype("float32")
    weights, shift = rng.normal(size=(2, length)).astype("float32")
    shift = None if bias is None else shift.astype(bias)
    forward = layer_norm.standardize_and_scale_forward.reference
    backward = layer_norm.standardize_and_scale_backward.reference
    results = []
    for near in (1 << 19, 0):  # the matrix as a whole, and in blocks of some rows
        monkeypatch.setattr(layer_norm, "_NEAR", near)
        monkeypatch.setattr(layer_norm, "_BLOCK", near or 20)
        out, normal, inverse = forward(np, x, weights, shift, 1e-5, center)
        gradients = backward(np, g, normal, inverse, weights, center)
        results.append([out, normal, inverse, *gradients])
    assert np.getbufsize() == 8192
    assert len(layer_norm._blocks(np, x, weights)) == {3: 2, 50: 17, 600: 17}[length]
    for number, (whole, blocks) in enumerate(zip(*results, strict=True)):
        assert whole.dtype == blocks.dtype
        if number < 3:  # the gradients have sums in another order
            np.testing.assert_array_equal(whole, blocks)
        else:
            assert_close(blocks, whole)
