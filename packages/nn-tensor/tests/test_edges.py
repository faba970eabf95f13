"""Values and derivatives at corners, of integers, and beyond the range of squares."""

from __future__ import annotations

import time
from typing import Any

import nn_tensor as nn
import numpy as np
import pytest
from nn_tensor import Tensor, grad, no_grad
from nn_tensor.testing import gradcheck


def leaf(values: Any, dtype: str = "float64") -> Tensor:
    return Tensor(values, dtype=dtype, requires_grad=True)


def test_logaddexp_has_its_second_derivative_at_equal_inputs() -> None:
    x, y = leaf(0.0), leaf(0.0)
    first = grad(nn.logaddexp(x, y), x, create_graph=True)
    assert first.item() == 0.5
    assert grad(first, x, retain_graph=True).item() == 0.25
    assert grad(first, y).item() == -0.25


@pytest.mark.parametrize("value", [0.3, 1, np.float64(0.3)])
def test_logaddexp_beside_a_number_keeps_double_precision(value: float) -> None:
    x = leaf([0.1, 0.7])
    expected = 1 / (1 + np.exp(value - x.numpy()))
    for y in (nn.logaddexp(x, value), nn.logaddexp(value, x)):
        np.testing.assert_allclose(grad(y.sum(), x).numpy(), expected, rtol=1e-15)


def test_logaddexp_of_equal_infinities() -> None:
    for infinity in (np.inf, -np.inf):
        x = leaf([infinity])
        assert grad(nn.logaddexp(x, infinity).sum(), x).tolist() == [0.5]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int8", "int64", "bool"])
def test_sigmoid_and_softplus_of_integers(dtype: str) -> None:
    values = np.array([0, 1], dtype)
    np.testing.assert_allclose(nn.sigmoid(Tensor(values)).numpy(), [0.5, 0.7310586], rtol=1e-3)
    np.testing.assert_allclose(
        nn.softplus(Tensor(values)).numpy(), [0.6931472, 1.3132617], rtol=1e-3
    )


@pytest.mark.parametrize("dtype", ["uint8", "int8", "bool", "int64"])
def test_average_of_integers(dtype: str) -> None:
    x, weights = np.array([100, 120, 3]).astype(dtype), np.array([2, 100, 1]).astype(dtype)
    expected = np.average(x, weights=weights, returned=True)
    for y, z in zip(nn.average(Tensor(x), None, weights, returned=True), expected, strict=True):
        assert y.dtype == "float64"
        np.testing.assert_allclose(y.numpy(), z, rtol=1e-15)


def test_logsumexp_of_nan_has_a_gradient_of_nan() -> None:
    x = leaf([np.nan, 0.0])
    assert np.isnan(grad(nn.logsumexp(x), x).numpy()).all()
    x = leaf([-np.inf, -np.inf])
    assert grad(nn.logsumexp(x), x).tolist() == [0, 0]


@pytest.mark.parametrize(
    "function",
    [
        nn.median,
        lambda x: nn.quantile(x, [0.2, 0.7]),
        lambda x: x ** Tensor([0.5, 1.5, 2.5]),
        nn.mean,
        nn.var,
        nn.softmax,
        nn.log_softmax,
    ],
    ids=["median", "quantile", "power", "mean", "var", "softmax", "log_softmax"],
)
def test_gradient_of_nan_is_nan_where_it_depends_on_values(function: Any) -> None:
    x = leaf([np.nan, 1.0, 3.0])
    y = function(x)
    assert np.isnan(y.numpy()).any()
    weights = np.random.default_rng(0).normal(size=y.shape)
    if function is nn.mean:
        assert np.isfinite(grad(y, x, weights).numpy()).all()  # it depends on no value
    else:
        assert np.isnan(grad(y, x, weights).numpy()).any()


def test_the_derivative_by_an_exponent_keeps_nan() -> None:
    exponent = leaf([2.0, 2.0, 2.0])
    y = Tensor([np.nan, -1.0, 2.0], dtype="float64") ** exponent
    np.testing.assert_allclose(grad(y.sum(), exponent).numpy(), [np.nan, 0, 4 * np.log(2)])


def test_quantiles_at_an_element_are_that_element() -> None:
    x = Tensor([-np.inf, 1.0, 2.0, np.inf, np.inf], dtype="float64")
    assert nn.quantile(x, [0, 0.25, 0.5, 0.75, 1, 0.9]).tolist() == [
        -np.inf, 1, 2, np.inf, np.inf, np.inf,
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_gradient_of_a_product_that_underflows_or_overflows() -> None:
    x = leaf([1e-200, 1e-200, 1e200])
    np.testing.assert_allclose(grad(nn.prod(x), x).numpy(), [1, 1, 0], rtol=1e-14)
    x = leaf([1e200, 1e200, 1e-300])
    np.testing.assert_allclose(grad(nn.prod(x), x).numpy()[:2], [1e-100, 1e-100], rtol=1e-14)
    x = leaf([np.inf, 2.0, 3.0])
    assert grad(nn.prod(x), x).tolist() == [6, np.inf, np.inf]


@pytest.mark.parametrize("function", [nn.prod, nn.cumprod], ids=["prod", "cumprod"])
@pytest.mark.parametrize("zeros", [0, 1, 2, 5])
def test_products_with_zeros_have_both_derivatives(function: Any, zeros: int) -> None:
    values = np.random.default_rng(0).normal(size=(2, 5))
    values[:, :zeros] = 0
    gradcheck(lambda x: function(x, axis=1), [values], order=2)


def test_gradient_of_products_with_a_zero_needs_linear_memory() -> None:
    x = Tensor(np.r_[0, np.ones(20_000, "float32")].astype("float32"), requires_grad=True)
    start = time.perf_counter()
    for function in (nn.prod, nn.cumprod):  # n x n floats would be 1.6 GB
        assert np.isfinite(grad(function(x).sum(), x).numpy()).all()
    assert time.perf_counter() - start < 20


def test_arctan2_near_the_origin_and_far_from_it() -> None:
    for scale in (1e-25, 1e25):
        y, x = leaf([scale], "float32"), leaf([scale], "float32")
        gradients = grad(nn.arctan2(y, x).sum(), [y, x])
        expected = 0.5 / scale
        np.testing.assert_allclose(gradients[0].numpy(), [expected], rtol=1e-6)
        np.testing.assert_allclose(gradients[1].numpy(), [-expected], rtol=1e-6)


@pytest.mark.parametrize("name", ["arcsinh", "arccosh"])
def test_derivatives_of_large_arguments_do_not_overflow(name: str) -> None:
    x = leaf([1e25], "float32")
    np.testing.assert_allclose(grad(getattr(nn, name)(x).sum(), x).numpy(), [1e-25], rtol=1e-6)


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "min", "var", "std"])
@pytest.mark.parametrize("axis", [0, -1])
def test_reductions_of_0_d_tensors_take_an_axis_as_numpy_does(name: str, axis: int) -> None:
    x = leaf(3.0)
    y = getattr(nn, name)(x, axis=axis)
    assert y.shape == ()
    assert y.item() == (0 if name in ("var", "std") else 3)
    assert grad(y, x).shape == ()


def test_foreign_arrays() -> None:
    class Foreign:
        dtype = "some.float32"
        shape = (2,)

        def __init__(self, hidden: bool) -> None:
            self.hidden = hidden

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            if self.hidden:
                raise RuntimeError("call .detach() first")
            return np.array([1.0, 2.0], "float32")

    x = Tensor([1.0, 1.0])
    assert (x + Foreign(hidden=False)).tolist() == [2, 3]
    with pytest.raises(TypeError, match=r"add: y: Foreign .*detach"):
        x + Foreign(hidden=True)


def test_masked_arrays_are_refused() -> None:
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    for use in (
        lambda: Tensor(masked),
        lambda: nn.exp(masked),
        lambda: Tensor([1.0, 2.0]) + masked,
        lambda: Tensor([masked, masked]),
        lambda: nn.full((2,), masked),
        lambda: Tensor([1.0, 2.0]).__setitem__(slice(2), masked),
        lambda: Tensor([1.0, 2.0])[np.ma.array([0, 1], mask=[False, True])],
        lambda: setattr(Tensor([1.0, 2.0]), "data", masked),
        lambda: nn.clip(Tensor([1.0, 2.0]), masked, 3),
        lambda: nn.quantile(Tensor([1.0, 2.0]), masked / 2),
    ):
        with pytest.raises(TypeError, match="mask"):
            use()
    assert Tensor(np.ma.array([1.0, 2.0])).tolist() == [1, 2]


def test_a_tensor_of_recorded_tensors_is_refused() -> None:
    x, y = leaf(1.0), leaf(2.0)
    with pytest.raises(TypeError, match="stack"):
        Tensor([x, y])
    with no_grad():
        assert Tensor([x, y]).tolist() == [1, 2]
    assert Tensor([x.detach(), y.detach()]).tolist() == [1, 2]


def test_gradients_of_slices_add_up_in_one_buffer() -> None:
    values = np.random.default_rng(0).normal(size=(3, 5))
    weights = np.random.default_rng(1).normal(size=5)
    for shared in (False, True):
        x = leaf(values)
        y = x * 1 if shared else x
        total = y.sum() if shared else Tensor(0.0)
        for t in range(5):
            total = total + (y[:, t] * weights[t]).sum() + y[0, 1:4].sum()
        total.backward()
        expected = np.broadcast_to(weights, (3, 5)) + (1.0 if shared else 0.0)
        expected = expected + 5 * np.eye(3)[:, :1] * np.r_[0, 1, 1, 1, 0]
        np.testing.assert_allclose(x.grad.numpy(), expected)
    gradcheck(lambda x: sum((x[:, t] ** 2 for t in range(5)), x[0, 0]), [values], order=2)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64"])
def test_erf_of_integers_is_accurate_to_double_precision(dtype: str, device: str) -> None:
    y = nn.erf(Tensor(np.ones(2, dtype), device))
    assert y.dtype == "float64"
    np.testing.assert_allclose(y.numpy(), 0.8427007929497149, rtol=1e-15)


def test_gradient_of_arctan2_at_the_origin() -> None:
    y, x = leaf([0.0]), leaf([0.0])
    assert [g.tolist() for g in grad(nn.arctan2(y, x).sum(), [y, x])] == [[0], [0]]


@pytest.mark.parametrize("function", [nn.std, nn.norm], ids=["std", "norm"])
def test_both_derivatives_of_a_root_are_zero_at_its_corner(function: Any) -> None:
    x = leaf([0.0, 0.0])
    first = grad(function(x), x, create_graph=True)
    assert first.tolist() == [0, 0]
    assert grad((first * Tensor([1.0, 3.0])).sum(), x).tolist() == [0, 0]
    assert np.isnan(function(leaf([np.nan, 1.0])).item())


MASKED: dict[str, Any] = {
    "relu": nn.relu,
    "maximum": lambda x: nn.maximum(x, 0.25),
    "minimum": lambda x: nn.minimum(0.25, x),
    "clip": lambda x: nn.clip(x, -1, 0.25),
    "clip from below": lambda x: nn.clip(x, 0.25),
    "clip from above": lambda x: nn.clip(x, None, 0.25),
    "max": lambda x: nn.max(x, axis=0),
    "min": lambda x: nn.min(x),
    "power": lambda x: x**0,
    "sort": lambda x: nn.sort(x)[-1:],
    "tril": lambda x: nn.tril(x.reshape(2, 2)),
    "where": lambda x: nn.where(x > 0, x, 1.0),
    "set_item": lambda x: nn.set_item(nn.zeros(3, dtype=x.dtype), x, [0, 1, 1, 2]),
}


@pytest.mark.parametrize("upstream", [np.inf, np.nan])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("name", MASKED)
def test_what_had_no_effect_gets_no_gradient_whatever_comes(
    name: str, dtype: str, upstream: float
) -> None:
    x = leaf([-2.0, -0.5, 0.5, 3.0], dtype)
    y = MASKED[name](x)
    finite = grad(y, x, np.ones(y.shape), retain_graph=True).numpy()
    for create_graph in (False, True):
        g = grad(y, x, np.full(y.shape, upstream), retain_graph=True, create_graph=create_graph)
        assert g.dtype == dtype
        np.testing.assert_array_equal(g.numpy()[finite == 0], 0)
        assert not np.isfinite(g.numpy()[finite != 0]).any()


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_nan_is_the_extremum(name: str) -> None:
    x = leaf([np.nan, 1.0])
    y = getattr(nn, name)(x, 0.0)
    assert grad(y.sum(), x)[0].item() == 1
