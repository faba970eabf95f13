"""A Tensor as an object: with NumPy, as a Python value, indexed, copied and printed."""

from __future__ import annotations

import copy
import inspect
import operator
import pickle
import typing
from typing import Any

import nn_tensor
import numpy as np
import pytest
from nn_tensor import Tensor, no_grad, one_hot
from nn_tensor.testing import assert_close, gradcheck

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)


class TestNumpy:
    def test_asarray_does_not_copy(self) -> None:
        x = Tensor(X, requires_grad=True)
        assert np.asarray(x) is x.data
        assert np.shares_memory(np.asarray(x, dtype=np.float32), x.data)
        assert x.numpy() is x.data
        assert not np.shares_memory(np.array(x), x.data)
        assert np.asarray(x, dtype=np.float64).dtype == np.float64
        with pytest.raises(ValueError, match="copy"):
            np.asarray(x, dtype=np.float64, copy=False)

    @pytest.mark.parametrize(
        "function",
        [
            np.exp, np.abs, np.absolute, np.negative, np.square, np.tanh, np.sum, np.mean, np.max,
            np.amax, np.min, np.amin, np.prod, np.var, np.std, np.ravel, np.transpose, np.flip,
            np.cumsum, np.squeeze, np.copy,
            lambda x: np.add(x, 1), lambda x: np.multiply(x, X), lambda x: np.power(x, 2),
            lambda x: np.maximum(x, 2.5), lambda x: np.where(X > 2, x, 0),
            lambda x: np.matmul(x, X.T), lambda x: np.dot(x, X.T), lambda x: X @ x.T,
            lambda x: np.concatenate([x, x]), lambda x: np.concatenate([x, X], axis=1),
            lambda x: np.stack([x, x], axis=-1), lambda x: np.reshape(x, (3, 2)),
            lambda x: np.expand_dims(x, 0), lambda x: np.swapaxes(x, 0, 1),
            lambda x: np.moveaxis(x, 0, 1), lambda x: np.broadcast_to(x, (2, 2, 3)),
            lambda x: np.clip(x, 2, 4), lambda x: np.sum(x, axis=0, keepdims=True),
            lambda x: np.take(x, [0, 2], axis=1), lambda x: np.repeat(x, 2, axis=0),
            lambda x: np.tile(x, (2, 1)), lambda x: np.pad(x, 1), lambda x: np.split(x, 2)[0],
            lambda x: np.einsum("ij,kj->ik", x, x), lambda x: np.tensordot(x, X, ([1], [1])),
            lambda x: np.outer(x, x), lambda x: X * x, lambda x: X - x, lambda x: X / x,
            lambda x: np.float32(2) * x, lambda x: 2 / x,
        ],
    )  # fmt: skip
    def test_functions_of_numpy_record(self, function: Any) -> None:
        x = Tensor(X, requires_grad=True)
        y = function(x)
        assert isinstance(y, Tensor)
        assert y.requires_grad
        assert_close(y, function(X))
        y.sum().backward()
        assert x.has_grad

    @pytest.mark.parametrize(
        "function",
        [np.argmax, np.isnan, np.all, np.any, lambda x: np.greater(x, 2), np.sign, np.round],
    )
    def test_functions_without_gradient(self, function: Any) -> None:
        assert_close(function(Tensor(X)), function(X))

    def test_questions_about_shape(self) -> None:
        assert (np.shape(Tensor(X)), np.ndim(Tensor(X)), np.size(Tensor(X))) == ((2, 3), 2, 6)

    @pytest.mark.parametrize(
        "call",
        [
            lambda x: np.linalg.qr(x),
            lambda x: np.linalg.diagonal(x),
            lambda x: np.add.reduce(x),
            lambda x: np.add(X, x, out=X.copy()),
            lambda x: np.partition(x, 1),
            lambda x: np.fft.fft(x),
        ],
    )
    def test_what_has_no_counterpart(self, call: Any) -> None:
        with pytest.raises(TypeError, match=r"np\..*numpy\(\)"):
            call(Tensor(X))

    def test_array_augmented_by_a_tensor(self) -> None:
        a = X.copy()
        with pytest.raises(TypeError, match="add"):
            a += Tensor(X)


class TestPythonValue:
    def test_conversions(self) -> None:
        x = Tensor([2.5])
        assert (float(x), int(x), x.item(), bool(x)) == (2.5, 2, 2.5, True)
        assert isinstance(Tensor(3).item(), int)
        assert [10, 20, 30][Tensor(1)] == 20
        assert operator.index(Tensor(np.int8(2))) == 2
        assert list(range(Tensor(3))) == [0, 1, 2]
        assert not Tensor(0.0)
        assert not Tensor([[False]])

    def test_length_iteration_membership(self) -> None:
        x = Tensor(X, requires_grad=True)
        assert len(x) == 2
        rows = list(x)
        assert [row.tolist() for row in rows] == X.tolist()
        rows[1].sum().backward()
        assert x.grad.tolist() == [[0, 0, 0], [1, 1, 1]]
        assert 3.0 in x
        assert 7.0 not in x
        _a, b = x
        assert b.tolist() == [4, 5, 6]

    def test_hash_is_identity(self) -> None:
        x, y = Tensor([1.0]), Tensor([1.0])
        assert len({x, y, x}) == 2

    def test_repr(self) -> None:
        assert repr(Tensor([1.0, 2.0])) == "Tensor([1., 2.])"
        assert repr(Tensor([1.0], requires_grad=True)) == "Tensor([1.], requires_grad=True)"
        assert repr(Tensor(np.ones(1))) == "Tensor([1.], dtype=float64)"
        assert repr(Tensor([1.0], requires_grad=True).exp()).endswith("from exp)")
        assert repr(Tensor([])) == "Tensor([])"
        assert repr(Tensor(1)) == "Tensor(1)"
        assert len(repr(nn_tensor.zeros(1000, 1000))) < 1000

    def test_format(self) -> None:
        assert f"{Tensor(2.5):.3f}" == "2.500"
        assert f"{Tensor([3]):04d}" == "0003"
        assert f"{Tensor([1.0, 2.0])}" == "Tensor([1., 2.])"
        assert f"{Tensor(1.0)}" == "Tensor(1.)"

    def test_weak_references_and_slots(self) -> None:
        import weakref

        x = Tensor([1.0])
        assert weakref.ref(x)() is x
        with pytest.raises(AttributeError):
            x.gard = None  # type: ignore[attr-defined]


class TestCopies:
    @pytest.mark.parametrize(
        "make", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
    )
    @pytest.mark.parametrize("dtype", ["float16", "float64", "int32", "bool"])
    def test_of_a_leaf(self, make: Any, dtype: str) -> None:
        x = Tensor(np.ones((2, 3), dtype)[:, ::2], requires_grad=dtype.startswith("float"))
        y = make(x)
        assert y is not x
        assert (y.dtype, y.shape, y.requires_grad) == (x.dtype, x.shape, x.requires_grad)
        assert_close(y, x)
        assert not np.shares_memory(x.data, y.data)

    def test_deepcopy_keeps_the_gradient_and_ties(self) -> None:
        x = Tensor([1.0, 2.0], requires_grad=True)
        (x * x).sum().backward()
        first, second = copy.deepcopy([x, x])
        assert first is second
        assert first.grad.tolist() == [2, 4]
        first.grad.data[0] = 9
        assert x.grad.tolist() == [2, 4]

    @pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickle.dumps])
    def test_results_are_refused(self, make: Any) -> None:
        y = Tensor([1.0], requires_grad=True) * 2
        with pytest.raises(TypeError, match="detach"):
            make(y)

    def test_copy_method_records(self) -> None:
        x = Tensor([1.0], requires_grad=True)
        y = x.copy()
        assert y.requires_grad
        assert not np.shares_memory(x.data, y.data)


class TestMethods:
    def test_further_arrays_may_be_given_by_name(self) -> None:
        x = Tensor([3.0, 1.0])
        assert x.maximum(other=2).tolist() == [3, 2]
        assert x.minimum(other=2).tolist() == [2, 1]
        assert x.take(indices=[1]).tolist() == [1]
        assert x.gather(indices=[1], axis=0).tolist() == [1]
        assert x.scatter_add(indices=[1], values=[5.0], axis=0).tolist() == [3, 6]
        assert x.where(condition=[True, False], other=0).tolist() == [3, 0]

    def test_type_checkers_know_the_results(self) -> None:
        functions = [getattr(nn_tensor, name) for name in nn_tensor.__all__]
        methods = [value for value in vars(Tensor).values() if inspect.isfunction(value)]
        for function in filter(inspect.isfunction, [*functions, *methods]):
            if hasattr(function, "info") or typing.get_overloads(function):
                continue  # they have the types of `Op`, or of their overloads
            returned = function.__annotations__["return"]
            assert returned not in ("Any", "list[Any]") or function.__name__ in UNTYPED, function


UNTYPED = {
    "__array_function__",
    "__array_ufunc__",
    "__dlpack__",
    "__getattr__",
    "__reduce__",
    "_seed",
    "tolist",
    "unbroadcast_grad",
    # a tuple or a Tensor, by their options
    "__round__",
    "average",
    "where",
}
"""What returns arrays, or values of any type."""


class TestSetters:
    def test_data(self) -> None:
        x = Tensor([1.0, 2.0], requires_grad=True)
        x.data = np.zeros(3)
        assert x.shape == (3,)
        assert x.grad.shape == (3,)

    def test_grad(self) -> None:
        x = Tensor([1.0, 2.0], requires_grad=True)
        x.grad = [1, 2]
        assert x.grad.dtype == np.float32
        x.grad = None
        assert x.grad.tolist() == [0, 0]

    def test_requires_grad(self) -> None:
        x = Tensor([1.0])
        x.requires_grad = True
        assert (x * 2).requires_grad
        x.requires_grad = False
        assert not (x * 2).requires_grad


class TestItemAssignment:
    def test_without_recording_writes_the_memory(self) -> None:
        a = np.zeros((2, 3))
        x = Tensor(a)
        x[0] = 1
        x[:, 1] = [5, 6]
        x[1, Tensor([0, 2])] = Tensor([7.0, 8.0])
        x[x > 7] = 0
        assert a.tolist() == [[1, 5, 1], [7, 6, 0]]

    def test_is_differentiable(self) -> None:
        def assign(x: Tensor, value: Tensor) -> Tensor:
            y = x * 2
            y[1:, 0] = value
            y[0] = y[1] * x[0]
            return y * y

        gradcheck(assign, [X.astype(float), np.array([3.0])], order=2)

    def test_failed_assignment_changes_nothing(self) -> None:
        x = Tensor(X.copy())
        with pytest.raises(ValueError, match="item assignment"):
            x[:, 0] = [1.0, 2.0, 3.0]
        with pytest.raises(IndexError):
            x[5] = 1
        assert_close(x, X)

    def test_repeated_places(self) -> None:
        with no_grad():
            x = Tensor([0.0, 0.0])
            x[[0, 0, 1]] = [1.0, 2.0, 3.0]
        assert x.tolist() == [2, 3]


class TestRanges:
    """Indices out of range are errors, on every device, and are named."""

    @pytest.mark.parametrize("wrong", [-1, 3])
    def test_one_hot(self, wrong: int, device: str) -> None:
        with pytest.raises(IndexError, match=rf"one_hot.*{wrong} is out of bounds.*0 to 2"):
            one_hot(Tensor([0, wrong], device=device), 3).numpy()

    @pytest.mark.parametrize("wrong", [-1, 3])
    def test_gather(self, wrong: int, device: str) -> None:
        x = Tensor(X, device=device)
        index = Tensor([[wrong]], device=device)
        with pytest.raises(IndexError, match=rf"gather.*{wrong} is out of bounds"):
            x.gather(index).numpy()
        with pytest.raises(IndexError, match=rf"scatter_add.*{wrong} is out of bounds"):
            x.scatter_add(index, 1.0).numpy()

    @pytest.mark.parametrize("wrong", [-4, 3])
    def test_take(self, wrong: int, device: str) -> None:
        with pytest.raises(IndexError, match=rf"take.*{wrong} is out of bounds"):
            Tensor(X, device=device).take(Tensor([wrong], device=device), axis=1).numpy()

    def test_one_hot_values(self, device: str) -> None:
        index = Tensor(np.array([[0, 2]], np.uint8), device=device)
        y = one_hot(index, 3, dtype="float64")
        assert (y.device, y.dtype) == (device, np.float64)
        assert y.tolist() == [[[1, 0, 0], [0, 0, 1]]]
        assert one_hot(index).shape == (1, 2, 3)
        assert one_hot([], 3).shape == (0, 3)

    @pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint64"])
    def test_small_integers_index_long_axes(self, dtype: str) -> None:
        index = np.array([1, 100, 1], dtype)
        gradients = []
        for function in (lambda x: x[index], lambda x: x.take(index, axis=0)):
            x = Tensor(np.ones((70_000, 2), np.float32), requires_grad=True)
            function(x).sum().backward()
            gradients.append(x.grad.numpy()[[0, 1, 100]].tolist())
        assert gradients == [[[0, 0], [2, 2], [1, 1]]] * 2
