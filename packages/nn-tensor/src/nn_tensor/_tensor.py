"""`Tensor`: an array, where it lives, and how it was computed."""

from __future__ import annotations

import operator
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Self

import numpy as np

from nn_tensor import _inplace, _numpy_protocol, ops
from nn_tensor._convert import array_from_python, holds_recorded, refuse_masked
from nn_tensor._device import (
    CPU,
    Device,
    device_of,
    device_scope,
    is_array,
    namespace_of,
    parse_device,
    put,
    same_device,
    xp_for,
)
from nn_tensor._dtype import (
    DEFAULT_FLOAT,
    check_on_host,
    is_floating,
    is_numeric,
    parse_dtype,
)
from nn_tensor._elsewhere import names_elsewhere
from nn_tensor._errors import describe
from nn_tensor._graph import Node, Variable, use_tensor_class
from nn_tensor._hooks import RETAIN, add_hook, hooks_of, run_hooks
from nn_tensor._modes import modes, no_grad, recording
from nn_tensor._numpy_options import positional_arguments
from nn_tensor._observe import current_observer, noted, observers, read
from nn_tensor._observed_backward import run_backward

__all__ = ["Tensor"]

Array = Any
ArrayLike = Any


def _cast(array: Array, dtype: np.dtype[Any]) -> Array:
    with device_scope(array):
        return array.astype(dtype, copy=False)


_accumulating = threading.Lock()  # threads with graphs of their own may share a leaf


def _after_fork() -> None:
    """Unlock: the thread that accumulates a gradient may have stayed in the parent."""
    global _accumulating
    _accumulating = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _reflected(operation: Callable[..., Tensor]) -> Callable[[Any, ArrayLike], Tensor]:
    def apply(self: Tensor, other: ArrayLike) -> Tensor:
        return operation(other, self)

    return apply


def _in_place(sign: str, operation: Callable[..., Tensor]) -> Callable[[Any, ArrayLike], Any]:
    def apply(self: Tensor, other: ArrayLike) -> Tensor:
        return _inplace.update(self, sign, operation, other)

    return apply


@names_elsewhere(
    "view=reshape; permute=transpose; unsqueeze=expand_dims; expand=broadcast_to; clone=copy; "
    "clamp=clip; mm=the operator @; pow=the operator **; masked_fill=where; t=T; "
    "dim=ndim; numel=size; type=astype; float=astype('float32'); double=astype('float64'); "
    "half=astype('float16'); long=astype('int64'); cuda=to('cuda'); "
    "requires_grad_=the attribute requires_grad; cat=nn_tensor.concatenate; "
    "add_=the operator +=; mul_=the operator *=; zero_=x[...] = 0"
)
class Tensor(Variable):
    """An array on a device that records the operations applied to it, for `backward`.

    Args:
        data: anything array-like. Python floats and lists of them become float32, integers stay
            integers, and an array keeps its dtype and its memory: nothing is copied unless
            `device` or `dtype` ask for it.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``; by default where `data` is.
        dtype: anything that `parse_dtype` reads; by default that of `data`.
        requires_grad: whether `backward` should compute a gradient for it; integers become
            float32 then.

    Raises:
        TypeError: if `data` does not hold numbers or booleans in a regular nesting.
        RuntimeError: if `device` cannot be used; the message says what is missing.

    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    Tensor([2., 4., 6.])
    """

    __slots__ = ()
    __hash__: Final = object.__hash__

    def __init__(
        self,
        data: ArrayLike,
        device: str | Device | None = None,
        dtype: Any = None,
        requires_grad: bool = False,
    ) -> None:
        if isinstance(data, Tensor):
            data = data._as_array()
        wanted = None if dtype is None else parse_dtype(dtype)
        if type(data) is np.ndarray:
            array = data
        elif is_array(data):
            refuse_masked(data)
            array = data
        else:
            if modes.grad and holds_recorded(data):
                raise TypeError(
                    "data: a list of Tensors that require gradients would be detached; use stack, "
                    "or no_grad()"
                )
            floating = wanted if wanted is not None and is_floating(wanted) else DEFAULT_FLOAT
            try:
                array = array_from_python(data, floating)
            except (TypeError, ValueError) as error:
                raise type(error)(f"data: {error}") from None
        if type(array) is not np.ndarray and isinstance(array, (np.generic, np.ndarray)):
            array = np.asarray(array)
        if not is_numeric(array.dtype):
            raise TypeError(f"data: expected numbers or booleans, got {describe(array)}")
        if not array.dtype.isnative:
            array = array.astype(array.dtype.type)
        if wanted is not None and array.dtype != wanted:
            array = _cast(array, wanted)
        if requires_grad and array.dtype.kind in "biu":
            if dtype is not None:
                raise TypeError(
                    f"dtype: a Tensor that requires a gradient must be floating, got {array.dtype}"
                )
            array = _cast(array, DEFAULT_FLOAT)
        self._data = array if device is None else put(array, parse_device(device))
        if type(self._data) is np.ndarray:
            check_on_host(self._data.dtype)
        self._node = self._grad = self._hooks = None
        self._requires_grad = False
        if requires_grad:
            self.requires_grad = True
        if observers and (observer := current_observer()) is not None:
            observer.made(self, data)

    @property
    def data(self) -> np.ndarray[Any, Any]:  # CuPy's, which no checker knows, are used like these
        """The NumPy or CuPy array itself; changes made through it are not recorded."""
        return read(self, ".data") if observers else self._data

    @data.setter
    def data(self, value: ArrayLike) -> None:
        array = value._data if isinstance(value, Variable) else value
        if not is_array(array):
            raise TypeError(f"data: expected an array, got {describe(value)}")
        refuse_masked(array)
        if not is_numeric(array.dtype):
            raise TypeError(f"data: expected numbers or booleans, got {describe(array)}")
        if type(array) is np.ndarray:
            check_on_host(array.dtype)
        if self._node is not None:
            raise RuntimeError(
                "data: cannot be replaced in the result of a recorded operation; take .detach()"
            )
        if self._requires_grad and not is_floating(array.dtype):
            raise TypeError(f"data: must be floating to require a gradient, got {array.dtype}")
        if self._grad is not None and array.shape != self._data.shape:
            self._grad = None
        self._data = np.asarray(array) if isinstance(array, (np.generic, np.ndarray)) else array
        if observers and (observer := current_observer()) is not None:
            observer.replaced(self)

    @property
    def device(self) -> str:
        """The device of the data: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``."""
        return str(device_of(self._data))

    @property
    def xp(self) -> Any:
        """The array module that computes on the data: `numpy` or `cupy`."""
        return namespace_of(self._data)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._data.size

    def item(self) -> float | int | bool:
        """Return the only element as a Python number.

        Raises:
            ValueError: if there is not exactly one element.
        """
        if self.size != 1:
            raise ValueError(f"item: expected exactly one element, got shape {self.shape}")
        return self._read("its value (item, float, bool, print)").item()

    def tolist(self) -> Any:
        """Return the values as nested Python lists."""
        return self._read("tolist").tolist()

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return the data as a NumPy array: without a copy on the CPU, copied from CUDA."""
        return self._read("numpy")

    def _read(self, how: str) -> np.ndarray[Any, Any]:
        array = read(self, how)
        return array if type(array) is np.ndarray else put(array, CPU)

    @property
    def requires_grad(self) -> bool:
        """Whether `backward` computes a gradient for it, or through it."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and not is_floating(self._data.dtype):
            raise TypeError(
                f"requires_grad: gradients need a floating dtype, this Tensor is {self.dtype}; "
                "use .astype('float32') first"
            )
        if not value and self._node is not None:
            raise RuntimeError(
                "requires_grad: cannot be cleared on the result of an operation; take .detach()"
            )
        self._requires_grad = bool(value)

    @property
    def is_leaf(self) -> bool:
        """Whether it was created by the user and not by a recorded operation."""
        return self._node is None

    @property
    def grad(self) -> Tensor | Any:  # where a gradient is required never None, so no cast
        """The gradient that `backward` has accumulated.

        Zeros for a leaf that requires a gradient and has none yet; None for any other Tensor
        (see `retain_grad`).
        """
        if observers and (observer := current_observer()) is not None:
            observer.gradient_read(self)
        if self._grad is None and self._requires_grad and self._node is None:
            with device_scope(self._data):
                return Tensor(noted(self.xp.zeros_like, self))
        return self._grad

    @grad.setter
    def grad(self, value: ArrayLike | None) -> None:
        gradient = None if value is None else self._like("grad", value)
        if gradient is not None and gradient.shape != self.shape:
            raise ValueError(f"grad: expected shape {self.shape}, got {gradient.shape}")
        self._grad = gradient
        if observers and (observer := current_observer()) is not None:
            observer.gradient_set(self)

    @property
    def has_grad(self) -> bool:
        """Whether there is a gradient; without one the ``grad`` of a leaf reads as zeros.

        >>> x = Tensor([1.0], requires_grad=True)
        >>> x.has_grad, x.grad
        (False, Tensor([0.]))
        """
        if observers and (observer := current_observer()) is not None:
            observer.gradient_read(self)
        return self._grad is not None

    @property
    def nbytes(self) -> int:
        """The number of bytes that the elements take."""
        return self._data.nbytes

    @property
    def itemsize(self) -> int:
        """The number of bytes that one element takes."""
        return self._data.itemsize

    @property
    def T(self) -> Tensor:
        """The Tensor with its axes reversed."""
        return ops.transpose(self)

    @property
    def mT(self) -> Tensor:
        """The Tensor with its last two axes exchanged: the transposes of its matrices."""
        if self.ndim < 2:
            raise ValueError(f"mT: expected at least two axes, got shape {self.shape}")
        return ops.swapaxes(self, -1, -2)

    def detach(self) -> Tensor:
        """Return a Tensor that shares the memory, has no graph and requires no gradient."""
        return Tensor(self)

    def _as_array(self) -> Array:
        if observers and (observer := current_observer()) is not None:
            observer.inputs("Tensor", (self,), (self._data,))
        return self._data

    def copy(self) -> Tensor:
        """Return a copy that owns its memory; gradients flow through it."""
        return ops.copy(self)

    # Where and in which type it lives

    def to(self, device: str | Device | None = None, dtype: Any = None) -> Tensor:
        """Return it on `device`, and in `dtype` if given; gradients flow back to this Tensor.

        Raises:
            RuntimeError: if the device cannot be used; the message says what is missing.
        """
        moved = self
        if device is not None:
            target = parse_device(device)
            xp_for(target)
            if target != device_of(self._data):
                moved = ops.to_device(self, target)
        return moved if dtype is None else moved.astype(dtype)

    def cpu(self) -> Tensor:
        """Return it on the CPU."""
        return self.to("cpu")

    def astype(self, dtype: Any) -> Tensor:
        """Return it in another data type; itself if it has that type already."""
        if dtype is self._data.dtype:
            return self
        parsed = parse_dtype(dtype)
        return self if parsed == self._data.dtype else ops.cast(self, parsed)

    def set_device(self, device: str | Device) -> None:
        """Move this Tensor and its gradient in place, so that all references to it see the move."""
        target = parse_device(device)
        data = put(self._data, target)
        grad = None if self._grad is None else Tensor(put(self._grad._data, target))
        self.data = data
        self._grad = grad

    def set_dtype(self, dtype: Any) -> None:
        """Convert this Tensor and its gradient to another data type in place."""
        parsed = parse_dtype(dtype)
        grad = None if self._grad is None else self._grad.detach().astype(parsed)
        self.data = _cast(self._data, parsed)
        self._grad = grad

    # Gradients

    def backward(
        self,
        gradient: ArrayLike | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
    ) -> None:
        """Accumulate the derivative of this Tensor into the ``grad`` of every leaf.

        Args:
            gradient: the derivative of the final value with respect to this Tensor; it broadcasts
                to this Tensor's shape. Optional for a single element, with 1 as the default.
            retain_graph: keep the graph for another `backward`; by default as `create_graph`.
            create_graph: record the gradients themselves, so that they can be differentiated. A
                leaf and its ``grad`` then refer to each other until `zero_grad`.

        Raises:
            RuntimeError: if nothing was recorded, if the graph was freed by an earlier
                `backward`, or if an array that an operation saved was changed in place.
            ValueError: if `gradient` is missing for several elements, or does not broadcast.

        >>> x = Tensor([3.0], requires_grad=True)
        >>> (x ** 2).backward()
        >>> x.grad
        Tensor([6.])
        """
        retain = create_graph if retain_graph is None else retain_graph
        with recording(create_graph), device_scope(self._data):
            seed = self._seed(gradient, create_graph)
            found = run_backward([(self._parent(), seed)], retain, create_graph)
            for leaf, total in found.items():
                if isinstance(leaf, Tensor):
                    leaf._accumulate(total)

    def zero_grad(self) -> None:
        """Clear the gradient: it reads as zeros until the next `backward`."""
        self._grad = None
        if observers and (observer := current_observer()) is not None:
            observer.gradient_set(self)

    def _seed(self, gradient: ArrayLike | None, create_graph: bool) -> Any:
        if not self._requires_grad:
            raise RuntimeError(
                "backward: this Tensor does not require a gradient and was not computed from "
                "one that does"
            )
        if gradient is None:
            if self.size != 1:
                raise ValueError(
                    f"backward: a Tensor of shape {self.shape} needs a gradient that broadcasts "
                    "to its shape; without one it must have a single element"
                )
            ones = noted(self.xp.ones_like, self)
            return Tensor(ones) if create_graph else ones
        seed = self._like("gradient", gradient)
        if self._node is not None and seed.shape == self.shape and not (create_graph or observers):
            array = seed._data.view()
            if type(array) is np.ndarray:
                array.flags.writeable = False  # a hook or a rule shall not change the caller's
            return array
        try:  # which tells an observer where the array comes from
            seed = seed.broadcast_to(self.shape)
        except ValueError:
            raise ValueError(
                f"gradient: shape {seed.shape} does not broadcast to this Tensor's {self.shape}"
            ) from None
        if self._node is None:
            seed = seed.copy()
        return seed if create_graph else seed._data

    def _like(self, name: str, value: ArrayLike) -> Tensor:
        """Return `value` as a Tensor of this one's dtype, or raise if it lies elsewhere."""
        if isinstance(value, Tensor):
            tensor = value
        elif is_array(value):
            tensor = Tensor(value)
        else:  # numbers of Python, which have neither precision nor place of their own
            try:
                tensor = Tensor(value, self.device, self.dtype)
            except TypeError as error:
                raise TypeError(f"{name}: {error}") from None
        same_device(name, tensor._data, self._data)
        return tensor.astype(self.dtype)

    def _accumulate(self, total: Any) -> None:
        observer = current_observer() if observers else None
        if observer is not None:
            observer.gradient_read(self)
            if self._hooks:
                observer.refused("a hook of a leaf")
        if self._hooks:
            total = run_hooks(self._hooks, total)
        with _accumulating:
            before = self._grad
            if before is not None:
                with device_scope(self._data):
                    if isinstance(total, Tensor):
                        total = before + total
                    elif self._hooks:  # a hook's gradient may be somebody's own
                        total = before._data + total
                    elif observer is None:  # the total is ours, what was before may be somebody's
                        total += before._data
                    else:
                        total = noted(operator.add, total, before)
            self._grad = total if isinstance(total, Tensor) else Tensor(total)
        if observer is not None:
            observer.gradient_set(self)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Call ``hook(gradient)`` whenever this Tensor's gradient has been computed.

        The hook may return another gradient to use instead; it must not change the one it gets.

        Returns:
            A function that removes the hook.

        Raises:
            RuntimeError: if this Tensor does not require a gradient.

        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> remove = x.register_hook(lambda g: g * 10)
        >>> x.sum().backward()
        >>> x.grad
        Tensor([10., 10.])
        """
        if not self._requires_grad:
            raise RuntimeError("register_hook: this Tensor does not require a gradient")
        if not callable(hook):
            raise TypeError(f"hook: expected a function of the gradient, got {hook!r}")
        return add_hook(self, hook)

    def retain_grad(self) -> None:
        """Keep the gradient of an intermediate result in its ``grad``, as leaves do.

        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> y = x * 2
        >>> y.retain_grad()
        >>> (y * y).sum().backward()
        >>> y.grad
        Tensor([4., 8.])
        """
        if self._node is None:
            return
        hooks = hooks_of(self)
        if RETAIN in hooks:
            return
        reference = weakref.ref(self)

        def keep(gradient: Tensor) -> None:
            tensor = reference()
            if tensor is not None:
                tensor._accumulate(gradient.copy())

        hooks[RETAIN] = keep

    def _become(self, result: Tensor) -> None:
        """Take the data of `result` and its place in the graph; a retained gradient comes along."""
        hooks = self._node._hooks if isinstance(self._node, Node) else None
        keep = hooks.pop(RETAIN, None) if hooks else None
        self._data, self._node, self._grad = result._data, result._node, None
        self._requires_grad = result._requires_grad
        if observers and (observer := current_observer()) is not None:
            observer.replaced(self)
        if keep is not None:
            hooks_of(self)[RETAIN] = keep

    @staticmethod
    def no_grad() -> no_grad:
        """Return `nn_tensor.no_grad`, which switches recording off in this thread."""
        return no_grad()

    # Operators

    __add__: Final = ops.add
    __sub__: Final = ops.subtract
    __mul__: Final = ops.multiply
    __truediv__: Final = ops.divide
    __floordiv__: Final = ops.floor_divide
    __mod__: Final = ops.remainder
    __pow__: Final = ops.power
    __matmul__: Final = ops.matmul
    __and__: Final = ops.bitwise_and
    __or__: Final = ops.bitwise_or
    __xor__: Final = ops.bitwise_xor
    __neg__: Final = ops.negative
    __abs__: Final = ops.abs
    __invert__: Final = ops.invert
    __lt__: Final = ops.less
    __le__: Final = ops.less_equal
    __gt__: Final = ops.greater
    __ge__: Final = ops.greater_equal

    __radd__: Final = _reflected(ops.add)
    __rsub__: Final = _reflected(ops.subtract)
    __rmul__: Final = _reflected(ops.multiply)
    __rtruediv__: Final = _reflected(ops.divide)
    __rfloordiv__: Final = _reflected(ops.floor_divide)
    __rmod__: Final = _reflected(ops.remainder)
    __rpow__: Final = _reflected(ops.power)
    __rmatmul__: Final = _reflected(ops.matmul)
    __rand__: Final = _reflected(ops.bitwise_and)
    __ror__: Final = _reflected(ops.bitwise_or)
    __rxor__: Final = _reflected(ops.bitwise_xor)
    __iadd__: Final = _in_place("+=", ops.add)
    __isub__: Final = _in_place("-=", ops.subtract)
    __imul__: Final = _in_place("*=", ops.multiply)
    __itruediv__: Final = _in_place("/=", ops.divide)
    __ifloordiv__: Final = _in_place("//=", ops.floor_divide)
    __imod__: Final = _in_place("%=", ops.remainder)
    __ipow__: Final = _in_place("**=", ops.power)
    __imatmul__: Final = _in_place("@=", ops.matmul)

    def __pos__(self) -> Self:
        return self

    def __divmod__(self, other: ArrayLike) -> tuple[Tensor, Tensor]:
        return ops.floor_divide(self, other), ops.remainder(self, other)

    def __rdivmod__(self, other: ArrayLike) -> tuple[Tensor, Tensor]:
        return ops.floor_divide(other, self), ops.remainder(other, self)

    def __round__(self, ndigits: int | None = None) -> Any:
        if ndigits is None and self.ndim == 0:
            return self.item().__round__()  # an integer, as Python's numbers give
        return ops.round(self, ndigits or 0)

    def __eq__(self, other: ArrayLike) -> Tensor:  # type: ignore[override]
        if other is None or isinstance(other, str):
            return NotImplemented  # so that Python says they differ, as it does of other objects
        return ops.equal(self, other)

    def __ne__(self, other: ArrayLike) -> Tensor:  # type: ignore[override]
        if other is None or isinstance(other, str):
            return NotImplemented
        return ops.not_equal(self, other)

    # Indexing and iteration

    def __getitem__(self, index: Any) -> Tensor:
        return ops.get_item(self, index)

    def __setitem__(self, index: Any, value: ArrayLike) -> None:
        _inplace.assign(self, index, value)

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("iteration: a 0-d Tensor has no elements to go through")
        return (self[i] for i in range(self.shape[0]))

    # Functions of `nn_tensor` as methods

    exp: Final = ops.exp
    log: Final = ops.log
    sqrt: Final = ops.sqrt
    square: Final = ops.square
    abs: Final = ops.abs
    sign: Final = ops.sign
    sin: Final = ops.sin
    cos: Final = ops.cos
    tanh: Final = ops.tanh
    sigmoid: Final = ops.sigmoid
    relu: Final = ops.relu
    erf: Final = ops.erf
    softplus: Final = ops.softplus
    clip: Final = ops.clip
    sum: Final = ops.sum
    mean: Final = ops.mean
    var: Final = ops.var
    std: Final = ops.std
    max: Final = ops.max
    min: Final = ops.min
    prod: Final = ops.prod
    argmax: Final = ops.argmax
    argmin: Final = ops.argmin
    argsort: Final = ops.argsort
    any: Final = ops.any
    all: Final = ops.all
    logsumexp: Final = ops.logsumexp
    cumsum: Final = ops.cumsum
    cumprod: Final = ops.cumprod
    round: Final = ops.round
    diagonal: Final = ops.diagonal
    trace: Final = ops.trace
    tril: Final = ops.tril
    triu: Final = ops.triu
    topk: Final = ops.topk
    dot: Final = ops.dot
    softmax: Final = ops.softmax
    log_softmax: Final = ops.log_softmax
    swapaxes: Final = ops.swapaxes
    squeeze: Final = ops.squeeze
    expand_dims: Final = ops.expand_dims
    broadcast_to: Final = ops.broadcast_to
    flatten: Final = ops.flatten
    ravel: Final = ops.ravel
    repeat: Final = ops.repeat
    flip: Final = ops.flip
    split: Final = ops.split
    pad2d: Final = ops.pad2d
    take: Final = ops.take

    # Those with further arrays, which may be given by name

    def where(self, condition: ArrayLike, other: ArrayLike) -> Tensor:
        """Return this Tensor where `condition` holds and `other` elsewhere."""
        return ops.where(condition, self, other)

    def maximum(self, other: ArrayLike) -> Tensor:
        """See `nn_tensor.maximum`."""
        return ops.maximum(self, other)

    def minimum(self, other: ArrayLike) -> Tensor:
        """See `nn_tensor.minimum`."""
        return ops.minimum(self, other)

    def gather(self, indices: ArrayLike, axis: int = -1) -> Tensor:
        """See `nn_tensor.gather`."""
        return ops.gather(self, indices, axis=axis)

    def scatter_add(self, indices: ArrayLike, values: ArrayLike, axis: int = -1) -> Tensor:
        """See `nn_tensor.scatter_add`."""
        return ops.scatter_add(self, indices, values, axis=axis)

    # Those that take lengths or axes one by one as well

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """See `nn_tensor.reshape`; the sizes may be given one by one or as a tuple."""
        return ops.reshape(self, _one_or_many(shape))

    def transpose(self, *axes: int | Sequence[int] | None) -> Tensor:
        """See `nn_tensor.transpose`; the axes may be given one by one or as a tuple."""
        return ops.transpose(self, _one_or_many(axes) if axes else None)

    def __repr__(self) -> str:
        notes = []
        if self.dtype not in (DEFAULT_FLOAT, np.dtype(np.int64), np.dtype(bool)):
            notes.append(f"dtype={self.dtype}")
        if self.device != "cpu":
            notes.append(f"device={self.device!r}")
        if isinstance(self._node, Node):
            notes.append(f"from {self._node.op.name}")
        elif self._requires_grad:
            notes.append("requires_grad=True")
        body = np.array2string(self.numpy(), separator=", ", prefix="Tensor(")
        return f"Tensor({', '.join([body, *notes])})"

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len: a Tensor without axes has no length")
        return self.shape[0]

    def __contains__(self, value: object) -> bool:
        value = value._data if isinstance(value, Variable) else value
        return bool((read(self, "in") == value).any())

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"bool: the truth value of a Tensor of shape {self.shape} is ambiguous; "
                "use any() or all()"
            )
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.ndim != 0 or self.dtype.kind not in "iu":
            raise TypeError(f"index: expected one integer, got {describe(self)}")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        if self.size != 1:
            raise ValueError(
                f"format: {spec!r} needs exactly one element, this Tensor has shape {self.shape}"
            )
        return format(self.item(), spec)

    # With the rest of the world

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if device_of(self._data).kind != "cpu":
            raise TypeError(
                "implicit conversion of a CUDA Tensor to a NumPy array is not allowed; use .numpy()"
            )
        return np.array(read(self, "a function of NumPy"), dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        operation = _numpy_protocol.counterparts.get(ufunc.__name__)
        if method != "__call__" or operation is None or options:
            raise TypeError(
                f"np.{ufunc.__name__} ({method}, options {sorted(options)}) has no counterpart on "
                "Tensors; use a function of nn_tensor, or take .numpy() first"
            )
        return operation(*inputs)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        operation = _numpy_protocol.counterpart(function)
        if operation is None:
            raise TypeError(
                f"np.{_numpy_protocol.name_of(function)} has no counterpart on Tensors; take "
                ".numpy() first"
            )
        args, kwargs = positional_arguments(function, operation, args, kwargs)
        return operation(*args, **kwargs)

    def __dlpack__(self, **options: Any) -> Any:
        return read(self, "dlpack").__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._data.__dlpack_device__()

    def __reduce__(self) -> Any:
        if self._node is not None:
            raise TypeError(
                "copying or pickling: this Tensor is the result of a recorded operation; "
                "take .detach() first, or .numpy() to plot it"
            )
        return _restore, (self.numpy().copy(), self.device, self._requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        rebuild, arguments = self.__reduce__()
        copied: Tensor = rebuild(*arguments)
        if self._grad is not None:
            copied._grad = self._grad.detach().copy()
        memo[id(self)] = copied
        return copied


def _restore(array: Array, device: str, requires_grad: bool) -> Tensor:
    return Tensor(array, device=device, requires_grad=requires_grad)


use_tensor_class(Tensor)


def _one_or_many(values: tuple[Any, ...]) -> Any:
    """Let ``f(2, 3)`` mean ``f((2, 3))``."""
    return values[0] if len(values) == 1 and not isinstance(values[0], int) else values
