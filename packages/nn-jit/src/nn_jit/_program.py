"""What is recorded: values, the calls that compute them, and what a replay depends on."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

from nn_jit._tree import leaves_of

__all__ = [
    "Call",
    "Constant",
    "Guards",
    "Made",
    "Program",
    "Read",
    "TensorRef",
    "Value",
    "values_in",
]


@dataclasses.dataclass(slots=True, eq=False)
class Value:
    """One array of the program, or an object with arrays in it that only a rule reads.

    `source` is the call that computes it, or what else it is: ``"input"``, ``"state"`` (the array
    of a Tensor that was there before) or ``"constant"``.
    """

    source: Call | str
    path: tuple[int, ...]  # where it stands in the result of the call
    array: Any  # as it was recorded; None once the program is complete
    number: int  # of the input, or of the state
    shape: tuple[int, ...] | None
    dtype: Any
    nbytes: int
    zero_d: bool  # NumPy may give a scalar in its place
    contiguous: bool = True  # in C order
    is_tensor: bool = False  # an argument that is a Tensor


@dataclasses.dataclass(slots=True, eq=False)
class Constant:
    """Any other value in the arguments of a call."""

    value: Any


@dataclasses.dataclass(slots=True, eq=False)
class TensorRef:
    """A Tensor itself: an input, or one that was there before."""

    tensor: Any
    number: int | None  # of the input


@dataclasses.dataclass(slots=True, eq=False)
class Made:
    """What a replay returns of a value: a new Tensor, or a number of Python."""

    value: Value
    is_number: bool


@dataclasses.dataclass(slots=True, eq=False)
class Call:
    """``result = function(*arguments, **options)``."""

    kind: str  # operation, external, set array, set gradient, read gradient
    label: str
    function: Any  # of what is called; a fused one gets arrays to fill after the arguments
    arguments: tuple[Any, ...]  # of Values, Constants, TensorRefs, tuples and lists of these
    options: dict[str, Any]
    place: str
    writes: bool = False  # into its first argument
    snapshot: Any = None
    outline: tuple[Any, ...] = ()  # one, of what an external gave, unless it is an array
    filled: Value | None = None  # a list among the arguments that the call fills
    used: bool = True
    is_view: bool = False  # its result is the first argument in another shape
    check_shape: bool = False  # of the result, which may depend on the values
    results: list[Value] = dataclasses.field(default_factory=list)


class Read(NamedTuple):
    """What was read of Python, which has to be the same in a replay."""

    function: partial[Any]  # of what holds it, its first argument
    name: str
    value: Any
    kind: str  # "variable", "attribute", "item", "size of", "contents of"


@dataclasses.dataclass(slots=True)
class Guards:
    """What has to be as it was for a program to be replayed."""

    states: list[tuple[Any, Any, bool]] = dataclasses.field(default_factory=list)
    fetched: list[Any] = dataclasses.field(default_factory=list)  # Tensors whose array is read anew
    gradients: dict[int, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    leaves: list[TensorRef] = dataclasses.field(default_factory=list)  # that get gradients
    reads: dict[Any, Read] = dataclasses.field(default_factory=dict)  # by holder and name
    arguments: list[tuple[int, Any]] = dataclasses.field(default_factory=list)  # by identity
    others: list[int] = dataclasses.field(default_factory=list)  # arguments that are none of `own`
    own: set[int] = dataclasses.field(default_factory=set)  # identities of Tensors of the program


@dataclasses.dataclass(slots=True)
class Program:
    """A recorded call of a function."""

    calls: list[Call]
    inputs: list[Value]
    states: list[tuple[Any, Value]]  # the Tensors that were there before
    output: Any  # what the function returns, with Values, Constants, TensorRefs and Made inside
    guards: Guards
    buffers: list[Any] = dataclasses.field(default_factory=list)  # the memory of a replay


def values_in(template: Any) -> list[Value]:
    """Return the values in the arguments of a call, or in what a function returns."""
    found = [x.value if isinstance(x, Made) else x for x in leaves_of(template)]
    return [x for x in found if isinstance(x, Value)]
