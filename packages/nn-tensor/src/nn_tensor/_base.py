"""What a Tensor holds: its array, described, shown and read as Python numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nn_tensor._autograd import Node
from nn_tensor._device import Device, device_of, is_array, namespace_of, put
from nn_tensor._dtype import DEFAULT_FLOAT, is_floating
from nn_tensor._errors import describe

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

Array = Any
ArrayLike = Any


class TensorBase:
    """The part of `Tensor` that knows nothing of operations."""

    __slots__ = ("__weakref__", "_data", "_grad", "_hooks", "_node", "_requires_grad")

    _data: Array
    _node: Node | Tensor | None  # a Tensor where a saved array stands for the leaf itself
    _grad: Tensor | None
    _hooks: dict[float, Callable[..., Any]] | None
    _requires_grad: bool

    @property
    def data(self) -> Array:
        """The NumPy or CuPy array itself; what is written into it is not recorded."""
        return self._data

    @data.setter
    def data(self, value: ArrayLike) -> None:
        array = value._data if isinstance(value, TensorBase) else value
        if not is_array(array):
            raise TypeError(f"data: expected an array, got {describe(value)}")
        if array.dtype.kind not in "biufc":
            raise TypeError(f"data: expected numbers or booleans, got {describe(array)}")
        if self._node is not None:
            raise RuntimeError(
                "data: cannot be replaced in the result of a recorded operation; take .detach()"
            )
        if self._requires_grad and not is_floating(array.dtype):
            raise TypeError(f"data: must be floating to require a gradient, got {array.dtype}")
        if self._grad is not None and array.shape != self._data.shape:
            self._grad = None
        self._data = np.asarray(array) if isinstance(array, (np.generic, np.ndarray)) else array

    @property
    def device(self) -> str:
        """Where the data is: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``."""
        return str(device_of(self._data))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The data type of the elements."""
        return self._data.dtype

    @property
    def xp(self) -> Any:
        """The array module that computes on the data: `numpy` or `cupy`."""
        return namespace_of(self._data)

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self._data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
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
        return self._data.item()

    def tolist(self) -> Any:
        """Return the values as nested Python lists."""
        return self._data.tolist()

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return the data as a NumPy array: without a copy on the CPU, copied from CUDA."""
        return put(self._data, Device("cpu"))

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
        return bool((self._data == (value._data if isinstance(value, TensorBase) else value)).any())

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"bool: a Tensor of shape {self.shape} is not one truth value; use any() or all()"
            )
        return bool(self._data.item())

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
