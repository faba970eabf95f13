"""New Tensors: filled, counted or drawn at random.

Every function takes `device`, `dtype` (float32 by default) and `requires_grad`. Shapes are given
as separate sizes or as one tuple. Random numbers come from the generator `rng`: a NumPy
`Generator`, a seed, or None for an unpredictable one. They are drawn on the host, so the same seed
gives the same values on every device.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from nn_tensor._checks import check_bool, check_floating_dtype, check_integer, check_shape
from nn_tensor._convert import refuse_masked
from nn_tensor._device import Device, device_scope, parse_device, put, xp_for
from nn_tensor._dtype import DEFAULT_FLOAT, is_floating, parse_dtype
from nn_tensor._errors import describe
from nn_tensor._numpy_protocol import counterparts
from nn_tensor._observe import external, noted
from nn_tensor._tensor import Tensor

__all__ = [
    "arange",
    "empty",
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
        copied._data = noted(copied.xp.array, copied)
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
        array = noted(_call, xp, function, arguments, parsed, label=function)
    else:
        with xp.cuda.Device(where.index):
            array = noted(_call, xp, function, arguments, parsed, label=function)
    return Tensor(array, requires_grad=requires_grad)


def _call(xp: Any, function: str, arguments: tuple[Any, ...], dtype: Any) -> Any:
    array = getattr(xp, function)(*arguments, dtype=dtype)
    if dtype is None and is_floating(array.dtype):
        array = array.astype(DEFAULT_FLOAT, copy=False)
    return array


def _shape_and_dtype(shape: tuple[Any, ...], dtype: Any) -> tuple[tuple[int, ...], Any]:
    """Return the shape and the dtype, which as in NumPy may follow a shape in one tuple."""
    if len(shape) == 2 and not isinstance(shape[1], (int, np.integer)):
        if dtype is not DEFAULT_FLOAT:
            raise TypeError(f"dtype: given twice, as {shape[1]!r} and as {dtype!r}")
        return _shape(shape[:1]), shape[1]
    return _shape(shape), dtype


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
    sizes, dtype = _shape_and_dtype(shape, dtype)
    return _make("zeros", (sizes,), dtype, device, requires_grad)


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
    sizes, dtype = _shape_and_dtype(shape, dtype)
    return _make("ones", (sizes,), dtype, device, requires_grad)


def empty(
    *shape: int | Sequence[int],
    dtype: Any = DEFAULT_FLOAT,
    device: DeviceLike = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Return a Tensor of arbitrary values, to be written before it is read.

    >>> empty(2, 3).shape
    (2, 3)
    """
    sizes, dtype = _shape_and_dtype(shape, dtype)
    return _make("empty", (sizes,), dtype, device, requires_grad)


def full(
    shape: int | Sequence[int],
    fill_value: float,
    dtype: Any = None,
    *,
    device: DeviceLike = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Return a Tensor filled with `fill_value`: float32 for a Python float, int64 for an int.

    >>> full((2,), 7.0)
    Tensor([7., 7.])
    """
    refuse_masked(fill_value)
    if dtype is None and isinstance(fill_value, float):
        dtype = DEFAULT_FLOAT
    return _make("full", (_shape((shape,)), fill_value), dtype, device, requires_grad)


def zeros_like(
    x: Any,
    /,
    dtype: Any = None,
    *,
    shape: int | Sequence[int] | None = None,
    device: DeviceLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return zeros with the shape, dtype and device of `x`, or those given.

    >>> zeros_like(Tensor([1, 2])).tolist()
    [0, 0]
    """
    return _like(zeros, x, dtype, shape, device, requires_grad)


def ones_like(
    x: Any,
    /,
    dtype: Any = None,
    *,
    shape: int | Sequence[int] | None = None,
    device: DeviceLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return ones with the shape, dtype and device of `x`, or those given.

    >>> ones_like(Tensor([1.0, 2.0]))
    Tensor([1., 1.])
    """
    return _like(ones, x, dtype, shape, device, requires_grad)


def full_like(
    x: Any,
    /,
    fill_value: float,
    dtype: Any = None,
    *,
    shape: int | Sequence[int] | None = None,
    device: DeviceLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a Tensor filled with `fill_value`, with the shape, dtype and device of `x`.

    >>> full_like(Tensor([1.0, 2.0]), 3)
    Tensor([3., 3.])
    """
    filled = functools.partial(full, fill_value=fill_value)
    return _like(filled, x, dtype, shape, device, requires_grad)


def _like(
    create: Callable[..., Tensor],
    x: Any,
    dtype: Any,
    shape: int | Sequence[int] | None,
    device: DeviceLike | None,
    requires_grad: bool,
) -> Tensor:
    x = Tensor(x)
    return create(
        x.shape if shape is None else shape,
        dtype=x.dtype if dtype is None else dtype,
        device=x.device if device is None else device,
        requires_grad=requires_grad,
    )


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    dtype: Any = None,
    *,
    device: DeviceLike = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Return ``start, start + step, ...`` up to and excluding `stop`; ``arange(n)`` starts at 0.

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


@overload
def linspace(
    start: float,
    stop: float,
    num: int = ...,
    endpoint: bool = ...,
    retstep: Literal[False] = ...,
    dtype: Any = ...,
    *,
    device: DeviceLike = ...,
    requires_grad: bool = ...,
) -> Tensor: ...
@overload
def linspace(
    start: float,
    stop: float,
    num: int = ...,
    endpoint: bool = ...,
    *,
    retstep: Literal[True],
    dtype: Any = ...,
    device: DeviceLike = ...,
    requires_grad: bool = ...,
) -> tuple[Tensor, float]: ...
def linspace(
    start: float,
    stop: float,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = DEFAULT_FLOAT,
    *,
    device: DeviceLike = "cpu",
    requires_grad: bool = False,
) -> Any:
    """Return `num` evenly spaced numbers from `start` to `stop`, both included.

    Args:
        endpoint: False to leave `stop` out.
        retstep: also return the spacing; NaN if there are fewer than two numbers.

    >>> linspace(0, 1, 3)
    Tensor([0. , 0.5, 1. ])
    """
    num = check_integer("num", num, minimum=0)
    check_bool("endpoint", endpoint)
    numbers = _make("linspace", (start, stop, num, endpoint), dtype, device, requires_grad)
    if not retstep:
        return numbers
    intervals = num - 1 if endpoint else num
    return numbers, (stop - start) / intervals if intervals > 0 else math.nan


def eye(
    N: int,
    M: int | None = None,
    k: int = 0,
    dtype: Any = DEFAULT_FLOAT,
    *,
    device: DeviceLike = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Return a matrix of `N` rows with ones on a diagonal; square if `M`, of columns, is None.

    Args:
        k: the index of the diagonal: 0 for the main one, positive above it, negative below.

    >>> eye(2)
    Tensor([[1., 0.],
            [0., 1.]])
    """
    _shape((N, N if M is None else M))
    return _make("eye", (N, M, check_integer("k", k)), dtype, device, requires_grad)


def _drawn(
    device: DeviceLike, requires_grad: bool, draw: Callable[..., Any], *arguments: Any
) -> Tensor:
    where = parse_device(device)

    def placed(*arguments: Any) -> Any:
        array, dtype = draw(*arguments)
        return put(array.astype(dtype, copy=False), where)

    placed.__name__ = draw.__name__.lstrip("_")
    return Tensor(external(placed, *arguments), None, None, requires_grad)


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
    return _drawn(device, requires_grad, _floats, "random", shape, rng, dtype)


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
    return _drawn(device, requires_grad, _floats, "standard_normal", shape, rng, dtype)


def _floats(kind: str, shape: tuple[Any, ...], rng: Rng, dtype: Any) -> tuple[Any, np.dtype[Any]]:
    parsed = check_floating_dtype("dtype", dtype)
    drawn_as = parsed if parsed.itemsize >= 4 and parsed.itemsize <= 8 else DEFAULT_FLOAT
    drawn = getattr(random_generator(rng), kind)(_shape(shape), dtype=drawn_as.type)
    if kind == "random" and parsed != drawn_as:  # what is close to 1 must not be rounded to it
        drawn = np.minimum(drawn, np.nextafter(parsed.type(1), parsed.type(0)))
    return drawn, parsed


def randint(
    low: int,
    high: int | None = None,
    size: int | Sequence[int] = (),
    dtype: Any = np.int64,
    *,
    rng: Rng = None,
    device: DeviceLike = "cpu",
) -> Tensor:
    """Return integers drawn uniformly from [`low`, `high`), or from [0, `low`) if `high` is None.

    Args:
        size: the shape of the result.

    Raises:
        ValueError: if the range contains no integers.

    >>> randint(0, 10, (2, 3), rng=0).shape
    (2, 3)
    """
    if high is None:
        low, high = 0, low
    low, high = check_integer("low", low), check_integer("high", high)
    if low >= high:
        raise ValueError(f"high: expected more than low={low}, got {high}")
    parsed = parse_dtype(dtype)
    if parsed.kind in "iu" and not np.iinfo(parsed).min <= low < high <= np.iinfo(parsed).max + 1:
        raise ValueError(f"dtype: {parsed} does not hold all integers from {low} to {high - 1}")
    return _drawn(device, False, _integers, low, high, _shape((size,)), rng, parsed)


def _integers(low: int, high: int, shape: Any, rng: Rng, dtype: Any) -> tuple[Any, Any]:
    return random_generator(rng).integers(low, high, shape, dtype=np.int64), dtype


def randperm(count: int, rng: Rng = None, device: DeviceLike = "cpu") -> Tensor:
    """Return the integers from 0 to `count` - 1 in random order.

    >>> sorted(randperm(3, rng=0).tolist())
    [0, 1, 2]
    """
    (count,) = _shape((count,))
    return _drawn(device, False, _permutation, count, rng)


def _permutation(count: int, rng: Rng) -> tuple[Any, Any]:
    return random_generator(rng).permutation(count), np.int64


def from_dlpack(x: Any, /, *, device: DeviceLike | None = None, copy: bool | None = None) -> Tensor:
    """Return a Tensor that shares the memory of another framework's array or tensor.

    Args:
        device: the device of the result; by default that of `x`.
        copy: True to copy, False to raise if the memory cannot be shared, None to copy only if it
            cannot.

    Raises:
        TypeError: if `x` does not offer DLPack, or holds no numbers.
        ValueError: if ``copy=False`` and it lies on another device.

    >>> import numpy as np
    >>> from_dlpack(np.arange(3.0))
    Tensor([0., 1., 2.], dtype=float64)
    """
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise TypeError(f"x: expected an object with __dlpack__, got {describe(x)}")
    kind, index = x.__dlpack_device__()
    on_cpu = kind in (1, 3, 11)  # kDLCPU, kDLCUDAHost, kDLROCMHost
    here = Device("cpu") if on_cpu else Device("cuda", index)
    shared = Tensor(xp_for(here).from_dlpack(x))
    if device is not None and parse_device(device) != here:
        if copy is False:
            raise ValueError(f"copy: on {here!s}, memory cannot be shared with {device!s}")
        return shared.to(device)
    return shared.copy() if copy else shared


counterparts.update(full_like=full_like, ones_like=ones_like, zeros_like=zeros_like)
