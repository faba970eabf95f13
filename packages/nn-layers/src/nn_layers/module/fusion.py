"""Fusion: consecutive layers of a `Sequential` that are computed as one operation.

`fuses` declares what layers of certain classes compute together. The table is in
`nn_layers.layers.fused`; it holds for exactly these classes, and as long as nothing can see what
passes between the layers: no `forward` of an instance or of a class has been replaced, and
`detect_anomaly` is off.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from nn_tensor.extend import is_anomaly_detected

from nn_layers.module.base_layer import Base_Layer

__all__ = ["apply_in_sequence", "fuses"]

_Function = Callable[..., Any]


class _Fusion(NamedTuple):
    """What layers of consecutive classes compute together."""

    classes: tuple[type, ...]
    forwards: tuple[_Function, ...]  # of the classes, which a program may replace
    function: _Function


class _Step(NamedTuple):
    """Consecutive layers, and what computes them together, if anything does."""

    start: int
    stop: int
    fusion: _Fusion | None


_fusions: list[_Fusion] = []
_call = Base_Layer.__call__


def fuses(*classes: type) -> Callable[[_Function], _Function]:
    """Declare the decorated function as what consecutive layers of some classes compute.

    It is called with the layers and the input of the first. It returns the output of the last, or
    NotImplemented, also by raising an exception: then the layers are called one after the other,
    and say what is wrong.
    """

    def declare(function: _Function) -> _Function:
        forwards = tuple(kind.forward for kind in classes)  # type: ignore[attr-defined]
        _fusions.append(_Fusion(classes, forwards, function))
        _fusions.sort(key=lambda fusion: -len(fusion.classes))
        return function

    return declare


@lru_cache(256)
def _plan(classes: tuple[type, ...]) -> tuple[_Step, ...]:
    """Return the steps for layers of these classes, with the longest fusion at each position."""
    steps, start = [], 0
    while start < len(classes):
        found = [f for f in _fusions if classes[start : start + len(f.classes)] == f.classes]
        stop = start + len(found[0].classes) if found else start + 1
        steps.append(_Step(start, stop, found[0] if found else None))
        start = stop
    return tuple(steps)


def apply_in_sequence(layers: list[Any], x: Any) -> Any:
    """Return what the layers compute one after the other, some of them together."""
    if is_anomaly_detected() or Base_Layer.__call__ is not _call:
        for layer in layers:
            x = layer(x)
        return x
    for start, stop, fusion in _plan(tuple(map(type, layers))):
        if fusion is None:
            x = layers[start](x)
        else:
            result = _fused(fusion, layers[start:stop], x)
            if result is NotImplemented:  # then perhaps those after the first are
                result = apply_in_sequence(layers[start + 1 : stop], layers[start](x))
            x = result
    return x


def _fused(fusion: _Fusion, layers: list[Any], x: Any) -> Any:
    """Return what layers compute together, NotImplemented if they do not, or something watches."""
    for kind, forward in zip(fusion.classes, fusion.forwards):  # noqa: B905 - it takes time
        if kind.forward is not forward:  # type: ignore[attr-defined]
            return NotImplemented
    for layer in layers:
        if "forward" in layer.__dict__:
            return NotImplemented
    try:
        return fusion.function(*layers, x)
    except Exception:  # the layers raise it again, with the name of the one that it is of
        return NotImplemented
