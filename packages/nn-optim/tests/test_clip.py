"""Clipping of gradients: PyTorch's numbers, and what it leaves alone."""

import numpy as np
import pytest
from nn_optim import clip_gradients_by_norm, clip_gradients_by_value
from nn_tensor import Tensor, use_kernels, zeros


def parameters(*gradients, device="cpu", dtype="float32"):
    found = []
    for gradient in gradients:
        x = zeros(*np.shape(gradient), device=device, dtype=dtype, requires_grad=True)
        if gradient is not None:
            x.grad = Tensor(np.array(gradient), device=device, dtype=dtype)
        found.append(x)
    return found


def gradients(tensors):
    return [x.grad.numpy() for x in tensors]


SEVERAL = [np.linspace(-3.0, 4.0, 12).reshape(3, 4), np.array([0.5, -0.25]), np.array(2.0)]


@pytest.mark.parametrize("limit", [0.0, 0.5, 3.0, 100.0])
@pytest.mark.parametrize("max_norm", [0.0, 0.1, 7.0, 1e3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_torch(limit, max_norm, dtype):
    torch = pytest.importorskip("torch")
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    theirs = [torch.zeros(g.shape, dtype=getattr(torch, dtype)) for g in SEVERAL]
    for clip in ("value", "norm"):
        ours = parameters(*SEVERAL, dtype=dtype)
        for x, g in zip(theirs, SEVERAL, strict=True):
            x.grad = torch.tensor(g, dtype=x.dtype)
        if clip == "value":
            clip_gradients_by_value(ours, limit)
            torch.nn.utils.clip_grad_value_(theirs, limit)
        else:
            norm = clip_gradients_by_norm(ours, max_norm)
            expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm).item()
            assert norm == pytest.approx(expected, rel=tolerance)
        for x, y in zip(ours, theirs, strict=True):
            assert x.grad.dtype == dtype
            np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=tolerance)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_norms_that_are_not_finite(bad, device):
    ours = parameters([1.0, 2.0], [3.0, bad], device=device)
    message = r"norm of their gradients is (inf|nan), expected .* it is in parameters\[1\]"
    with pytest.raises(FloatingPointError, match=message):
        clip_gradients_by_norm(ours, 1.0)
    np.testing.assert_array_equal(gradients(ours)[1], [3.0, bad])

    norm = clip_gradients_by_norm(ours, 1.0, error_if_nonfinite=False)
    assert not np.isfinite(norm)
    scaled = 0.0 if np.isinf(bad) else np.nan
    np.testing.assert_array_equal(gradients(ours), [[scaled] * 2, [scaled, np.nan]])


def test_values_that_are_not_finite(device):
    ours = parameters([np.inf, -np.inf, np.nan], device=device)
    clip_gradients_by_value(ours, 2.0)
    np.testing.assert_array_equal(gradients(ours)[0], [2.0, -2.0, np.nan])


def test_large_gradients_have_a_finite_norm(device):
    ours = parameters([3e30, -4e30], device=device)
    assert clip_gradients_by_norm(ours, 1.0) == pytest.approx(5e30, rel=1e-6)
    np.testing.assert_allclose(gradients(ours)[0], [0.6, -0.8], rtol=1e-6)


def test_half_precision(device):
    ours = parameters([300.0, 400.0], device=device, dtype="float16")
    assert clip_gradients_by_norm(ours, 5.0) == 500.0
    assert ours[0].grad.dtype == np.float16
    np.testing.assert_allclose(gradients(ours)[0], [3.0, 4.0], rtol=1e-3)


def test_gradients_are_replaced_and_not_written_into(device):
    shared = np.array([3.0, 4.0], np.float32)
    x, y = parameters(None, None)
    x, y = (zeros(2, requires_grad=True) for _ in range(2))
    x.grad = y.grad = Tensor(shared)
    assert clip_gradients_by_norm([x, y, x], 1.0) == pytest.approx(np.sqrt(50))
    np.testing.assert_array_equal(shared, [3.0, 4.0])
    x.grad = Tensor(shared)
    clip_gradients_by_value(x, 1.0)
    np.testing.assert_array_equal(shared, [3.0, 4.0])
    np.testing.assert_array_equal(x.grad.numpy(), [1.0, 1.0])


def test_parameters_without_gradient_stay_without(device):
    x = zeros(2, device=device, requires_grad=True)
    clip_gradients_by_value([x], 1.0)
    assert clip_gradients_by_norm([x], 1.0) == 0.0
    assert clip_gradients_by_norm([], 1.0) == 0.0
    assert not x.has_grad


def test_within_the_norm_nothing_changes(device):
    (x,) = parameters([3.0, 4.0], device=device)
    array = x.grad.data
    assert clip_gradients_by_norm(iter([x]), 5.1) == 5.0
    assert x.grad.data is array


def test_an_infinite_norm_returns_the_norm_alone(device):
    (x,) = parameters([3.0, 4.0], device=device)
    array = x.grad.data
    assert clip_gradients_by_norm([x], np.inf) == 5.0
    assert x.grad.data is array
    x.grad = Tensor([np.inf, 1.0], device=device)
    with pytest.raises(FloatingPointError, match="norm of their gradients is inf"):
        clip_gradients_by_norm([x], np.inf)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize("clip", [clip_gradients_by_value, clip_gradients_by_norm])
def test_wrong_bounds(clip, value):
    if clip is clip_gradients_by_norm and value == np.inf:
        value = -np.inf
    name = "limit" if clip is clip_gradients_by_value else "max_norm"
    with pytest.raises(ValueError, match=rf"^{name}: expected .* got {value}"):
        clip(parameters([1.0]), value)
    with pytest.raises(TypeError, match=rf"^{name}: expected a (finite )?number >= 0, got '1'"):
        clip(parameters([1.0]), "1")


@pytest.mark.parametrize("clip", [clip_gradients_by_value, clip_gradients_by_norm])
def test_wrong_parameters(clip):
    with pytest.raises(TypeError, match=r"parameters\[0\]: expected a Tensor, got ndarray"):
        clip([np.ones(2)], 1.0)
    with pytest.raises(TypeError, match="parameters: expected several Tensors, got int"):
        clip(3, 1.0)
    with pytest.raises(TypeError, match="error_if_nonfinite: expected True or False, got 1"):
        clip_gradients_by_norm([], 1.0, error_if_nonfinite=1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_implementation_has_the_same_norm(dtype, device):
    gradient = np.random.default_rng(0).normal(size=(30, 50)).astype(dtype)
    norms = []
    for choice in ("auto", "reference"):
        with use_kernels(choice):
            x = parameters(gradient, device=device, dtype=dtype)
            norms.append(clip_gradients_by_norm(x, 9.0))
    expected = np.linalg.norm(gradient.astype("float64"))
    np.testing.assert_allclose(norms, expected, rtol=1e-13)
