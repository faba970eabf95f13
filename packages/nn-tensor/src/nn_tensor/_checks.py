"""Argument checks, which all packages share so that the same mistake reads the same everywhere."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, ParamSpec, TypeVar, Unpack, get_args, get_origin, get_type_hints

import numpy as np

from nn_tensor._dtype import is_floating, parse_dtype
from nn_tensor._elsewhere import keyword_hint
from nn_tensor._errors import describe

__all__ = [
    "check_bool",
    "check_choice",
    "check_floating_dtype",
    "check_integer",
    "check_number",
    "check_probability",
    "check_shape",
    "keyword_only",
]

P = ParamSpec("P")
T = TypeVar("T")
Choice = TypeVar("Choice", bound=str)


def check_integer(
    name: str, value: Any, minimum: int | None = None, maximum: int | None = None
) -> int:
    """Return `value` as an int between `minimum` and `maximum`, both included.

    Raises:
        TypeError: if it is not an integer; booleans are not.
        ValueError: if it is out of range.

    >>> check_integer("kernel_size", 0, minimum=1)
    Traceback (most recent call last):
        ...
    ValueError: kernel_size: expected an integer >= 1, got 0
    """
    expected = "an integer" + _range(minimum, maximum)
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected {expected}, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected {expected}, got {value!r}") from None
    if (minimum is not None and number < minimum) or (maximum is not None and number > maximum):
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return number


def check_number(
    name: str,
    value: Any,
    minimum: float | None = None,
    maximum: float | None = None,
    *,
    below: float | None = None,
    above: float | None = None,
    allow_infinite: bool = False,
    allow_nan: bool = False,
) -> float:
    """Return `value` as a float in a range.

    Args:
        name: the argument, for the message.
        value: a real number, of Python or NumPy.
        minimum: the smallest value allowed.
        maximum: the largest value allowed.
        below: the exclusive upper bound.
        above: the exclusive lower bound.
        allow_infinite: whether infinity may be in the range.
        allow_nan: whether NaN is allowed too, whatever the range.

    Raises:
        TypeError: if it is not a real number; booleans are not.
        ValueError: if it is out of range, or infinite or NaN and that is not allowed.

    >>> check_number("momentum", 1.5, minimum=0, below=1)
    Traceback (most recent call last):
        ...
    ValueError: momentum: expected a finite number >= 0 and < 1, got 1.5
    """
    expected = ("a number" if allow_infinite else "a finite number") + _range(
        minimum, maximum, below, above
    )
    if allow_nan:
        expected += " or NaN"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected {expected}, got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of float
        number = value = math.inf if value > 0 else -math.inf  # type: ignore[operator]
    inside = (allow_nan and math.isnan(number)) or (
        not math.isnan(number)
        and (allow_infinite or not math.isinf(number))
        and (minimum is None or number >= minimum)
        and (maximum is None or number <= maximum)
        and (below is None or number < below)
        and (above is None or number > above)
    )
    if not inside:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return number


def _range(
    minimum: float | None,
    maximum: float | None,
    below: float | None = None,
    above: float | None = None,
) -> str:
    bounds = ((">=", minimum), (">", above), ("<=", maximum), ("<", below))
    parts = [f"{sign} {bound:g}" for sign, bound in bounds if bound is not None]
    return f" {' and '.join(parts)}" if parts else ""


def check_probability(name: str, value: Any) -> float:
    """Return `value` as a float from 0 to 1, both included.

    Raises:
        TypeError: if it is not a real number.
        ValueError: if it is outside [0, 1] or NaN.

    >>> check_probability("p", 0.1)
    0.1
    """
    return check_number(name, value, 0, 1)


def check_bool(name: str, value: Any) -> bool:
    """Return `value` as a bool.

    Raises:
        TypeError: if it is neither True nor False.

    >>> check_bool("bias", True)
    True
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def check_choice(name: str, value: Any, choices: Iterable[Choice]) -> Choice:
    """Return `value` if it is one of the strings `choices`.

    Raises:
        ValueError: if it is not.

    >>> check_choice("reduction", "avg", ("mean", "sum", "none"))
    Traceback (most recent call last):
        ...
    ValueError: reduction: expected one of 'mean', 'sum', 'none', got 'avg'
    """
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, known))}, got {value!r}")
    return known[known.index(value)]


def check_shape(name: str, value: Any, minimum: int = 0) -> tuple[int, ...]:
    """Return `value`, one size or a sequence of them, as a tuple of ints of at least `minimum`.

    Raises:
        TypeError: if it is neither an integer nor a sequence of integers.
        ValueError: if a size is less than `minimum`.

    >>> check_shape("shape", 3), check_shape("shape", [2, 3])
    ((3,), (2, 3))
    """
    sizes = value if isinstance(value, (list, tuple)) else (value,)
    try:
        return tuple(check_integer(name, size, minimum) for size in sizes)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{name}: expected sizes >= {minimum}, one or a tuple of them, got {value!r}"
        ) from None


def check_floating_dtype(name: str, value: Any) -> np.dtype[Any]:
    """Return `value` as a floating dtype.

    Raises:
        TypeError: if it names another data type, or none.

    >>> check_floating_dtype("dtype", "float64")
    dtype('float64')
    """
    try:
        parsed = parse_dtype(value)
    except TypeError as error:  # it calls its argument "dtype"
        raise TypeError(f"{name}{str(error).removeprefix('dtype')}") from None
    if not is_floating(parsed):
        raise TypeError(f"{name}: expected a floating dtype, got {parsed}")
    return parsed


def keyword_only(function: Callable[P, T]) -> Callable[P, T]:
    """Name the option that was meant when a keyword-only argument is given by position.

    For constructors, methods and functions whose options follow a ``*``, or are ``**options:
    Unpack[SomeTypedDict]``: of these, a name that the TypedDict does not have is refused too. The
    signature stays what it is. On a class method or static method it stands below `classmethod` or
    `staticmethod`.

    >>> class Layer:
    ...     @keyword_only
    ...     def __init__(self, size, *, bias=True):
    ...         self.size = size
    >>> Layer(3, False)
    Traceback (most recent call last):
        ...
    TypeError: Layer takes 1 positional argument (size): give bias=False by name
    """
    parameters = list(inspect.signature(function).parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return function
    positional = [
        p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    options = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    collects = any(p.kind is p.VAR_KEYWORD for p in parameters)
    names = {p.name for p in parameters}

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        if len(args) > len(positional):
            named = [*_unpacked_options(function), *options]
            raise TypeError(_surplus(function.__name__, positional, named, args, kwargs))
        if collects and kwargs and (unpacked := _unpacked_options(function)):
            known = {*positional, *options, *unpacked}
            for name in kwargs.keys() - known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f", did you mean {close[0]!r}?" if close else ""
                hint = keyword_hint(name, known) or hint
                called = _called(function.__name__, positional, args)
                raise TypeError(f"{called} has no option {name!r}{hint}")
        if not collects and not kwargs.keys() <= names:
            for name in kwargs:
                if name not in names and (hint := keyword_hint(name, names)):
                    called = _called(function.__name__, positional, args)
                    raise TypeError(f"{called} has no option {name!r}{hint}")
        return function(*args, **kwargs)

    return checked


@functools.cache
def _unpacked_options(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the keys of ``**options: Unpack[SomeTypedDict]``, if a function has that.

    When it is called, all that its annotations name has been defined.
    """
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            hint = get_type_hints(function).get(parameter.name)
            if get_origin(hint) is Unpack:
                return tuple(get_type_hints(get_args(hint)[0]))
    return ()


def _called(name: str, positional: Sequence[str], args: Sequence[Any]) -> str:
    """Return what a message calls a function, a method or a constructor."""
    if positional[:1] not in (["self"], ["cls"]):
        return name
    owner = args[0] if isinstance(args[0], type) else type(args[0])
    return owner.__name__ if name == "__init__" else f"{owner.__name__}.{name}"


def _surplus(
    name: str,
    positional: Sequence[str],
    options: Iterable[str],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> str:
    """Say what was called with too many arguments by position, and what they seem to mean."""
    bound = int(positional[:1] in (["self"], ["cls"]))  # the object is not counted
    names = positional[bound:]
    count = f"{len(names)} positional argument{'' if len(names) == 1 else 's'}"
    takes = f"{_called(name, positional, args)} takes {count}"
    takes += f" ({', '.join(names)})" if names else ""
    surplus = args[len(positional) :]
    left = [option for option in options if option not in kwargs]
    if len(surplus) > len(left):
        return f"{takes}, got {len(args) - bound}"
    meant = [f"{option}={describe(v)}" for option, v in zip(left, surplus, strict=False)]
    return f"{takes}: give {', '.join(meant)} by name"
