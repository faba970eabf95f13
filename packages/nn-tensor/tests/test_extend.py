"""Operations that a library declares for itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor, grad, max, min
from nn_tensor.extend import op
from nn_tensor.testing import gradcheck


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
    names = [operation.info.rules[0].function.__code__.co_name for operation in (max, min)]
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
    with pytest.raises(ValueError, match=r"expected names among \['x', 'y'\], got \('z',\)"):
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
