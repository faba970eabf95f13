"""Operations: how one is declared, and what happens when it is called.

An operation is a forward function on arrays with its backward rules directly under it::

    @op
    def multiply(xp, x, y, /):
        return xp.multiply(x, y)

    @multiply.gradient("x")
    def _(g, y):
        return g * y

    @multiply.gradient("y")
    def _(g, x):
        return g * x

`xp` is the array module of the inputs (NumPy or CuPy). Parameters before the ``/`` (or a ``*xs``)
take arrays, those after it are options. A rule is given the gradient of the output, ``g``, and
*what its parameters name*: inputs, options, ``out``, the shape or device of an input (``x_shape``,
``x_device``), or a value that the forward keeps. Nothing else is saved until `backward`.

One rule can give the gradients of several inputs that have most of their work in common, and the
rule of a ``*xs`` gives that of every input. It returns a tuple; if it names ``wanted`` it is told
which of them are needed, and returns None for the others::

    @attention.joint_gradient("query", "key", "value")
    def _(g, query, key, value):
        ...
        return query_gradient, key_gradient, value_gradient

Rules are written in operators and operations, so they run on arrays for a first derivative and on
Tensors, recording, for higher ones. The backward pass undoes broadcasting (both ways: a rule may
return a gradient that still has to be broadcast to its input) and casts to the input's dtype.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
from collections.abc import Callable, Sequence
from operator import itemgetter
from types import FunctionType
from typing import Any, Concatenate, ParamSpec, overload

import numpy as np

from nn_tensor import _graph as graph
from nn_tensor._autocast import Precision, cast_inputs, parse_precision
from nn_tensor._bfloat16 import weak_floats
from nn_tensor._convert import as_input, as_output, shape_of
from nn_tensor._device import common_device_scope, device_of
from nn_tensor._dtype import is_bfloat16
from nn_tensor._errors import describe, explain
from nn_tensor._graph import Edge, Node, Variable, as_variable, new_variable, next_sequence
from nn_tensor._kernel import refuses_compiled_kernels
from nn_tensor._modes import AUTOCAST, CHECK, OBSERVE, RECORD, modes
from nn_tensor._observe import after_call
from nn_tensor._op_type import Decorator, Op
from nn_tensor._versions import versions

__all__ = ["Declaration", "Rule", "op"]

P = ParamSpec("P")
Values = tuple[Any, ...]
Selector = Callable[[Any], Values]

_ON_HOST = frozenset({np.ndarray, float, int, bool})
_EXPLAINED = (ValueError, TypeError, IndexError)
_new = object.__new__
_ndarray = np.ndarray


@dataclasses.dataclass(slots=True, eq=False)
class Rule:
    """A backward rule: how the gradient of the output becomes the gradients of inputs."""

    function: Callable[..., Any]
    needs: list[str]  # what it asks for, `wanted` aside
    save: Selector  # takes that from all values of a call, in the order of `Declaration.known`
    wrt: Sequence[str]
    inputs: Selector  # takes from all inputs those that it gives gradients of
    joint: bool  # it returns a tuple of gradients
    asks_wanted: bool

    @property
    def label(self) -> str:
        """Name the inputs that it gives gradients of."""
        return " and ".join(self.wrt)


class Declaration:
    """What is known of an operation: its forward, inputs, options, kept values and rules."""

    def __init__(self, forward: Any, keeps: Sequence[str], precision: Precision) -> None:
        self.name = forward.__name__.lstrip("_")
        self.precision = parse_precision(self.name, precision)
        self.forward = forward
        self.rules: list[Rule] = []
        self.x_rule: Rule | None = None  # of the first input, for the fast path
        self.y_rule: Rule | None = None
        self.fast_mode = RECORD  # the largest `modes.call` in which the fast path serves
        self.recompute: Rule | None = None
        signature = inspect.signature(forward)
        parameters = list(signature.parameters.values())[1:]
        self.signature = signature.replace(parameters=parameters)
        kinds = {p.kind for p in parameters}
        arrays = kinds & {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL}
        if len(arrays) != 1:
            raise TypeError(f"op {self.name}: inputs come after xp, before '/', or as one '*xs'")
        if inspect.Parameter.VAR_KEYWORD in kinds:
            raise TypeError(f"op {self.name}: options must have names of their own, not '**'")
        if isinstance(keeps, str):
            raise TypeError(f"op {self.name}: keeps: expected a tuple of names, got {keeps!r}")
        self.variadic = inspect.Parameter.VAR_POSITIONAL in kinds
        self.inputs = [p.name for p in parameters if p.kind in arrays]
        self.options = {p.name: p.default for p in parameters if p.kind not in arrays}
        self.keeps = tuple(keeps)
        self.known = ["out", *self.inputs, *self.options, *keeps]
        for name in self.known:
            if self.known.count(name) > 1 or name == "wanted":
                raise TypeError(f"op {self.name}: {name!r} means two things in a rule; rename it")

    def gradient(self, wrt: str) -> Decorator:
        return self._decorator((wrt,), self.variadic)

    def joint_gradient(self, *wrt: str) -> Decorator:
        return self._decorator(wrt, True)

    def _decorator(self, wrt: tuple[str, ...], joint: bool) -> Decorator:
        if not wrt or not set(wrt) <= set(self.inputs) or len(set(wrt)) < len(wrt):
            raise ValueError(f"op {self.name}: gradient: expected some of {self.inputs}, got {wrt}")

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            others = [r for r in self.rules if not set(r.wrt) & set(wrt)]
            self.rules = [*others, self._rule(function, wrt, joint)]
            self.rules.sort(key=lambda r: self.inputs.index(r.wrt[0]))
            self.fast_mode = -1 if any(r.joint for r in self.rules) else RECORD
            by_input = {r.wrt[0]: r for r in self.rules}
            self.x_rule, self.y_rule = map(by_input.get, (*self.inputs, "", "")[:2])
            return function

        return declare

    def kept(self, function: Callable[..., Any]) -> Callable[..., Any]:
        self.recompute = self._rule(function)
        return function

    def _rule(self, function: Any, wrt: tuple[str, ...] = (), joint: bool = False) -> Rule:
        if not isinstance(function, FunctionType):
            raise TypeError(f"op {self.name}: a rule must be a function, got {function!r}")
        needs = list(inspect.signature(function).parameters)
        if wrt:
            if not needs:
                raise TypeError(f"op {self.name}: the rule for {wrt} must take a gradient first")
            del needs[0]
            # a copy whose name in tracebacks and profiles says which rule it is
            name = f"gradient of {self.name} with respect to {' and '.join(wrt)}"
            code, scope = function.__code__.replace(co_name=name), function.__globals__
            defaults, closure = function.__defaults__, function.__closure__
            function = FunctionType(code, scope, name, defaults, closure)
        asks_wanted = joint and "wanted" in needs
        if asks_wanted:
            needs.remove("wanted")
        places = [self.inputs.index(name) for name in wrt]
        inputs: Selector = tuple if self.variadic else _selector(places)
        return Rule(function, needs, self._saver(needs), wrt, inputs, joint, asks_wanted)

    def _saver(self, names: list[str]) -> Selector:
        """Return the function that takes what `names` mean from all values of a call."""
        sources = [self._source(name) for name in names]
        take = _selector([place for place, _ in sources])
        derivations = [derive for _, derive in sources]
        if not any(derivations):
            return take
        return lambda values: tuple(
            [f(value) if f else value for f, value in zip(derivations, take(values), strict=True)]
        )

    def _source(self, name: str) -> tuple[int, Callable[[Any], Any] | None]:
        """Return the place of a known value, or that of which ``x_shape`` is computed, and how."""
        if name in self.known:
            return self.known.index(name), None
        stem, _, attribute = name.rpartition("_")
        if stem not in self.inputs or attribute not in ("shape", "device"):
            raise TypeError(f"op {self.name}: a rule asks for {name!r}, none of {self.known}")
        derive: Callable[[Any], Any] = shape_of if attribute == "shape" else device_of
        place = self.known.index(stem)
        return place, (lambda xs: tuple(map(derive, xs))) if self.variadic else derive

    def saved_as_variables(self, node: Node) -> tuple[Edge, ...]:
        """Return the edges of a node with variables, tied into the graph, for saved arrays."""
        edges = node.edges or ()
        parent_of: dict[str, Any] = {**dict.fromkeys([*self.inputs, *self.keeps]), "out": node}
        for rule, _, *parents in edges:
            parent_of.update(zip(rule.wrt, [parents] if self.variadic else parents, strict=True))
        kept: dict[str, Any] = {}

        def tied(name: str, value: Any) -> Any:
            if name in kept or name not in parent_of:
                return kept.get(name, value)
            parent = parent_of[name]
            if self.variadic and name in self.inputs:
                return tuple(map(as_variable, value, parent or itertools.repeat(None)))
            return as_variable(value, parent)

        if self.recompute is not None and node.recipe is not None:
            values = self.recompute.function(*map(tied, self.recompute.needs, node.recipe))
            values = self.checked("its function of kept values", values, 0)
            kept = dict(zip(self.keeps, values, strict=True))
        return tuple(
            (rule, tuple(map(tied, rule.needs, saved)), *parents) for rule, saved, *parents in edges
        )

    def checked(self, what: str, values: Any, further: int) -> Values:
        """Return what a function returned, a tuple of the kept values and `further`, or raise."""
        count = len(self.keeps) + further
        if not isinstance(values, tuple) or len(values) != count:
            raise TypeError(
                f"op {self.name}: {what} must return a tuple of {count} values, as "
                f"keeps={self.keeps} says, got {describe(values)}"
            )
        return values


def _selector(places: Sequence[int]) -> Selector:
    """Return the function that takes the values at some places, as a tuple."""
    if len(places) > 1:
        return itemgetter(*places)
    return itemgetter(slice(places[0], places[0] + 1) if places else slice(0))


@overload
def op(forward: Callable[Concatenate[Any, P], Any]) -> Op[P]: ...
@overload
def op(
    *, keeps: tuple[str, ...] = ..., precision: Precision = ...
) -> Callable[[Callable[Concatenate[Any, P], Any]], Op[P]]: ...
def op(forward: Any = None, *, keeps: tuple[str, ...] = (), precision: Precision = "same") -> Any:
    """Declare an operation from its forward function on arrays; see `nn_tensor.extend`.

    Args:
        forward: ``forward(xp, *inputs, /, **options)``; inputs come before the ``/``.
        keeps: names of values that the forward returns after its output for the rules to use.
            What follows smoothly from the inputs needs a `kept` function, which recomputes it
            with operations when a higher derivative asks; masks and indices are constants.
        precision: the treatment of float32 and half-precision inputs by `nn_tensor.autocast`:
            ``"low"`` casts them to half precision (matrix products), ``"full"`` to float32
            (exponentials, sums, losses), ``"same"`` leaves them.
    """
    if forward is None:
        return functools.partial(op, keeps=keeps, precision=precision)
    info = Declaration(forward, keeps, precision)
    apply = _callable(info)
    functools.update_wrapper(apply, forward)
    del apply.__wrapped__
    apply.__annotations__ = {k: v for k, v in forward.__annotations__.items() if k != "xp"}
    apply.__signature__ = info.signature
    apply.info, apply.kept = info, info.kept
    apply.gradient, apply.joint_gradient = info.gradient, info.joint_gradient
    return apply


def _callable(info: Declaration) -> Any:
    """Return the function that users call for an operation."""
    arity, forward = len(info.inputs), info.forward

    def general(*arguments: Any, **options: Any) -> Any:
        if len(arguments) == arity or info.variadic:
            return call(info, arguments, (), options)
        if len(arguments) < arity:
            raise TypeError(f"{info.name}: argument {info.inputs[len(arguments)]!r} is missing")
        return call(info, arguments[:arity], arguments[arity:], options)

    # The fast path: small networks are mostly made of operations on one or two arrays, whose
    # bookkeeping takes longer than their arithmetic. Through `call` alone a step of
    # benchmarks/small_operations.py takes a fifth longer.

    def unary(x: Any, /, **options: Any) -> Any:
        a = x._data if isinstance(x, Variable) else None
        mode = modes.call
        if type(a) is not _ndarray or mode > info.fast_mode or options:
            return call(info, (x,), (), options)
        try:
            out = forward(np, a)
        except _EXPLAINED as error:
            raise explain(info, (a,), error) from error
        if type(out) is not _ndarray:
            out = as_output(info.name, out)
        if x._requires_grad and mode and (rule := info.x_rule) is not None:
            known = (out, a)
            return _recorded(info, ((rule, rule.save(known), x._node or x),), known)
        return new_variable(out)

    def binary(x: Any, y: Any, /, **options: Any) -> Any:
        a = x._data if isinstance(x, Variable) else x
        b = y._data if isinstance(y, Variable) else y
        mode = modes.call
        if (type(a) is not _ndarray and type(a) not in _ON_HOST) or mode > info.fast_mode:
            return call(info, (x, y), (), options)
        if (type(b) is not _ndarray and type(b) not in _ON_HOST) or (a is x and b is y) or options:
            return call(info, (x, y), (), options)
        try:
            out = forward(np, a, b)
        except _EXPLAINED as error:
            raise explain(info, (a, b), error) from error
        if type(out) is not _ndarray:
            out = as_output(info.name, out)
        if mode:
            known = (out, a, b)
            edges: tuple[Edge, ...] = ()
            if a is not x and x._requires_grad and (rule := info.x_rule) is not None:
                edges = ((rule, rule.save(known), x._node or x),)
            if b is not y and y._requires_grad and (rule := info.y_rule) is not None:
                edges += ((rule, rule.save(known), y._node or y),)
            if edges:
                return _recorded(info, edges, known)
        return new_variable(out)

    if info.variadic or info.options or info.keeps or arity > 2:
        return general
    return unary if arity == 1 else binary


def call(info: Declaration, inputs: Values, given: Values, named: dict[str, Any]) -> Any:
    """Compute one operation, and record it if a variable among `inputs` requires a gradient."""
    mode = modes.call
    if mode & AUTOCAST:
        inputs = cast_inputs(info.precision, inputs)
    values: list[Any] = []
    variables = needs_grad = elsewhere = False
    for x in inputs:
        if isinstance(x, Variable):
            variables = True
            needs_grad = needs_grad or x._requires_grad
            x = x._data
        elif type(x) not in _ON_HOST:
            if refuses_compiled_kernels():  # a symbol, in a rule that is looked at
                out = info.forward(np, *inputs, *given, **named)
                return out[0] if info.keeps else out
            x = as_input(info, inputs, len(values))
        elsewhere = elsewhere or type(x) not in _ON_HOST
        values.append(x)
    try:
        if elsewhere:
            if float in map(type, values):
                values = weak_floats(values)
            with common_device_scope(values) as xp:
                out = info.forward(xp, *values, *given, **named)
        else:
            out = info.forward(np, *values, *given, **named)
    except _EXPLAINED as error:
        raise explain(info, values, error, given, named) from error
    kept: Sequence[Any] = ()
    if info.keeps:
        out, *kept = info.checked("its forward", out, 1)
    if not variables:
        return out
    if type(out) is not _ndarray:
        out = as_output(info.name, out)
    edges: tuple[Edge, ...] = ()
    if needs_grad and mode & RECORD:
        filled = {**info.options, **named} if named else info.options
        options = given + tuple(filled.values())[len(given) :]
        known = (out, *((tuple(values),) if info.variadic else values), *options, *kept)
        edges = _edges(info, inputs, known)
    result = _recorded(info, edges, known) if edges else new_variable(out)
    if mode & (CHECK | OBSERVE):
        after_call(mode, info, inputs, values, (given, named), (out, *kept), result)
    return result


def _edges(info: Declaration, inputs: Values, known: Values) -> tuple[Edge, ...]:
    """Return an edge for each rule with an input that requires a gradient."""
    parents = []
    for x in inputs:
        parents.append(x._parent() if isinstance(x, Variable) and x._requires_grad else None)
    edges: tuple[Edge, ...] = ()
    for rule in info.rules:
        chosen = rule.inputs(parents)
        if not {None}.issuperset(chosen):
            edges += ((rule, rule.save(known), *chosen),)
    return edges


def _recorded(info: Declaration, edges: tuple[Edge, ...], known: Values) -> Variable:
    """Return the output of a call as a variable with its place in the graph."""
    out, dtype = known[0], known[0].dtype
    if dtype.kind == "f" or is_bfloat16(dtype):
        node = _new(Node)
        node.op = info
        node.edges = edges
        node.sequence = next_sequence()
        node.shape = out.shape
        node.dtype = dtype
        node.version = versions.current
        node.recipe = info.recompute.save(known) if info.recompute is not None else None
        node._hooks = node.debug = None
        result = _new(graph.tensor_class)
        result._data = out
        result._node = node
        result._grad = result._hooks = None
        result._requires_grad = True
        return result
    if dtype.kind == "c":
        raise TypeError(
            f"{info.name}: the result is complex, and gradients are not defined through complex "
            "numbers here; use no_grad() or .detach()"
        )
    return new_variable(out)
