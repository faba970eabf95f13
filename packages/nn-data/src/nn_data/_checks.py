"""Argument checks: the same mistake reads the same everywhere.

nn-data needs NumPy alone, so it carries these few itself; they read as those of nn-tensor.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import operator
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from nn_data._elsewhere import keyword_hint

__all__ = [
    "check_bool",
    "check_choice",
    "check_integer",
    "check_number",
    "check_probability",
    "check_size",
    "check_value",
    "distinct",
    "keyword_only",
]

P = ParamSpec("P")
T = TypeVar("T")


def check_integer(
    name: str, value: Any, minimum: int | None = None, maximum: int | None = None
) -> int:
    """Return `value` as an int between `minimum` and `maximum`, both included.

    Raises:
        TypeError: if it is not an integer; booleans are not.
        ValueError: if it is out of range.

    >>> check_integer("batch_size", 0, minimum=1)
    Traceback (most recent call last):
        ...
    ValueError: batch_size: expected an integer >= 1, got 0
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
    name: str, value: Any, minimum: float | None = None, maximum: float | None = None
) -> float:
    """Return `value` as a finite float between `minimum` and `maximum`, both included.

    Raises:
        TypeError: if it is not a real number; booleans are not.
        ValueError: if it is NaN, infinite or out of range.

    >>> check_number("alpha", -1, minimum=0)
    Traceback (most recent call last):
        ...
    ValueError: alpha: expected a finite number >= 0, got -1
    """
    expected = "a finite number" + _range(minimum, maximum)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected {expected}, got {value!r}")
    number = float(value)
    inside = (minimum is None or number >= minimum) and (maximum is None or number <= maximum)
    if not (math.isfinite(number) and inside):
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return number


def _range(minimum: float | None, maximum: float | None) -> str:
    parts = [f"{sign} {b:g}" for sign, b in ((">=", minimum), ("<=", maximum)) if b is not None]
    return f" {' and '.join(parts)}" if parts else ""


def check_probability(name: str, value: Any) -> float:
    """Return `value` as a float from 0 to 1, both included.

    Raises:
        TypeError: if it is not a real number.
        ValueError: if it is outside [0, 1] or NaN.

    >>> check_probability("p", 0.5)
    0.5
    """
    return check_number(name, value, 0, 1)


def check_value(name: str, value: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `value` as an array without dimensions, of a dtype that has such a value.

    Floating values are rounded.

    Raises:
        ValueError: if the dtype cannot represent it, such as 300 in uint8.

    >>> check_value("value", -1, np.dtype("uint8"))
    Traceback (most recent call last):
        ...
    ValueError: value: -1 is not a value of uint8
    """
    try:
        with np.errstate(invalid="ignore"):
            converted = np.asarray(value).astype(dtype)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: {value!r} is not a value of {dtype}") from None
    # NaN is the only one that differs from itself.
    is_nan = value != value
    if (is_nan and dtype.kind not in "fc") or (converted != value and not is_nan):
        raise ValueError(f"{name}: {value!r} is not a value of {dtype}")
    return converted


def distinct(name: str, labels: Any) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the different labels, sorted, and for each label its index among them.

    Raises:
        TypeError: for labels that cannot be sorted.

    >>> distinct("labels", ["b", "a", "b"])
    (array(['a', 'b'], dtype='<U1'), array([1, 0, 1]))
    """
    try:
        found, inverse = np.unique(np.asarray(labels), return_inverse=True)
    except TypeError as error:
        raise TypeError(f"{name}: expected labels of one kind, such as strings: {error}") from None
    return found, inverse


def check_size(name: str, value: Any) -> tuple[int, int]:
    """Return (height, width), both positive, of such a pair or of one number for both.

    Raises:
        TypeError: if it is neither.
        ValueError: if one is not positive, or there are not two.

    >>> check_size("size", 3)
    (3, 3)
    """
    if not isinstance(value, (tuple, list)):
        value = value, value
    if len(value) != 2:
        raise ValueError(f"{name}: expected (height, width), or one number, got {value!r}")
    return check_integer(name, value[0], 1), check_integer(name, value[1], 1)


def check_bool(name: str, value: Any) -> bool:
    """Return `value` as a bool.

    Raises:
        TypeError: if it is neither True nor False.

    >>> check_bool("shuffle", True)
    True
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Return `value` if it is one of the strings `choices`.

    Raises:
        ValueError: if it is not.

    >>> check_choice("side", "middle", ("left", "right"))
    Traceback (most recent call last):
        ...
    ValueError: side: expected one of 'left', 'right', got 'middle'
    """
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, known))}, got {value!r}")
    return value


def keyword_only(function: Callable[P, T]) -> Callable[P, T]:
    """Name the option that was meant when it is given by position, or by a similar name.

    For constructors whose options follow a ``*``. The signature stays what it is.

    >>> class Sampler:
    ...     @keyword_only
    ...     def __init__(self, lengths, *, shuffle=True):
    ...         self.lengths = lengths
    >>> Sampler([3, 4], False)
    Traceback (most recent call last):
        ...
    TypeError: Sampler takes 1 positional argument (lengths): give shuffle=False by name
    >>> Sampler([3, 4], shuffled=False)
    Traceback (most recent call last):
        ...
    TypeError: Sampler has no argument shuffled: did you mean shuffle?
    """
    parameters = list(inspect.signature(function).parameters.values())
    positional = [
        p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    options = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    known = [*positional, *options]

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        is_method = positional[:1] == ["self"]
        owner = type(args[0]).__name__ if is_method else function.__name__
        unknown = next((name for name in kwargs if name not in known), None)
        if unknown is not None:
            close = difflib.get_close_matches(unknown, known, n=1)
            hint = f": did you mean {close[0]}?" if close else ""
            hint = keyword_hint(unknown, known) or hint
            raise TypeError(f"{owner} has no argument {unknown}{hint}")
        surplus = args[len(positional) :]
        if surplus:
            names = positional[1:] if is_method else positional
            meant = [f"{o}={v!r}" for o, v in zip(options, surplus, strict=False)]
            cure = f"give {', '.join(meant)} by name" if meant else f"got {len(surplus)} more"
            count = f"{len(names)} positional argument{'' if len(names) == 1 else 's'}"
            raise TypeError(f"{owner} takes {count} ({', '.join(names)}): {cure}")
        return function(*args, **kwargs)

    return checked
