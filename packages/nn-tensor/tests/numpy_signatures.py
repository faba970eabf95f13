"""Compare the functions of nn_tensor that have NumPy's names with NumPy's own signatures.

Run as a program it prints the comparison: one line for each parameter of NumPy's.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import nn_tensor
import numpy as np
from nn_tensor import Tensor

__all__ = ["EXPLAINED", "Comparison", "compared_functions", "comparisons"]

Function = Callable[..., Any]

# What NumPy's ufuncs have beside their inputs; each is refused by name.
_UFUNC_OPTIONS = ("out", "where", "casting", "order", "dtype", "subok", "signature")

_FLOAT32 = "Tensors are float32 unless said otherwise (DESIGN, dtype)"
_SIZES = "sizes are given one by one as well, as in PyTorch; a shape in a tuple comes first"

EXPLAINED: dict[tuple[str, str], str] = {
    **{(name, "shape"): _SIZES for name in ("zeros", "ones", "empty")},
    **{(name, "dtype"): _SIZES + "; " + _FLOAT32 for name in ("zeros", "ones", "empty")},
    ("rand", "args"): "sizes, as here",
    ("randn", "args"): "sizes, as here",
    ("einsum", "operands"): "the subscripts come first, as a string; lists of axes are refused",
    ("clip", "kwargs"): "the options of ufuncs, each refused by name",
    ("pad", "kwargs"): "constant_values; the others belong to modes that are refused",
    ("arange", "start_or_stop"): "start, or stop where it is the only one",
}
"""Parameters of NumPy's that have no namesake at the same place, each with the reason."""


@dataclass(frozen=True)
class Comparison:
    """One parameter of one of NumPy's functions, and what the function here does with it."""

    function: str
    parameter: str
    status: str  # "array", "accepted", "by name", "refused", "explained" or "unexplained"
    note: str = ""

    def __str__(self) -> str:
        return f"{self.function:24} {self.parameter:20} {self.status:12} {self.note}".rstrip()


def compared_functions() -> Iterator[tuple[str, Function, Function]]:
    """Yield name, function here and function of NumPy."""
    for name in sorted(nn_tensor.__all__):
        for module in (np, np.random):
            theirs = getattr(module, name, None)
            if callable(theirs):
                yield name, getattr(nn_tensor, name), theirs
                break
    for name in sorted(nn_tensor.linalg.__all__):
        yield f"linalg.{name}", getattr(nn_tensor.linalg, name), getattr(np.linalg, name)


def _parameters(function: Function) -> list[tuple[str, bool]]:
    """Return the name of each parameter, and whether it may be given by position."""
    if isinstance(function, np.ufunc):
        inputs = [(f"x{i}", True) for i in range(function.nin)]
        return [*inputs, *((name, False) for name in _UFUNC_OPTIONS)]
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return _documented_parameters(function)
    return [(p.name, p.kind is not p.KEYWORD_ONLY) for p in found]


def _documented_parameters(function: Function) -> list[tuple[str, bool]]:
    """Read the parameters of a built-in function from the first lines of its docstring."""
    text = (function.__doc__ or "").partition(")\n")[0].partition("(")[2]
    text = re.sub(r"\((\w+), \.\.\.\)|\((\w+), \w+, \.\.\.\)", "arrays", text)
    parameters, positional = [], True
    for part in re.sub(r"[\[\]]", "", text).split(","):
        name = part.partition("=")[0].strip()
        if name == "*":
            positional = False
        elif re.fullmatch(r"\w+", name):
            parameters.append((name, positional))
    if not parameters:
        raise ValueError(f"{function}: its docstring does not tell its parameters")
    return parameters


def _arrays(function: Function) -> int:
    """Return how many parameters are positional-only here: those that take arrays."""
    return sum(
        p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)
        for p in inspect.signature(function).parameters.values()
    )


def comparisons() -> list[Comparison]:
    """Return a comparison for every parameter of every function that both have."""
    return [c for name, ours, theirs in compared_functions() for c in _compare(name, ours, theirs)]


def _compare(name: str, ours: Function, theirs: Function) -> Iterator[Comparison]:
    own = list(inspect.signature(ours).parameters.values())
    arrays = _arrays(ours)
    places = [p.name for p in own if p.kind is not p.KEYWORD_ONLY]
    names = {p.name for p in own if p.kind not in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)}
    # what is annotated as None is there to be refused with its name and the cure
    refused = {p.name for p in own if p.annotation == "None"}
    for place, (parameter, positional) in enumerate(_parameters(theirs)):
        if (name, parameter) in EXPLAINED:
            yield Comparison(name, parameter, "explained", EXPLAINED[name, parameter])
        elif place < arrays and (positional or isinstance(theirs, np.ufunc)):
            yield Comparison(name, parameter, "array", "positional")
        elif parameter in names and positional and places[place : place + 1] == [parameter]:
            status = "refused" if parameter in refused else "accepted"
            yield Comparison(name, parameter, status)
        elif parameter in names:
            # a further one by position is refused, never taken for something else
            late = positional and len(places) > place
            yield Comparison(
                name,
                parameter,
                "unexplained" if late else "by name",
                f"is {places[place]} by position" if late else "",
            )
        else:
            message = _refusal(ours, parameter)
            status = "refused" if parameter in message else "unexplained"
            yield Comparison(name, parameter, status, message)


def _refusal(function: Function, parameter: str) -> str:
    """Return the message of the TypeError for an argument of that name."""
    inputs = [
        Tensor(np.eye(2))
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.POSITIONAL_ONLY and p.default is p.empty
    ]
    for given in (inputs, [], [Tensor(np.eye(2))]):
        try:
            function(*given, **{parameter: object()})
        except TypeError as error:
            if parameter in str(error):
                return str(error)
        except (ValueError, IndexError):
            continue
    return "is not refused by name"


if __name__ == "__main__":
    print(f"NumPy {np.__version__}")
    print(*comparisons(), sep="\n")
