"""Changes of Tensors in place, and what they do to graphs that were recorded before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor, einsum, exp, grad, no_grad, sqrt, where
from nn_tensor.extend import mark_dirty
from nn_tensor.testing import gradcheck


def leaf(*values: float, **options: Any) -> Tensor:
    return Tensor(list(values), requires_grad=True, **options)


class TestInPlace:
    def test_leaf_is_refused(self) -> None:
        x = leaf(1, 2)
        with pytest.raises(RuntimeError, match=r"\+=.*leaf"):
            x += 1
        with pytest.raises(RuntimeError, match=r"item assignment.*leaf"):
            x[0] = 1
        assert x.tolist() == [1, 2]

    def test_leaf_inside_no_grad(self) -> None:
        x = leaf(1, 2)
        data = x.data
        with no_grad():
            x -= 1
            x[0] = 5
        assert x.data is data
        assert x.tolist() == [5, 1]
        assert x.requires_grad

    def test_all_forms(self) -> None:
        x = Tensor([4.0, 9.0])
        data = x.data
        x += 1
        x -= 1
        x *= 2
        x /= 2
        x **= 2
        x //= 2
        x %= 5
        assert x.data is data
        assert x.tolist() == [3, 0]
        m = Tensor([[1.0, 2], [3, 4]])
        m @= m
        assert m.tolist() == [[7, 10], [15, 22]]

    @pytest.mark.parametrize(
        "change",
        [
            lambda y, x: y.__iadd__(x),
            lambda y, x: y.__isub__(x),
            lambda y, x: y.__imul__(x),
            lambda y, x: y.__itruediv__(x),
            lambda y, x: y.__ipow__(x),
            lambda y, x: y.__setitem__(0, x[1]),
            lambda y, x: y.__setitem__(slice(None), x * x),
        ],
    )
    def test_right_under_recording(self, change: Any) -> None:
        def function(x: Tensor) -> Tensor:
            y = exp(x)
            z = y * y  # saves y
            change(y, x)
            return y * z

        gradcheck(function, [np.array([0.3, 0.7])], order=2)

    def test_assignment_of_what_requires_a_gradient(self) -> None:
        x, value = Tensor([1.0, 2.0, 3.0]), leaf(5)
        x[1:2] = value
        (x * x).sum().backward()
        assert x.tolist() == [1, 5, 3]
        assert value.grad.tolist() == [10]

    @pytest.mark.parametrize(
        ("function", "name"),
        [
            (lambda y: y * y, "multiply"),
            (sqrt, None),
            (lambda y: einsum("i,i->", y, y), "einsum"),
            (lambda y: y**2, "power"),
            (lambda y: where(y > 0, y, y * y), "multiply"),
        ],
    )
    def test_saved_array_changed(self, function: Any, name: str | None) -> None:
        y = leaf(1, 4) * 1
        z = function(y).sum()
        with no_grad():
            y += 1
        if name is None:  # saved its output, not its input
            z.backward()
            return
        with pytest.raises(RuntimeError, match=rf"{name} saved an array.*changed in place"):
            z.backward()

    def test_saved_view_changed(self) -> None:
        base = Tensor(np.ones((2, 2)))
        x = leaf(1, 2, dtype="float64")
        z = (base[0] * x).sum()
        base[:, 0] = 3
        with pytest.raises(RuntimeError, match="multiply saved"):
            z.backward()

    def test_saved_index_changed(self) -> None:
        x = leaf(1, 2, 3)
        index = Tensor([0, 1])
        z = x[index].sum() + x.take(index).sum() + x.gather(index).sum()
        index += 1
        with pytest.raises(RuntimeError, match="changed in place"):
            z.backward()

    @pytest.mark.parametrize("second_order", [False, True])
    def test_index_changed(self, second_order: bool) -> None:
        x, index, rows = leaf(1, 2, 3), Tensor([0, 1]), [0, 1]
        by_tensor, by_list = (x[index] ** 2).sum(), (x[rows] ** 2).sum()
        rows[0] = 2  # the list was read, and is not needed any more
        assert grad(by_list, x, create_graph=second_order).tolist() == [2, 4, 0]
        index[0] = 2
        with pytest.raises(RuntimeError, match="get_item saved"):
            grad(by_tensor, x, create_graph=second_order)

    def test_marked_by_an_optimizer(self) -> None:
        x = leaf(1, 2)
        y = (x * x).sum()
        mark_dirty(x.data)
        with pytest.raises(RuntimeError, match="multiply saved"):
            y.backward()

    def test_several_are_marked_each_time(self) -> None:
        x, y, z = leaf(1, 2), leaf(3), leaf(4)
        for _ in range(2):
            products = [(a * a).sum() for a in (x, y, z)]
            mark_dirty(x.data, y.data[:])
            for product in products[:2]:
                with pytest.raises(RuntimeError, match="multiply saved"):
                    product.backward()
            products[2].backward()

    def test_change_before_recording_is_fine(self) -> None:
        x = leaf(1, 2)
        with no_grad():
            x += 1
        (x * x).sum().backward()
        assert x.grad.tolist() == [4, 6]

    def test_does_not_widen_or_stretch(self) -> None:
        x = Tensor([1.0, 2.0])
        x += np.float64(1)
        assert x.dtype == np.float32
        i = Tensor([1, 2])
        with pytest.raises(TypeError, match=r"\+=.*float64.*int64"):
            i += 0.5
        with pytest.raises(ValueError, match=r"\+=.*\(3, 2\).*\(2,\)"):
            x += np.ones((3, 1), np.float32)
        assert x.tolist() == [2, 3]

    def test_read_only_memory(self) -> None:
        x = Tensor(np.broadcast_to(np.float32(1), (2,)))
        with pytest.raises(ValueError, match="read-only"):
            x += 1
