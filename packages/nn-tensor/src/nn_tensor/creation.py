"""New Tensors: filled, counted or drawn at random.

Every function takes `device`, `dtype` (float32 by default) and `requires_grad`. Shapes are given
as separate sizes or as one tuple. Random numbers come from the generator `rng`: a NumPy
`Generator`, a seed, or None for an unpredictable one. They are drawn on the host, so the same seed
gives the same values on every device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nn_tensor._checks import check_floating_dtype, check_integer, check_shape
from nn_tensor._device import Device, device_scope, parse_device, put, xp_for
from nn_tensor._dtype import DEFAULT_FLOAT, is_floating, parse_dtype
from nn_tensor._errors import describe
from nn_tensor._numpy_protocol import counterparts
from nn_tensor._tensor import Tensor

__all__ = [
    "arange",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "rand",
    "randint",
    "randn",
    "random_generator",
    "randperm",
    "tensor",
    "zeros",
    "zeros_like",
]

if TYPE_CHECKING:  # numpy.random takes time to import and is needed only where numbers are drawn
    Rng = np.random.Generator | int | None
DeviceLike = str | Device


def random_generator(rng: Rng = None) -> np.random.Generator:
    """Return a NumPy generator: `rng` itself, one seeded with it, or an unpredictable one.

    Raises:
        TypeError: if `rng` is something else (NumPy's legacy `RandomState`, for example).

    >>> int(random_generator(7).integers(100)) == int(random_generator(7).integers(100))
    True
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None or (isinstance(rng, (int, np.integer)) and not isinstance(rng, bool)):
        if rng is not None and rng < 0:
            raise ValueError(f"rng: a seed must not be negative, got {rng}")
        return np.random.default_rng(rng)
    raise TypeError(f"rng: expected a numpy.random.Generator, a seed or None, got {rng!r}")


def tensor(
    data: Any, device: DeviceLike | None = None, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return a Tensor with a copy of `data`; `Tensor` itself shares the memory of an array.

    >>> import numpy as np
    >>> a = np.zeros(2)
    >>> t = tensor(a)
    >>> a[0] = 1
    >>> t.tolist()
    [0.0, 0.0]
    """
    copied = Tensor(data, device, dtype, requires_grad)
    with device_scope(copied):
        copied._data = copied.xp.array(copied._data)
    return copied


def _shape(shape: tuple[Any, ...]) -> tuple[int, ...]:
    return check_shape("shape", shape[0] if len(shape) == 1 else shape)


def _make(
    function: str, arguments: tuple[Any, ...], dtype: Any, device: DeviceLike, requires_grad: bool
) -> Tensor:
    where = parse_device(device)
    xp = xp_for(where)
    parsed = None if dtype is None else parse_dtype(dtype)
    if where.kind == "cpu":
        array = getattr(xp, function)(*arguments, dtype=parsed)
    else:
        with xp.cuda.Device(where.index):
            array = getattr(xp, function)(*arguments, dtype=parsed)
    if parsed is None and is_floating(array.dtype):
        array = array.astype(DEFAULT_FLOAT, copy=False)
    return Tensor(array, requires_grad=requires_grad)


def zeros(
    *shape: int | Sequence[int],
    dtype: Any = DEFAULT_FLOAT,
    device: DeviceLike = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Return a Tensor of zeros.

    >>> zeros(2, 3).shape
    (2, 3)
    """
    return _make("zeros", (_shape(shape),), dtype, device, requires_grad)


def ones(
    *shape: int | Sequence[int],
    dtype: Any = DEFAULT_FLOAT,
    device: DeviceLike = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Return a Tensor of ones.

    >>> ones((2,))
    Tensor([1., 1.])
    """
    return _make("ones", (_shape(shape),), dtype, device, requires_grad)


def full(
    shape: int | Sequence[int],
    value: float,
    dtype: Any = None,
    device: DeviceLike = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Return a Tensor filled with `value`: float32 for a Python float, int64 for an int.

    >>> full((2,), 7.0)
    Tensor([7., 7.])
    """
    if dtype is None and isinstance(value, float):
        dtype = DEFAULT_FLOAT
    return _make("full", (_shape((shape,)), value), dtype, device, requires_grad)


def zeros_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return zeros with the shape, dtype and device of `x`.

    >>> zeros_like(Tensor([1, 2])).tolist()
    [0, 0]
    """
    x = Tensor(x)
    return zeros(x.shape, dtype=dtype or x.dtype, device=x.device, requires_grad=requires_grad)


def ones_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return ones with the shape, dtype and device of `x`.

    >>> ones_like(Tensor([1.0, 2.0]))
    Tensor([1., 1.])
    """
    x = Tensor(x)
    return ones(x.shape, dtype=dtype or x.dtype, device=x.device, requires_grad=requires_grad)


def full_like(x: Any, value: float, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a Tensor filled with `value`, with the shape, dtype and device of `x`.

    >>> full_like(Tensor([1.0, 2.0]), 3)
    Tensor([3., 3.])
    """
    x = Tensor(x)
    return full(x.shape, value, dtype or x.dtype, x.device, requires_grad)


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    dtype: Any = None,
    device: DeviceLike = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Return ``start, start + step, ...`` up to, but without, `stop`; ``arange(n)`` from 0.

    Integers give int64, floats give float32.

    >>> arange(3)
    Tensor([0, 1, 2])
    """
    for value in (start, stop, step):
        if not isinstance(value, (int, float, np.number, type(None))):
            raise TypeError(f"arange: expected numbers, got {value!r}")
    if step == 0:
        raise ValueError(f"step: must not be 0, got {step}")
    if stop is None:
        start, stop = 0, start
    if dtype is None and any(isinstance(value, float) for value in (start, stop, step)):
        dtype = DEFAULT_FLOAT
    return _make("arange", (start, stop, step), dtype, device, requires_grad)


def linspace(
    start: float,
    stop: float,
    count: int = 50,
    dtype: Any = DEFAULT_FLOAT,
    device: DeviceLike = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Return `count` evenly spaced numbers from `start` to `stop`, both included.

    >>> linspace(0, 1, 3)
    Tensor([0. , 0.5, 1. ])
    """
    count = check_integer("count", count, minimum=0)
    return _make("linspace", (start, stop, count), dtype, device, requires_grad)


def eye(
    rows: int,
    columns: int | None = None,
    dtype: Any = DEFAULT_FLOAT,
    device: DeviceLike = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Return a matrix with ones on its diagonal; square if `columns` is None.

    >>> eye(2)
    Tensor([[1., 0.],
            [0., 1.]])
    """
    _shape((rows, rows if columns is None else columns))
    return _make("eye", (rows, columns), dtype, device, requires_grad)


def _drawn(array: Any, dtype: Any, device: DeviceLike, requires_grad: bool) -> Tensor:
    return Tensor(
        put(array.astype(dtype, copy=False), parse_device(device)), None, None, requires_grad
    )


def rand(
    *shape: int | Sequence[int],
    rng: Rng = None,
    dtype: Any = DEFAULT_FLOAT,
    device: DeviceLike = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Return numbers drawn uniformly from [0, 1).

    >>> rand(2, 3, rng=0).shape
    (2, 3)
    """
    return _drawn(*_floats("random", shape, rng, dtype), device, requires_grad)


def randn(
    *shape: int | Sequence[int],
    rng: Rng = None,
    dtype: Any = DEFAULT_FLOAT,
    device: DeviceLike = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Return numbers drawn from the normal distribution with mean 0 and variance 1.

    >>> randn(2, 3, rng=0).shape
    (2, 3)
    """
    return _drawn(*_floats("standard_normal", shape, rng, dtype), device, requires_grad)


def _floats(kind: str, shape: tuple[Any, ...], rng: Rng, dtype: Any) -> tuple[Any, np.dtype[Any]]:
    parsed = check_floating_dtype("dtype", dtype)
    drawn_as = parsed if parsed.itemsize >= 4 and parsed.itemsize <= 8 else DEFAULT_FLOAT
    drawn = getattr(random_generator(rng), kind)(_shape(shape), dtype=drawn_as.type)
    if kind == "random" and parsed != drawn_as:  # what is close to 1 must not be rounded to it
        drawn = np.minimum(drawn, np.nextafter(parsed.type(1), parsed.type(0)))
    return drawn, parsed


def randint(
    low: int,
    high: int,
    shape: int | Sequence[int] = (),
    rng: Rng = None,
    dtype: Any = np.int64,
    device: DeviceLike = "cpu",
) -> Tensor:
    """Return integers drawn uniformly from `low` up to, but without, `high`.

    Raises:
        ValueError: if the range contains no integers.

    >>> randint(0, 10, (2, 3), rng=0).shape
    (2, 3)
    """
    low, high = check_integer("low", low), check_integer("high", high)
    if low >= high:
        raise ValueError(f"high: expected more than low={low}, got {high}")
    parsed = parse_dtype(dtype)
    if parsed.kind in "iu" and not np.iinfo(parsed).min <= low < high <= np.iinfo(parsed).max + 1:
        raise ValueError(f"dtype: {parsed} does not hold all integers from {low} to {high - 1}")
    drawn = random_generator(rng).integers(low, high, _shape((shape,)), dtype=np.int64)
    return _drawn(drawn, parsed, device, False)


def randperm(count: int, rng: Rng = None, device: DeviceLike = "cpu") -> Tensor:
    """Return the integers from 0 to `count` - 1 in random order.

    >>> sorted(randperm(3, rng=0).tolist())
    [0, 1, 2]
    """
    (count,) = _shape((count,))
    return _drawn(random_generator(rng).permutation(count), np.int64, device, False)


def from_dlpack(x: Any) -> Tensor:
    """Return a Tensor that shares the memory of another framework's array or tensor.

    Raises:
        TypeError: if `x` does not offer DLPack, or holds no numbers.

    >>> import numpy as np
    >>> from_dlpack(np.arange(3.0))
    Tensor([0., 1., 2.], dtype=float64)
    """
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise TypeError(f"x: expected an object with __dlpack__, got {describe(x)}")
    kind, index = x.__dlpack_device__()
    on_cpu = kind in (1, 3, 11)  # kDLCPU, kDLCUDAHost, kDLROCMHost
    return Tensor(xp_for(Device("cpu") if on_cpu else Device("cuda", index)).from_dlpack(x))


counterparts.update(full_like=full_like, ones_like=ones_like, zeros_like=zeros_like)
