"""What happens when an operation is called: compute on the arrays, and record for `backward`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nn_tensor import _anomaly
from nn_tensor._autograd import Node, next_sequence, writes
from nn_tensor._device import device_of, device_scope, is_array, namespace_of, put
from nn_tensor._errors import describe, describe_call, explain
from nn_tensor._modes import modes
from nn_tensor._tensor import Tensor, array_from_python

if TYPE_CHECKING:
    from nn_tensor._op import OpInfo

__all__ = ["dispatcher"]

Array = Any

_SCALARS = frozenset({float, int, bool})
_EXPLAINED = (ValueError, TypeError, IndexError)
_new = object.__new__
_ndarray = np.ndarray


def dispatcher(info: OpInfo) -> Callable[..., Any]:
    """Return the function that users call for an operation."""
    if info.variadic:
        return _variadic(info)
    if info.options or info.keeps or len(info.inputs) > 2:
        return _fixed(info)
    return _unary(info) if len(info.inputs) == 1 else _binary(info)


def _variadic(info: OpInfo) -> Callable[..., Any]:
    def apply(*inputs: Any, **named: Any) -> Any:
        return call(info, inputs, info.bind((), named))

    return apply


def _fixed(info: OpInfo) -> Callable[..., Any]:
    arity = len(info.inputs)
    bind = info.bind

    def apply(*arguments: Any, **named: Any) -> Any:
        if len(arguments) < arity:
            missing = info.inputs[len(arguments)]
            raise TypeError(f"{info.name}: argument {missing!r} is missing")
        return call(info, arguments[:arity], bind(arguments[arity:], named))

    return apply


# The next two are `call` written out for the operations that programs are mostly made of, one or
# two inputs without options, where the bookkeeping would cost more than the arithmetic.


def _unary(info: OpInfo) -> Callable[..., Any]:
    forward, rules = info.forward, info.rules

    def apply(x: Any, /) -> Any:
        if type(x) is not Tensor or type(x._data) is not _ndarray or modes.anomaly:
            return call(info, (x,), ())
        a = x._data
        try:
            out = forward(np, a)
        except _EXPLAINED as error:
            raise explain(info, [a], (), error) from error
        if type(out) is not _ndarray:
            out = _as_output(info, out)
        result = _new(Tensor)
        result._data = out
        result._grad = result._hooks = None
        if x._requires_grad and modes.grad and rules and out.dtype.kind == "f":
            rule = rules[0]
            parent = x._node
            result._node = _node(
                info, ((0, x if parent is None else parent, rule, rule.pick(0, out, a)),), out
            )
            result._requires_grad = True
        else:
            result._node = None
            result._requires_grad = False
        return result

    return apply


def _binary(info: OpInfo) -> Callable[..., Any]:
    forward, rules = info.forward, info.rules

    def apply(x: Any, y: Any, /) -> Any:
        if type(x) is Tensor:
            a = x._data
            b = y._data if type(y) is Tensor else y
        elif type(y) is Tensor:
            a, b = x, y._data
        else:
            return call(info, (x, y), ())
        if (
            (type(a) is not _ndarray and type(a) not in _SCALARS)
            or (type(b) is not _ndarray and type(b) not in _SCALARS)
            or modes.anomaly
        ):
            return call(info, (x, y), ())
        try:
            out = forward(np, a, b)
        except _EXPLAINED as error:
            raise explain(info, [a, b], (), error) from error
        if type(out) is not _ndarray:
            out = _as_output(info, out)
        result = _new(Tensor)
        result._data = out
        result._node = result._grad = result._hooks = None
        result._requires_grad = False
        x_needs = type(x) is Tensor and x._requires_grad
        y_needs = type(y) is Tensor and y._requires_grad
        if (x_needs or y_needs) and modes.grad and rules:
            if out.dtype.kind != "f":
                return call(info, (x, y), ())
            edges: tuple[Any, ...] = ()
            if x_needs and 0 in rules:
                rule = rules[0]
                parent = x._node
                edges = ((0, x if parent is None else parent, rule, rule.pick(0, out, a, b)),)
            if y_needs and 1 in rules:
                rule = rules[1]
                parent = y._node
                edges += ((1, y if parent is None else parent, rule, rule.pick(1, out, a, b)),)
            if edges:
                result._node = _node(info, edges, out)
                result._requires_grad = True
        return result

    return apply


def call(info: OpInfo, inputs: tuple[Any, ...], options: tuple[Any, ...]) -> Any:
    """Compute one operation, and record it if a Tensor among `inputs` requires a gradient."""
    values: list[Any] = []
    tensors = needs_grad = elsewhere = False
    for x in inputs:
        if isinstance(x, Tensor):
            tensors = True
            if x._requires_grad:
                needs_grad = True
            x = x._data
        elif type(x) not in _SCALARS and not is_array(x):
            x = _convert(info, inputs, len(values))
        values.append(x)
        if type(x) is not _ndarray:
            elsewhere = True
    try:
        if elsewhere:
            out = _call_elsewhere(info, values, options)
        else:
            out = info.forward(np, *values, *options)
    except _EXPLAINED as error:
        raise explain(info, values, options, error) from error
    kept: Any = ()
    if info.keeps:
        if not isinstance(out, tuple) or len(out) != 1 + len(info.keeps):
            raise info.wrong_tuple("its forward", 1 + len(info.keeps), out)
        out, *kept = out
    if not tensors:
        return out
    if type(out) is not _ndarray:
        out = _as_output(info, out)
    result = _new(Tensor)
    result._data = out
    result._node = result._grad = result._hooks = None
    result._requires_grad = False
    if needs_grad and modes.grad and info.rules:
        if out.dtype.kind == "c":
            raise TypeError(
                f"{describe_call(info, values, options)}: the result is complex, and gradients "
                "are not defined through complex numbers here; use no_grad() or .detach()"
            )
        if out.dtype.kind == "f":
            _record(info, inputs, values, options, kept, result)
    if modes.anomaly:
        _inspect(info, values, options, result)
    return result


def _convert(info: OpInfo, inputs: tuple[Any, ...], position: int) -> Array:
    """Return an input of Python values as an array; its floats are in the dtype of the others."""
    if modes.grad and _holds_recorded(inputs[position]):
        raise TypeError(
            f"{info.name}: a list of Tensors that require gradients is not recorded; use stack"
        )
    dtypes = [x.dtype for x in inputs if hasattr(x, "dtype") and x.dtype.kind == "f"]
    try:
        array = array_from_python(inputs[position], *dtypes[:1])
    except (TypeError, ValueError) as error:
        name = f"xs[{position}]" if info.variadic else info.inputs[position]
        raise type(error)(f"{info.name}: {name}: {error}") from None
    if isinstance(inputs[position], (list, tuple)):  # which has no place of its own
        places = [y for y in (getattr(x, "_data", x) for x in inputs) if is_array(y)]
        return put(array, device_of(places[0])) if places else array
    return array


def _holds_recorded(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_recorded, value))
    return isinstance(value, Tensor) and value._requires_grad


def _as_output(info: OpInfo, out: Any) -> Array:
    """Return what a forward returned as an array, or raise if it is none."""
    if isinstance(out, (np.generic, _ndarray, float, int)):
        return np.asarray(out)
    if is_array(out):
        return out
    raise TypeError(f"op {info.name}: its forward must return an array, got {describe(out)}")


def _record(
    info: OpInfo,
    inputs: tuple[Any, ...],
    values: list[Any],
    options: tuple[Any, ...],
    kept: tuple[Any, ...],
    result: Tensor,
) -> None:
    arguments = [tuple(values)] if info.variadic else values
    edges = []
    for position, x in enumerate(inputs):
        if isinstance(x, Tensor) and x._requires_grad:
            rule = info.rules.get(0 if info.variadic else position)
            if rule is not None:
                saved = rule.pick(position, result._data, *arguments, *options, *kept)
                edges.append((position, x._edge(), rule, saved))
    if not edges:
        return
    result._node = node = _node(info, tuple(edges), result._data)
    result._requires_grad = True
    if info.recompute is not None:
        node.recipe = info.recompute.pick(0, result._data, *arguments, *options, *kept)


def _node(info: OpInfo, edges: tuple[Any, ...], out: Array) -> Node:
    node = _new(Node)
    node.op = info
    node.edges = edges
    node.sequence = next_sequence()
    node.shape = out.shape
    node.dtype = out.dtype
    node.clock = writes.clock
    node.recipe = node.hooks = node.debug = None
    return node


def _call_elsewhere(info: OpInfo, values: list[Any], options: tuple[Any, ...]) -> Any:
    """Compute where an input is not a NumPy array: a Python number, or an array on a device."""
    # NumPy's scalars are values and not places: they combine with arrays on any device
    arrays = [v for v in values if is_array(v) and not isinstance(v, np.generic)]
    if not arrays:
        return info.forward(np, *values, *options)
    first = arrays[0]
    for other in arrays[1:]:
        if device_of(other) != device_of(first):
            raise ValueError(
                f"the inputs are on different devices, {device_of(first)!s} and "
                f"{device_of(other)!s}; move one with .to(...)"
            )
    if isinstance(first, _ndarray):
        return info.forward(np, *values, *options)
    with device_scope(first):
        return info.forward(namespace_of(first), *values, *options)


def _inspect(info: OpInfo, values: list[Any], options: tuple[Any, ...], result: Tensor) -> None:
    description = describe_call(info, values, options)
    if _anomaly.has_nan(result._data) and not any(map(_anomaly.has_nan, values)):
        raise FloatingPointError(
            f"{description} made NaN of inputs without one, called at {_anomaly.caller()}"
        )
    if isinstance(result._node, Node):
        result._node.debug = _anomaly.Origin(result._node, description)
