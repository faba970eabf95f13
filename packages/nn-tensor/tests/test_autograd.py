"""How gradients are recorded, carried back and kept."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from nn_tensor import (
    Tensor,
    concatenate,
    detect_anomaly,
    einsum,
    enable_grad,
    exp,
    grad,
    is_grad_enabled,
    no_grad,
    sqrt,
    unbroadcast_grad,
)
from nn_tensor.extend import op
from nn_tensor.testing import assert_close, gradcheck


def leaf(*values: float, **options: Any) -> Tensor:
    return Tensor(list(values), requires_grad=True, **options)


class TestBackward:
    def test_scalar_needs_no_gradient(self, device: str) -> None:
        for shape in ((), (1,), (1, 1)):
            x = Tensor(np.full(shape, 3.0), device=device, requires_grad=True)
            (x * x).backward()
            assert x.grad.shape == shape
            assert x.grad.item() == 6.0
            assert x.grad.device == device

    def test_several_elements_need_one(self) -> None:
        y = leaf(1, 2) * 2
        with pytest.raises(ValueError, match=r"\(2,\).*needs a gradient"):
            y.backward()

    @pytest.mark.parametrize("gradient", [[1.0, 10.0], 2, np.float64(2), [3], Tensor([1.0, 0.0])])
    def test_gradient_broadcasts(self, gradient: Any) -> None:
        x = leaf(1, 2)
        (x * 2).backward(gradient)
        expected = np.broadcast_to(Tensor(gradient).numpy(), (2,)) * 2
        assert_close(x.grad, expected.astype(np.float32))

    def test_gradient_of_another_shape(self) -> None:
        with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
            (leaf(1, 2) * 2).backward([1, 2, 3])

    def test_without_history(self) -> None:
        with pytest.raises(RuntimeError, match="does not require a gradient"):
            Tensor([1.0]).backward()

    def test_twice_is_an_error_that_names_the_operation(self) -> None:
        x = leaf(1, 2)
        y = (x * x).sum()
        y.backward()
        with pytest.raises(RuntimeError, match=r"sum was freed.*retain_graph"):
            y.backward()
        assert x.grad.tolist() == [2, 4]

    def test_part_of_a_freed_graph(self) -> None:
        x = leaf(1, 2)
        shared = exp(x)
        shared.sum().backward()
        with pytest.raises(RuntimeError, match=r"exp was freed"):
            (shared * 2).sum().backward()

    def test_retained_graph_accumulates(self) -> None:
        x = leaf(1, 2)
        y = (x * x).sum()
        y.backward(retain_graph=True)
        y.backward()
        assert x.grad.tolist() == [4, 8]

    def test_gradient_reads_as_zeros_before_and_after(self) -> None:
        x = leaf(1, 2)
        assert x.grad.tolist() == [0, 0]
        assert not x.has_grad
        (x * x).sum().backward()
        assert x.has_grad
        x.zero_grad()
        assert x.grad.tolist() == [0, 0]
        assert Tensor([1.0]).grad is None
        assert (x * 2).grad is None

    def test_leaf_itself(self) -> None:
        x = leaf(3.0)
        x.backward()
        x.backward([5.0])
        assert x.grad.tolist() == [6]

    def test_shared_subexpressions(self) -> None:
        def chain(x: Any) -> Any:
            a = exp(x)
            b = a * x
            return a * b + b - a

        gradcheck(chain, [np.array([0.3, -0.7])], order=2)

    def test_leaf_used_many_times(self) -> None:
        x = leaf(2.0)
        total: Any = 0
        for _ in range(1000):
            total = total + x
        (total * x).backward()
        assert x.grad.tolist() == [4000]

    def test_same_input_twice(self) -> None:
        x = leaf(3.0)
        (x * x).backward()
        assert x.grad.tolist() == [6]
        gradcheck(lambda x: concatenate([x, x]) * einsum("i,i->", x, x), [np.array([1.0, 2])], 3)

    def test_only_what_requires_a_gradient_gets_one(self) -> None:
        x, c = leaf(1, 2), Tensor([3.0, 4.0])
        (x * c).sum().backward()
        assert c.grad is None
        assert not (c * 2).requires_grad
        assert (x * c).requires_grad

    def test_numbers_of_python_keep_their_precision(self) -> None:
        x = leaf(1.0, dtype="float64")
        (x * 1).backward(0.1)
        assert x.grad.item() == 0.1
        assert grad(x * 1, x, [0.1]).item() == 0.1
        x.grad = [0.2]
        assert x.grad.item() == 0.2
        x.register_hook(lambda g: [0.3])
        assert grad(x * 1, x).item() == 0.3

    def test_through_different_dtypes(self) -> None:
        x, y = leaf(1, 2), Tensor(np.array([3.0, 4.0]), requires_grad=True)
        z = x * y
        assert z.dtype == np.float64
        z.sum().backward()
        assert x.grad.dtype == np.float32
        assert y.grad.dtype == np.float64

    @pytest.mark.parametrize("index", [None, ..., (), (None, ...)])
    def test_indexed_gradient_is_added_to_a_sum_without_dimensions(
        self, index: Any, device: str
    ) -> None:
        x = Tensor(2.0, device, requires_grad=True)
        part = x[index]  # the first operation: its gradient comes last
        (part.sum() + x * 2 + x * 3).backward()
        assert x.grad.tolist() == 6

    def test_indexed_gradients_of_many_slices_add_up(self, device: str) -> None:
        values = np.arange(6.0).reshape(3, 2)
        x, seen = Tensor(values, device, requires_grad=True), []
        y = x * 1
        y.register_hook(lambda g: seen.append(g.tolist()))
        loss = sum((y[i] * (i + 1) for i in range(3)), y[0, 1]).sum() + (y * y).sum()
        expected = 2 * values + np.array([[1, 3], [2, 2], [3, 3]])
        for times in (1, 2):
            loss.backward(retain_graph=True)
            assert_close(x.grad, times * expected)
        assert seen == [expected.tolist()] * 2


class TestOwnership:
    """Nobody who writes into one gradient may change another, or an input."""

    @pytest.mark.parametrize(
        "function",
        [
            lambda x, y: x + y,
            lambda x, y: (x + y) - (x - y),
            lambda x, y: x.reshape(4) + y.reshape(4),
            lambda x, y: x.T + y.T,
            lambda x, y: concatenate([x, y]),
            lambda x, y: x.sum() + y.sum(),
            lambda x, y: x.sum(axis=0) + y.sum(axis=0),
            lambda x, y: x * 1 + y[...],
            lambda x, y: x.broadcast_to((3, 2, 2)) + y,
        ],
    )
    def test_gradients_are_owned(self, function: Any) -> None:
        a, b = np.ones((2, 2)), np.ones((2, 2))
        x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
        z = function(x, y)
        seed = np.ones(z.shape)
        z.backward(seed)
        expected = y.grad.numpy().copy()
        x.grad.data[...] = 7
        assert_close(y.grad, expected)
        assert (seed == 1).all()
        assert (a == 1).all()
        assert (b == 1).all()
        z = function(x, y)  # accumulates into what was written
        z.backward(seed)
        assert (seed == 1).all()
        assert_close(y.grad, 2 * expected)

    def test_results_of_grad_are_owned(self) -> None:
        x = Tensor(np.ones((2, 2)), requires_grad=True)
        a, b = x * 1, x * 2
        seed = np.ones((2, 2))
        first, second = grad(a + b, [a, b], seed)
        first.data[...] = 7
        assert (second.numpy() == 1).all()
        assert (seed == 1).all()
        (spread,) = grad(a.sum() * 1, [a], retain_graph=True)
        spread.data[...] = 7

    def test_saved_arrays_are_not_given_away(self) -> None:
        x, y = leaf(1, 2), leaf(3, 4)
        (x * y).backward(np.ones(2, np.float32))
        x.grad.data[...] = 9
        assert y.tolist() == [3, 4]

    def test_gradient_that_was_set_is_not_written(self) -> None:
        x, given = leaf(1, 2), np.ones(2, np.float32)
        x.grad = given
        x.sum().backward()
        assert x.grad.tolist() == [2, 2]
        assert given.tolist() == [1, 1]

    def test_gradient_from_a_hook_is_not_written(self) -> None:
        x, given = leaf(1, 2), Tensor([5.0, 5.0])
        x.register_hook(lambda g: given)
        x.sum().backward()
        x.sum().backward()
        assert x.grad.tolist() == [10, 10]
        assert given.tolist() == [5, 5]

    @pytest.mark.parametrize("create_graph", [False, True])
    def test_one_input_named_twice(self, create_graph: bool) -> None:
        x = leaf(1, 2)
        first, second = grad((x * x).sum(), [x, x], create_graph=create_graph)
        first.data[...] = 7
        assert second.tolist() == [2, 4]

    def test_differentiable_gradients_are_owned(self) -> None:
        x, y, seed = leaf(1, 2), leaf(3, 4), Tensor([1.0, 1.0])
        a, b = x * 1, y * 1
        of_results = grad(a + b, [a, b], seed, create_graph=True)
        of_leaves = grad(x + y, [x, y], seed, create_graph=True)
        (x + y).backward(seed, create_graph=True)
        y.backward(seed, create_graph=True)
        a.retain_grad()
        a.backward(seed, create_graph=True)
        gradients = [*of_results, *of_leaves, x.grad, y.grad, a.grad]
        for gradient in gradients:
            before = [other.tolist() for other in gradients if other is not gradient]
            gradient *= 3
            assert [other.tolist() for other in gradients if other is not gradient] == before
        assert seed.tolist() == [1, 1]

    def test_gradient_of_leaf_is_not_its_own_seed(self) -> None:
        x, seed = leaf(1, 2), np.ones(2, np.float32)
        x.backward(seed)
        x.grad.data[0] = 5
        assert seed.tolist() == [1, 1]


class TestGrad:
    def test_touches_no_gradient(self) -> None:
        x = leaf(2.0)
        assert grad(x**3, x).tolist() == [12]
        assert not x.has_grad

    def test_several_inputs_and_outputs(self) -> None:
        x, y = leaf(1, 2), leaf(3, 4)
        result = grad([(x * y).sum(), x.sum()], [x, y], [1.0, 10.0])
        assert isinstance(result, tuple)
        assert [g.tolist() for g in result] == [[13, 14], [1, 2]]

    def test_intermediate_result(self) -> None:
        x = leaf(1, 2)
        y = x * 3
        assert grad((y * y).sum(), y).tolist() == [6, 12]

    def test_of_itself(self) -> None:
        x = leaf(1, 2)
        assert grad(x, x, [1.0, 2.0]).tolist() == [1, 2]
        y = x * 2
        assert grad(y, y, [1.0, 2.0]).tolist() == [1, 2]

    def test_what_does_not_depend(self) -> None:
        x, y = leaf(1, 2), leaf(3)
        assert grad(x.sum(), y).tolist() == [0]

    def test_walks_no_further_than_asked(self) -> None:
        x = leaf(1, 2)
        y = exp(x)
        z = (y * 2).sum()
        grad(z, y)
        y.sum().backward()  # the part below was neither walked nor freed
        assert_close(x.grad, np.exp([1, 2]).astype(np.float32))

    def test_of_a_result_whose_own_graph_is_freed(self) -> None:
        x = leaf(1, 2)
        y = x * x
        z = (y * 3).sum()
        y.sum().backward()
        assert grad(z, y).tolist() == [3, 3]

    def test_without_outputs(self) -> None:
        with pytest.raises(ValueError, match="outputs"):
            grad([], leaf(1))

    def test_of_the_gradient(self) -> None:
        x = leaf(2.0)
        first = grad(x**4, x, create_graph=True)
        second = grad(first, x, create_graph=True)
        assert [first.item(), second.item(), grad(second, x).item()] == [32, 48, 48]

    def test_gradient_penalty(self) -> None:
        w, x = leaf(1, 2), leaf(3, 4)
        (slope,) = grad((w * x * x).sum(), [x], create_graph=True)
        (slope * slope).sum().backward()
        assert w.grad.tolist() == [8 * 9, 8 * 2 * 16]


class TestCreateGraph:
    def test_gradients_require_a_gradient(self) -> None:
        x = leaf(2.0)
        (x**3).backward(create_graph=True)
        assert x.grad.requires_grad
        g = x.grad
        x.zero_grad()
        g.backward()
        assert x.grad.tolist() == [12]

    def test_accumulated_on_top(self) -> None:
        x = leaf(2.0)
        (x**3).backward()
        (x**3).backward(create_graph=True)
        assert x.grad.tolist() == [24]

    def test_inside_no_grad(self) -> None:
        x = leaf(2.0)
        y = x**3
        with no_grad():
            first = grad(y, x, create_graph=True)
        assert first.requires_grad

    def test_inside_no_grad_hooks_and_sums_are_recorded(self) -> None:
        x, w = leaf(2.0), leaf(3.0)
        x.register_hook(lambda g: g * w)
        y, z = x**3, x**2
        with no_grad():
            y.backward(create_graph=True)
            z.backward(create_graph=True)
        slope = x.grad
        x.zero_grad()
        assert slope.tolist() == [3 * (12 + 4)]
        assert grad(slope, w).tolist() == [12 + 4]

    def test_kept_values_are_recomputed(self) -> None:
        gradcheck(_logistic(), [np.array([0.3, -0.7])], order=3)

    def test_what_recomputes_them_was_changed(self) -> None:
        x = leaf(0.3)
        first, second = _logistic()(x), _logistic()(x)
        with no_grad():
            x += 1
        first.backward()  # needs only what was kept
        with pytest.raises(RuntimeError, match="logistic saved"):
            grad(second, x, create_graph=True)

    def test_where_a_power_is_undefined(self) -> None:
        x, y = leaf(2.0, 0.0), leaf(0.0, 0.0)
        slope = grad((x**y).sum(), x, create_graph=True)
        assert slope.tolist() == [0, 0]
        assert grad(slope[0], y).tolist() == [0.5, 0]

    def test_masks_are_constants(self) -> None:
        @op(keeps=("mask",))
        def positive_square(xp: Any, x: Any, /) -> Any:
            mask = x > 0
            return x * x * mask, mask

        @positive_square.gradient("x")
        def _(g: Any, x: Any, mask: Any) -> Any:
            return g * (2 * x * mask)

        gradcheck(positive_square, [np.array([0.3, -0.7])], order=2)


def _logistic() -> Any:
    @op(keeps=("e",))
    def logistic(xp: Any, x: Any, /) -> Any:
        e = xp.exp(-x)
        return 1 / (1 + e), e

    @logistic.gradient("x")
    def _(g: Any, e: Any, out: Any) -> Any:
        return g * e * out * out

    @logistic.kept
    def _(x: Any) -> Any:
        return (exp(-x),)

    return logistic


class TestHooks:
    def test_hook_sees_and_replaces(self) -> None:
        x = leaf(1, 2)
        seen = []
        y = x * 2
        y.register_hook(lambda g: seen.append(g.tolist()))
        x.register_hook(lambda g: g * 10)
        (y * 3).sum().backward()
        assert seen == [[3, 3]]
        assert x.grad.tolist() == [60, 60]

    def test_hook_of_a_leaf_sees_the_whole_gradient_once(self) -> None:
        x = leaf(1.0)
        seen = []
        x.register_hook(lambda g: seen.append(g.item()))
        (x + x * 2 + x * 3).backward()
        assert seen == [6]

    def test_removed(self) -> None:
        x = leaf(1.0)
        remove = x.register_hook(lambda g: g * 10)
        remove()
        remove()
        (x * 1).backward()
        assert x.grad.tolist() == [1]

    def test_removed_is_not_another(self) -> None:
        x = leaf(1.0)
        x.register_hook(lambda g: None)
        remove = x.register_hook(lambda g: g * 10)
        remove()
        x.register_hook(lambda g: g * 2)
        remove()
        (x * 1).backward()
        assert x.grad.tolist() == [2]

    def test_wrong_shape(self) -> None:
        x = leaf(1, 2)
        x.register_hook(lambda g: g.sum())
        with pytest.raises(ValueError, match=r"hook.*\(2,\).*\(\)"):
            x.sum().backward()

    def test_with_create_graph(self) -> None:
        x = leaf(2.0)
        y = x * x
        y.register_hook(lambda g: g * 3)
        first = grad(y * x, x, create_graph=True)
        assert first.item() == 3 * 2 * 4 + 4
        # through both places where x stands in 3x * 2x, and through y, whose hook triples again
        assert grad(first, x).item() == 12 * 2 + 3 * 2 * 2

    def test_retain_grad(self) -> None:
        x = leaf(1, 2)
        y = x * 2
        y.retain_grad()
        y.retain_grad()
        (y * y).sum().backward()
        assert y.grad.tolist() == [4, 8]
        x.retain_grad()
        assert x.grad.tolist() == [8, 16]

    def test_retained_is_what_hooks_leave(self) -> None:
        y = leaf(1.0) * 1
        y.retain_grad()
        y.register_hook(lambda g: g * 10)
        (y * 3).backward()
        assert y.grad.tolist() == [30]

    def test_retained_is_that_of_the_changed(self) -> None:
        y = leaf(1.0) * 1
        y.retain_grad()
        y *= 3
        (y * 1).backward()
        assert y.grad.tolist() == [1]

    @pytest.mark.parametrize("create_graph", [False, True])
    def test_a_hook_cannot_change_the_gradient_that_was_given(self, create_graph: bool) -> None:
        x = Tensor([1.0, 2.0], requires_grad=True)
        y = x * 2
        gradient = np.ones(2, np.float32)

        def double(g: Tensor) -> None:
            with no_grad():
                g *= 2

        y.register_hook(double)
        with pytest.raises(ValueError, match="read-only"):
            y.backward(gradient, create_graph=create_graph)
        assert gradient.tolist() == [1, 1]


class TestModes:
    def test_no_grad(self) -> None:
        x = leaf(1.0)
        with no_grad():
            assert not is_grad_enabled()
            y = x * 2
            with enable_grad():
                z = x * 2
            with no_grad():
                pass
            assert not is_grad_enabled()
        assert is_grad_enabled()
        assert not y.requires_grad
        assert y.is_leaf
        assert z.requires_grad

    def test_exception_restores(self) -> None:
        with pytest.raises(KeyError), no_grad():
            raise KeyError
        assert is_grad_enabled()

    def test_decorator(self) -> None:
        @no_grad()
        def double(x: Tensor, depth: int = 3) -> Tensor:
            return double(x, depth - 1) if depth else x * 2

        assert not double(leaf(1.0)).requires_grad
        assert is_grad_enabled()

    def test_decorated_generator_is_refused(self) -> None:
        with pytest.raises(TypeError, match="numbers"):

            @no_grad()
            def numbers() -> Any:
                yield 1

    def test_from_a_tensor(self) -> None:
        x = leaf(1.0)
        with x.no_grad():
            assert not (x * 2).requires_grad

    def test_one_instance_entered_twice(self) -> None:
        switch = no_grad()
        with switch:
            with switch:
                pass
            assert not is_grad_enabled()
        assert is_grad_enabled()

    def test_threads_have_their_own(self) -> None:
        inside, checked = threading.Event(), threading.Event()
        seen: dict[str, bool] = {}

        def without() -> None:
            with no_grad():
                inside.set()
                checked.wait(10)
                seen["without"] = (leaf(1.0) * 2).requires_grad

        def recording() -> None:
            inside.wait(10)
            seen["recording"] = (leaf(1.0) * 2).requires_grad
            checked.set()

        with no_grad():  # not inherited
            threads = [threading.Thread(target=f) for f in (without, recording)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert seen == {"without": False, "recording": True}

    def test_detach(self) -> None:
        x = leaf(1, 2)
        y = (x * 2).detach()
        assert y.is_leaf
        assert not y.requires_grad
        assert np.shares_memory(x.detach().data, x.data)
        (x * x.detach()).sum().backward()
        assert x.grad.tolist() == [1, 2]


class TestAnomaly:
    def test_forward(self) -> None:
        with (
            np.errstate(invalid="ignore"),
            detect_anomaly(),
            pytest.raises(FloatingPointError, match=r"sqrt.*test_autograd\.py:\d+ in test_forward"),
        ):
            sqrt(Tensor([-1.0]))

    def test_backward(self) -> None:
        x = leaf(0.0)
        with np.errstate(all="ignore"), detect_anomaly():
            y = sqrt(x)
            with pytest.raises(FloatingPointError, match=r"sqrt.*test_autograd\.py:\d+ in test_b"):
                (y * y).backward()

    def test_what_comes_in_as_nan_is_not_blamed(self) -> None:
        with detect_anomaly():
            assert np.isnan((Tensor([np.nan]) * 2).item())

    def test_saved_array_changed_outside_of_the_framework(self) -> None:
        x = leaf(1, 2)
        with detect_anomaly():
            y = (x * x).sum()
            x.data[0] = 5
            with pytest.raises(RuntimeError, match=r"multiply.*test_autograd\.py:\d+.*changed"):
                y.backward()


class TestUnbroadcast:
    @pytest.mark.parametrize(
        ("larger", "shape"),
        [((2, 3), (3,)), ((2, 3), (2, 1)), ((2, 3), ()), ((4, 2, 3), (1, 3)), ((0, 3), (1, 3))],
    )
    def test_sums_what_was_stretched(self, larger: tuple[int, ...], shape: tuple[int, ...]) -> None:
        g = np.random.default_rng(0).normal(size=larger)
        result = unbroadcast_grad(g, shape)
        assert result.shape == shape
        np.testing.assert_allclose(result.sum(), g.sum(), rtol=1e-12)
        assert unbroadcast_grad(Tensor(g), shape).shape == shape

    def test_same_shape_is_returned(self) -> None:
        g = np.ones((2, 3))
        assert unbroadcast_grad(g, (2, 3)) is g

    def test_what_does_not_broadcast(self) -> None:
        with pytest.raises(ValueError, match=r"\(4,\).*\(2, 3\)"):
            unbroadcast_grad(np.ones((2, 3)), (4,))
