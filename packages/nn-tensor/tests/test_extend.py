"""Operations that a library declares for itself."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor, grad
from nn_tensor.extend import empty_aligned, op, small_buffers
from nn_tensor.testing import gradcheck, ops_of


def leaf(*values: float) -> Tensor:
    return Tensor(list(values), requires_grad=True)


def test_options_by_name_only() -> None:
    @op
    def scaled(xp: Any, x: Any, /, power: int = 1, *, factor: float) -> Any:
        return x**power * factor

    @scaled.gradient("x")
    def _(g: Any, x: Any, power: int, factor: float) -> Any:
        return g * (factor * power * x ** (power - 1))

    assert scaled(Tensor([2.0]), factor=3.0).tolist() == [6]
    gradcheck(lambda x: scaled(x, 3, factor=2.0), [np.array([0.5, 2.0])], order=2)
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'factor'"):
        scaled(Tensor([2.0]))


def test_option_called_position() -> None:
    @op
    def moved(xp: Any, x: Any, /, position: float = 0.0) -> Any:
        return x * position

    @moved.gradient("x")
    def _(g: Any, position: float) -> Any:
        return g * position

    x = leaf(1, 2)
    moved(x, 3.0).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_rule_that_returns_a_tensor_for_arrays() -> None:
    @op
    def tripled(xp: Any, x: Any, /) -> Any:
        return x * 3

    @tripled.gradient("x")
    def _(g: Any) -> Any:
        return Tensor(3.0) * g

    x = leaf(1, 2)
    tripled(x * 1).sum().backward()
    assert x.grad.tolist() == [3, 3]
    assert isinstance(x.grad.data, np.ndarray)
    assert grad(tripled(x).sum(), x, create_graph=True).tolist() == [3, 3]


def test_gradient_broadcast_along_one_axis_and_summed_along_another() -> None:
    @op
    def spread(xp: Any, x: Any, /) -> Any:
        return xp.sum(x, axis=0) * xp.ones(3)

    @spread.gradient("x")
    def _(g: Any) -> Any:
        return g[None]

    gradcheck(spread, [np.ones((2, 1))])


def test_forward_that_returns_a_number() -> None:
    @op
    def total(xp: Any, x: Any, /, scale: float = 1.0) -> Any:
        return float(x.sum()) * scale

    @total.gradient("x")
    def _(g: Any, scale: float) -> Any:
        return g * scale

    x = Tensor(np.ones(2), requires_grad=True)
    total(x, 2.0).backward()
    assert x.grad.tolist() == [2, 2]


def test_kept_values_must_be_a_tuple() -> None:
    @op(keeps=("double",))
    def squared(xp: Any, x: Any, /) -> Any:
        return x * x, 2 * x

    @squared.gradient("x")
    def _(g: Any, double: Any) -> Any:
        return g * double

    @squared.kept
    def _(x: Any) -> Any:
        return 2 * x

    x = leaf(1)
    with pytest.raises(TypeError, match=r"squared.*tuple of 1.*'double'"):
        grad(squared(x).sum(), x, create_graph=True)


def test_rules_of_one_function_have_names_of_their_own() -> None:
    operations = [ops_of("nn_tensor")[name] for name in ("_max", "_min")]  # they share a rule
    names = [operation.info.rules[0].function.__code__.co_name for operation in operations]
    assert names == [f"gradient of {name} with respect to x" for name in ("max", "min")]


def _declare_product() -> tuple[Any, list[str]]:
    calls: list[str] = []

    @op
    def product(xp: Any, x: Any, y: Any, z: Any, /) -> Any:
        return x * y * z

    @product.joint_gradient("x", "z")
    def _(g: Any, x: Any, y: Any, z: Any) -> Any:
        calls.append("x and z")
        shared = g * y
        return shared * z, shared * x

    @product.gradient("y")
    def _(g: Any, x: Any, z: Any) -> Any:
        return g * x * z

    return product, calls


def test_one_rule_for_several_inputs_runs_once(device: str) -> None:
    product, calls = _declare_product()
    x, y, z = (Tensor([v, v + 1], device, "float64", requires_grad=True) for v in (1.0, 2.0, 4.0))
    product(x, y, z).sum().backward()
    assert calls == ["x and z"]
    assert [t.grad.tolist() for t in (x, y, z)] == [[8, 15], [4, 10], [2, 6]]
    gradcheck(product, [x, y, z], order=2)


def test_one_rule_for_several_inputs_broadcasts_and_skips(device: str) -> None:
    product, calls = _declare_product()
    x = Tensor([[1.0], [2.0]], device, "float64", requires_grad=True)
    z = Tensor([3.0, 4.0, 5.0], device, "float64", requires_grad=True)
    gradcheck(lambda x, z: product(x, 2.0, z), [x, z], order=2)
    calls.clear()
    constant = z.detach()
    assert grad(product(x, 2.0, constant).sum(), x).tolist() == [[24], [24]]
    same = leaf(2, 3)
    product(same, 1.0, same).sum().backward()
    assert same.grad.tolist() == [4, 6]
    assert calls == ["x and z"] * 2


def test_one_rule_for_several_inputs_must_return_as_many() -> None:
    @op
    def total(xp: Any, x: Any, y: Any, /) -> Any:
        return x + y

    @total.joint_gradient("x", "y")
    def _(g: Any) -> Any:
        return g

    with pytest.raises(
        TypeError, match=r"total: the rule for 'x and y' must return a tuple of 2 .* got"
    ):
        total(leaf(1), leaf(2)).backward()
    with pytest.raises(ValueError, match=r"expected some of \['x', 'y'\], got \('z',\)"):
        total.joint_gradient("z")
    with pytest.raises(ValueError, match=r"got \('x', 'x'\)"):
        total.joint_gradient("x", "x")


def test_leaves_do_not_share_the_gradient_that_a_rule_gives_twice() -> None:
    @op
    def total(xp: Any, x: Any, y: Any, /) -> Any:
        return x + y

    @total.joint_gradient("x", "y")
    def _(g: Any) -> Any:
        slope = g * 2
        return slope, slope

    x, y = leaf(1, 2), leaf(3, 4)
    for times in (1, 2, 3):
        total(x, y).sum().backward()
        assert x.grad.tolist() == y.grad.tolist() == [2 * times] * 2
    x.zero_grad()
    y.zero_grad()
    total(x, y).sum().backward(create_graph=True)
    assert x.grad is not y.grad
    x.grad.data[0] = 9
    assert y.grad.tolist() == [2, 2]


def _declare_weighted_sum() -> tuple[Any, list[tuple[bool, ...]]]:
    asked: list[tuple[bool, ...]] = []

    @op
    def weighted_sum(xp: Any, *xs: Any, weights: tuple[float, ...]) -> Any:
        return sum(w * x for w, x in zip(weights, xs, strict=True))

    @weighted_sum.gradient("xs")
    def _(g: Any, weights: tuple[float, ...], wanted: tuple[bool, ...]) -> Any:
        asked.append(wanted)
        return tuple(g * w if needed else None for w, needed in zip(weights, wanted, strict=True))

    return weighted_sum, asked


def test_rule_of_any_number_of_inputs_is_told_which_gradients_are_wanted(device: str) -> None:
    weighted_sum, asked = _declare_weighted_sum()
    x, y, z = (Tensor([v, v + 1], device, "float64", requires_grad=True) for v in (1.0, 2.0, 4.0))
    weighted_sum(x, y.detach(), z, weights=(2.0, 3.0, 5.0)).sum().backward()
    assert asked == [(True, False, True)]
    assert x.grad.tolist() == [2, 2]
    assert not y.has_grad
    assert z.grad.tolist() == [5, 5]
    gradcheck(lambda x, y: weighted_sum(x, y, weights=(2.0, 3.0)), [x, y], order=2)


@pytest.mark.parametrize("create_graph", [False, True])
def test_rule_is_told_that_gradients_of_other_inputs_are_not_wanted(create_graph: bool) -> None:
    weighted_sum, asked = _declare_weighted_sum()
    x, y, z = leaf(1, 2), leaf(3, 4), leaf(5, 6)
    result = weighted_sum(x, y * 2, z, weights=(2.0, 3.0, 5.0)).sum()
    (slope,) = grad(result, [y], retain_graph=True, create_graph=create_graph)
    assert slope.tolist() == [6, 6]
    result.backward()
    assert asked == [(False, True, False), (True, True, True)]
    assert [t.grad.tolist() for t in (x, y, z)] == [[2, 2], [6, 6], [5, 5]]


def test_rule_of_any_number_of_inputs_must_return_a_tuple() -> None:
    @op
    def total(xp: Any, *xs: Any) -> Any:
        return sum(xs)

    @total.gradient("xs")
    def _(g: Any) -> Any:
        return g

    with pytest.raises(TypeError, match=r"total: the rule for 'xs' must return a tuple of 2"):
        total(leaf(1), leaf(2)).backward()


def test_only_a_joint_rule_may_ask_what_is_wanted() -> None:
    with pytest.raises(TypeError, match="'wanted', none of"):
        op(lambda xp, x, /: x).gradient("x")(lambda g, wanted: g)


def test_joint_rule_replaces_the_rules_of_its_inputs() -> None:
    @op
    def difference(xp: Any, x: Any, y: Any, /) -> Any:
        return x - y

    @difference.gradient("x")
    def _(g: Any) -> Any:
        raise AssertionError

    @difference.joint_gradient("x", "y")
    def _(g: Any) -> Any:
        return g, -g

    gradcheck(difference, [np.ones(2), np.ones(2)], order=2)


@pytest.mark.parametrize("call", ["general", "fast"])
def test_calls_with_and_without_the_fast_path_record_the_same(call: str) -> None:
    """Options make an operation take the general path; results and gradients are equal."""

    def forward(xp: Any, x: Any, y: Any, /) -> Any:
        return x * y

    def forward_with_option(xp: Any, x: Any, y: Any, /, scale: float = 1.0) -> Any:
        return x * y * scale

    product = op(forward if call == "fast" else forward_with_option)
    product.gradient("x")(lambda g, y: g * y)
    product.gradient("y")(lambda g, x: g * x)
    for x, y in [(leaf(2, 3), 4.0), (4.0, leaf(2, 3)), (leaf(2, 3), leaf(5, 7))]:
        out = product(x, y)
        out.sum().backward()
        for one, other in ((x, y), (y, x)):
            if isinstance(one, Tensor):
                expected = np.broadcast_to(np.asarray(getattr(other, "data", other)), (2,))
                assert one.grad.tolist() == expected.tolist()


def test_methods_name_the_operation_and_not_a_class() -> None:
    with pytest.raises(TypeError, match=r"^sum\(x: float32 \(2,\)\S* .*'dim'"):
        leaf(1, 2).sum(dim=0)


@pytest.mark.parametrize("shape", [(), (0,), (3, 5)])
@pytest.mark.parametrize(("offset", "unit"), [(0, 64), (16, 64), (1040, 4096)])
def test_aligned_arrays_begin_where_they_were_asked_to(
    shape: tuple[int, ...], offset: int, unit: int
) -> None:
    x = empty_aligned(shape, np.float64, offset, unit)
    assert x.shape == shape
    assert x.dtype == np.float64
    assert x.flags.c_contiguous
    assert not x.size or x.ctypes.data % unit == offset


def test_buffers_have_their_size_again_after_an_error() -> None:
    size = np.getbufsize()
    with contextlib.suppress(ZeroDivisionError), small_buffers():
        assert np.getbufsize() < size
        raise ZeroDivisionError
    assert np.getbufsize() == size
