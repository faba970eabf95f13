"""What is recorded: values, the calls that compute them, and what a replay depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from nn_tensor.extend import leaves_of

__all__ = ["Call", "Guards", "JitError", "Made", "Program", "Read", "Ref", "Value", "values_in"]


class JitError(RuntimeError):
    """A function cannot be recorded, or its replay differed; the message names the line."""


class Value:
    """One array of the program, or an object with arrays in it that only a rule reads.

    Attributes:
        source: the call that computes it, or the argument or Tensor that has had it before, or None
            of a constant.
        path: the place in the result of the call.
        array: as it was recorded; None once the program is complete.
        zero_d: whether NumPy may give a scalar in its place.
        contiguous: whether it is in C order.
        axes: how an array in C order is transposed to have its strides; None if that is impossible.
    """

    def __init__(self, source: Call | Ref | None, array: Any, path: tuple[int, ...] = ()) -> None:
        self.source, self.array, self.path = source, array, path
        self.shape: Any = getattr(array, "shape", None)
        self.dtype: Any = getattr(array, "dtype", None)
        self.nbytes: int = getattr(array, "nbytes", 0)
        is_host = isinstance(array, np.ndarray)
        self.zero_d = is_host and array.ndim == 0
        self.contiguous = is_host and array.flags.c_contiguous
        self.axes: tuple[int, ...] | None = None
        if is_host:
            # an axis of 1 has a stride too, which products look at
            order = sorted(
                range(array.ndim), key=lambda n: (-array.strides[n], array.shape[n] == 1)
            )
            if array.transpose(order).flags.c_contiguous:
                self.axes = tuple(sorted(range(array.ndim), key=order.__getitem__))

    @property
    def memory_shape(self) -> tuple[int, ...]:
        """The shape of the array in C order that is transposed by `axes`."""
        shape = dict(zip(self.axes or (), self.shape, strict=True))
        return tuple(shape[n] for n in range(len(shape)))


@dataclasses.dataclass(slots=True, eq=False)
class Ref:
    """A Tensor itself, or an array: an argument, or one that was there before."""

    tensor: Any
    number: int | None  # of the input


@dataclasses.dataclass(slots=True, eq=False)
class Made:
    """A new Tensor of a value."""

    value: Value
    needs_grad: bool
    gradient: Value | None


@dataclasses.dataclass(slots=True, eq=False)
class Call:
    """``result = function(*arguments, **options)``."""

    kind: str  # operation, fused, external, set array, set gradient, read array, read gradient
    label: str
    function: Any  # of what is called; a fused one gets arrays to fill after the arguments
    place: str
    arguments: tuple[Any, ...] = ()  # with Values, Refs and Made in structures
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    results: list[Value] = dataclasses.field(default_factory=list)
    writes: bool = False  # into its first argument
    snapshot: Any = None
    outline: tuple[Any, ...] = ()  # one, of what an external gave, unless it is an array
    is_view: bool = False  # its result is the first argument in another shape
    out: int | None = None  # the place among the arguments of an array to write the result into
    check: str = ""  # "shape" or "layout" of the results, which may not be as recorded
    job: Any = None  # that of the kernel which it consists of, and what it reads

    @property
    def inputs(self) -> list[Value]:
        """The values among the arguments."""
        return values_in((self.arguments, self.options))

    @property
    def fills(self) -> bool:
        """Whether it can write its results into arrays that it is given."""
        return self.kind == "fused" or self.out is not None

    @property
    def computes(self) -> bool:
        """Whether it is made of operations, and does nothing beside giving its results."""
        return self.kind in ("operation", "fused") and not self.writes


class Read(NamedTuple):
    """What was read of Python, which has to be the same in a replay."""

    function: partial[Any]  # of what holds it, its first argument
    name: str
    value: Any
    kind: str  # "variable", "attribute", "item", "size of", "keys of"


@dataclasses.dataclass(slots=True)
class Guards:
    """What has to be as it was for a program to be replayed; Tensors are known by identity."""

    states: dict[int, tuple[Any, Any, bool]] = dataclasses.field(default_factory=dict)
    fetched: dict[int, tuple[Any, Any, bool]] = dataclasses.field(default_factory=dict)
    """Tensors whose array is read anew: with its layout, and whether they require a gradient."""
    gradients: dict[int, tuple[Ref, Any]] = dataclasses.field(default_factory=dict)
    """Layouts of gradients before the call: None where there was none, ... where it is not read."""
    reads: dict[Any, Read] = dataclasses.field(default_factory=dict)
    aliases: dict[int, tuple[Any, Ref, bool]] = dataclasses.field(default_factory=dict)
    """Tensors that had the array of another one, and whether they require a gradient."""
    arguments: list[tuple[int, Any]] = dataclasses.field(default_factory=list)
    """Parameters that are arguments: which one, or None for any that the program has not itself."""


@dataclasses.dataclass(slots=True, eq=False)
class Program:
    """A recorded call of a function, and the function that replays it."""

    calls: list[Call]
    inputs: list[tuple[Value, bool]]  # and whether it is the array of a Tensor
    states: list[tuple[Any, Value]]  # the Tensors that were there before
    output: Any  # what the function returns, with Values, Refs and Made inside
    guards: Guards
    dropped: int = 0  # calls whose result nobody uses, or is always the same
    buffers: list[Any] = dataclasses.field(default_factory=list)  # the memory of a replay
    source: str = ""
    replay: Callable[[Sequence[Any]], Any] = lambda _: None
    fits: Callable[[Sequence[Any]], bool] = lambda _: False  # a fast test of the signature
    changed: Callable[[Sequence[Any]], str | None] = lambda _: None
    verified: bool = False
    replays: int = 0

    @property
    def refs(self) -> list[Ref]:
        """The Tensors among the arguments of its calls."""
        leaves = leaves_of([call.arguments for call in self.calls])
        return [x for x in leaves if isinstance(x, Ref)]


def values_in(template: Any) -> list[Value]:
    """Return the values in the arguments of a call, or in what a function returns."""
    leaves = list(leaves_of(template))
    found = [part for x in leaves if isinstance(x, Made) for part in (x.value, x.gradient)]
    return [x for x in leaves + found if isinstance(x, Value)]
