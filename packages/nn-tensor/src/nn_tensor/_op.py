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

import functools
import inspect
from collections.abc import Callable, Sequence
from operator import itemgetter
from types import FunctionType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, overload

import numpy as np

from nn_tensor._anomaly import check_result
from nn_tensor._convert import as_input, as_output
from nn_tensor._device import common_device_scope, device_of, namespace_of
from nn_tensor._errors import describe, describe_call, explain
from nn_tensor._graph import (
    Edge,
    Node,
    Variable,
    as_variable,
    new_variable,
    next_sequence,
    parents_of,
)
from nn_tensor._modes import CHECK, RECORD, modes
from nn_tensor._versions import versions

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

__all__ = ["Declaration", "Op", "Rule", "array_module", "op", "shape_of"]

P = ParamSpec("P")
Q = ParamSpec("Q")
Values = tuple[Any, ...]
Options = dict[str, Any]
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_SCALARS = frozenset({float, int, bool})
_EXPLAINED = (ValueError, TypeError, IndexError)
_NO_OPTIONS: Options = {}
_new = object.__new__
_ndarray = np.ndarray


class Rule:
    """A backward rule: how the gradient of the output becomes the gradients of inputs.

    `save` takes from all values of a call, in the order of `Declaration.known`, those that the
    rule's parameters name.
    """

    __slots__ = ("function", "joint", "label", "needs", "positions", "save")

    def __init__(self, function: Any, info: Declaration, wrt: Sequence[str], joint: bool) -> None:
        if not isinstance(function, FunctionType):
            raise TypeError(f"op {info.name}: a rule must be a function, got {function!r}")
        self.joint = joint
        self.label = " and ".join(wrt)
        self.positions = tuple(map(info.inputs.index, wrt))
        self.needs = list(inspect.signature(function).parameters)
        if wrt:
            if not self.needs:
                raise TypeError(f"op {info.name}: the rule for {wrt} must take a gradient first")
            del self.needs[0]
            # a copy whose name in tracebacks and profiles says which rule it is
            name = f"gradient of {info.name} with respect to {self.label}"
            code, scope = function.__code__.replace(co_name=name), function.__globals__
            defaults, closure = function.__defaults__, function.__closure__
            function = FunctionType(code, scope, name, defaults, closure)
        self.function = function
        self.save = info.selector(self.needs, joint)


class Declaration:
    """What is known of an operation: its forward, inputs, options, kept values and rules."""

    def __init__(self, forward: Callable[..., Any], keeps: Sequence[str]) -> None:
        self.name = forward.__name__.lstrip("_")
        self.forward = forward
        self.rules: list[Rule] = []
        self.x_rule: Rule | None = None
        self.y_rule: Rule | None = None
        self.joint = False  # whether a rule is
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
        self.defaults = tuple(self.options.values())
        self.keeps = tuple(keeps)
        self.known = ["out", *self.inputs, *self.options, *keeps]
        for name in self.known:
            if self.known.count(name) > 1 or name == "wanted":
                raise TypeError(
                    f"op {self.name}: {name!r} would mean two things in a rule; choose another name"
                )

    def selector(self, names: list[str], joint: bool) -> Callable[[Values], Values]:
        """Return the function that takes what `names` mean from all values of a call."""
        known = [*self.known, "wanted"] if joint else self.known
        derived = [self._derived(name) for name in names if name not in known]
        known = [*known, *(name for name in names if name not in known)]
        places = [known.index(name) for name in names]
        if len(places) > 1:
            select: Any = itemgetter(*places)
        else:  # a slice, since a single index would give no tuple
            select = itemgetter(slice(places[0], places[0] + 1) if places else slice(0))

        def derive_and_select(values: Values) -> Values:
            for place, derive in derived:
                values += (derive(values[place]),)
            return select(values)

        return derive_and_select if derived else select

    def _derived(self, name: str) -> tuple[int, Callable[[Any], Any]]:
        """Return of which known value, and how, ``x_shape`` or ``x_device`` is computed."""
        stem, _, attribute = name.rpartition("_")
        if stem not in self.inputs or attribute not in ("shape", "device"):
            raise TypeError(
                f"op {self.name}: a rule asks for {name!r}, which is none of {self.known}"
            )
        derive: Callable[[Any], Any] = shape_of if attribute == "shape" else device_of
        place = self.known.index(stem)
        return place, (lambda xs: tuple(map(derive, xs))) if self.variadic else derive

    def gradient(self, wrt: str) -> Decorator:
        return self._decorator((wrt,), self.variadic)

    def joint_gradient(self, *wrt: str) -> Decorator:
        return self._decorator(wrt, True)

    def kept(self, function: Callable[..., Any]) -> Callable[..., Any]:
        self.recompute = Rule(function, self, (), False)
        return function

    def _decorator(self, wrt: tuple[str, ...], joint: bool) -> Decorator:
        if not wrt or not set(wrt) <= set(self.inputs) or len(set(wrt)) < len(wrt):
            raise ValueError(
                f"op {self.name}: gradient: expected names among {self.inputs}, got {wrt}"
            )

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            rule = Rule(function, self, wrt, joint)
            others = [r for r in self.rules if not set(r.positions) & set(rule.positions)]
            self.rules = sorted([*others, rule], key=lambda r: r.positions)
            self.joint = any(r.joint for r in self.rules)
            first = {r.positions[0]: r for r in self.rules}
            self.x_rule, self.y_rule = first.get(0), first.get(1)
            return function

        return declare

    def saved_as_variables(self, node: Node) -> tuple[Edge, ...]:
        """Return the edges of a node with variables, tied into the graph, for saved arrays."""
        edges = node.edges or ()
        parent_of: dict[int, Any] = {}
        for edge in edges:
            parents = parents_of(edge)
            positions = range(len(parents)) if self.variadic else edge[0].positions
            parent_of.update(zip(positions, parents, strict=True))
        kept: Options = {}

        def tied(name: str, value: Any) -> Any:
            if name in kept:
                return kept[name]
            if name == "out":
                return as_variable(value, node)
            if name in self.inputs and self.variadic:
                return tuple(as_variable(x, parent_of.get(i)) for i, x in enumerate(value))
            if name in self.inputs:
                return as_variable(value, parent_of.get(self.inputs.index(name)))
            return as_variable(value, None) if name in self.keeps else value

        def saved_of(rule: Rule, saved: Values) -> Values:
            return tuple(map(tied, rule.needs, saved))

        if self.recompute is not None and node.recipe is not None:
            values = self.recompute.function(*saved_of(self.recompute, node.recipe))
            values = self.checked("its function of kept values", values, 0)
            kept = dict(zip(self.keeps, values, strict=True))
        return tuple((rule, parent, saved_of(rule, saved)) for rule, parent, saved in edges)

    def checked(self, what: str, values: Any, further: int) -> Values:
        """Return what a function returned, a tuple of the kept values and `further`, or raise."""
        count = len(self.keeps) + further
        if not isinstance(values, tuple) or len(values) != count:
            raise TypeError(
                f"op {self.name}: {what} must return a tuple of {count} values, as "
                f"keeps={self.keeps} says, got {describe(values)}"
            )
        return values


class Op(Protocol[P]):
    """An operation: a function of Tensors or arrays, to which rules are added by `gradient`."""

    info: Declaration

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        """Compute on Tensors and record, or on arrays."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Op[P]: ...
    @overload
    def __get__(
        self: Op[Concatenate[Any, Q]], instance: object, owner: Any
    ) -> Callable[Q, Tensor]: ...

    def gradient(self, wrt: str) -> Decorator:
        """Declare the decorated function as the rule for one input, or for all of a ``*xs``."""

    def joint_gradient(self, *wrt: str) -> Decorator:
        """Declare the decorated function as one rule that returns a tuple: a gradient for each."""

    def kept(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Declare how the kept values follow from inputs, options and ``out``."""


@overload
def op(forward: Callable[Concatenate[Any, P], Any]) -> Op[P]: ...
@overload
def op(*, keeps: tuple[str, ...]) -> Callable[[Callable[Concatenate[Any, P], Any]], Op[P]]: ...
def op(forward: Any = None, *, keeps: tuple[str, ...] = ()) -> Any:
    """Declare an operation from its forward function on arrays; see `nn_tensor.extend`.

    Args:
        forward: ``forward(xp, *inputs, /, **options)``; inputs come before the ``/``.
        keeps: names of values that the forward returns after its output for the rules to use.
            What follows smoothly from the inputs needs a `kept` function, which recomputes it
            with operations when a higher derivative asks; masks and indices are constants.
    """
    if forward is None:
        return functools.partial(op, keeps=keeps)
    info = Declaration(forward, keeps)
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
    arity = len(info.inputs)

    def variadic(*inputs: Any, **options: Any) -> Any:
        return call(info, inputs, (), options)

    def general(*arguments: Any, **options: Any) -> Any:
        if len(arguments) == arity:
            return call(info, arguments, (), options)
        if len(arguments) < arity:
            raise TypeError(f"{info.name}: argument {info.inputs[len(arguments)]!r} is missing")
        return call(info, arguments[:arity], arguments[arity:], options)

    # The fast path: small networks are mostly made of operations on one or two arrays, whose
    # bookkeeping takes longer than their arithmetic. Through `call` alone a step of
    # benchmarks/small_operations.py takes a fifth longer.

    def unary(x: Any, /) -> Any:
        a = x._data if isinstance(x, Variable) else None
        mode = modes.call
        if type(a) is not _ndarray or mode > RECORD or info.joint:
            return call(info, (x,))
        try:
            out = info.forward(np, a)
        except _EXPLAINED as error:
            raise explain(info, (a,), error) from error
        if type(out) is not _ndarray:
            out = as_output(info.name, out)
        if x._requires_grad and mode and (rule := info.x_rule) is not None:
            known, node = (out, a), x._node
            edge = (rule, x if node is None else node, rule.save(known))
            return _recorded(info, (edge,), known)
        return new_variable(out)

    def binary(x: Any, y: Any, /) -> Any:
        a = x._data if isinstance(x, Variable) else x
        b = y._data if isinstance(y, Variable) else y
        mode = modes.call
        if (
            (type(a) is not _ndarray and type(a) not in _SCALARS)
            or (type(b) is not _ndarray and type(b) not in _SCALARS)
            or (a is x and b is y)
            or mode > RECORD
            or info.joint
        ):
            return call(info, (x, y))
        try:
            out = info.forward(np, a, b)
        except _EXPLAINED as error:
            raise explain(info, (a, b), error) from error
        if type(out) is not _ndarray:
            out = as_output(info.name, out)
        if mode:
            known = (out, a, b)
            edges: tuple[Edge, ...] = ()
            if a is not x and x._requires_grad and (rule := info.x_rule) is not None:
                node = x._node
                edges = ((rule, x if node is None else node, rule.save(known)),)
            if b is not y and y._requires_grad and (rule := info.y_rule) is not None:
                node = y._node
                edges += ((rule, y if node is None else node, rule.save(known)),)
            if edges:
                return _recorded(info, edges, known)
        return new_variable(out)

    if info.variadic:
        return variadic
    if info.options or info.keeps or arity > 2:
        return general
    return unary if arity == 1 else binary


def call(
    info: Declaration, inputs: Values, given: Values = (), named: Options = _NO_OPTIONS
) -> Any:
    """Compute one operation, and record it if a variable among `inputs` requires a gradient."""
    values: list[Any] = []
    variables = needs_grad = elsewhere = False
    for x in inputs:
        if isinstance(x, Variable):
            variables = True
            if x._requires_grad:
                needs_grad = True
            x = x._data
            if type(x) is not _ndarray:
                elsewhere = True
        elif type(x) is not _ndarray and type(x) not in _SCALARS:
            x = as_input(info, inputs, len(values))
            if not isinstance(x, (_ndarray, np.generic)):
                elsewhere = True
        values.append(x)
    try:
        if elsewhere:
            with common_device_scope(values) as xp:
                out = info.forward(xp, *values, *given, **named)
        else:
            out = info.forward(np, *values, *given, **named)
    except _EXPLAINED as error:
        raise explain(info, values, error, given, named) from error
    kept: Values = ()
    if info.keeps:
        out, kept = (checked := info.checked("its forward", out, 1))[0], checked[1:]
    if not variables:
        return out
    if type(out) is not _ndarray:
        out = as_output(info.name, out)
    result = None
    if needs_grad and modes.grad:
        options = given + info.defaults[len(given) :]
        if named:
            by_name = dict(zip(info.options, given, strict=False)) if given else {}
            options = tuple({**info.options, **by_name, **named}.values())
        shown = (tuple(values),) if info.variadic else values
        known = (out, *shown, *options, *kept)
        if edges := _edges(info, inputs, known):
            result = _recorded(info, edges, known)
    if result is None:
        result = new_variable(out)
    if modes.call & CHECK:
        check_result(describe_call(info, values, given, named), values, result)
    return result


def _edges(info: Declaration, inputs: Values, known: Values) -> tuple[Edge, ...]:
    """Return an edge for each rule whose inputs require a gradient."""
    edges: tuple[Edge, ...] = ()
    for rule in info.rules:
        if rule.joint:
            chosen = inputs if info.variadic else [inputs[i] for i in rule.positions]
            parents = tuple([x._parent() if _needs_grad(x) else None for x in chosen])
            wanted = tuple([parent is not None for parent in parents])
            if any(wanted):
                edges += ((rule, parents, rule.save((*known, wanted))),)
        elif _needs_grad(x := inputs[rule.positions[0]]):
            edges += ((rule, x._parent(), rule.save(known)),)
    return edges


def _needs_grad(x: Any) -> bool:
    return isinstance(x, Variable) and x._requires_grad


def _recorded(info: Declaration, edges: tuple[Edge, ...], known: Values) -> Variable:
    """Return the output of a call as a variable with its place in the graph."""
    out = known[0]
    result = new_variable(out)
    dtype = out.dtype
    if dtype.kind == "f":
        node = _new(Node)
        node.op = info
        node.edges = edges
        node.sequence = next_sequence()
        node.shape = out.shape
        node.dtype = dtype
        node.version = versions.current
        node.recipe = info.recompute.save(known) if info.recompute is not None else None
        node.hooks = node.debug = None
        result._node = node
        result._requires_grad = True
    elif dtype.kind == "c":
        raise TypeError(
            f"{info.name}: the result is complex, and gradients are not defined through complex "
            "numbers here; use no_grad() or .detach()"
        )
    return result


def array_module(x: Any) -> Any:
    """Return the module that computes on an array or Tensor: NumPy, or CuPy for its arrays.

    >>> from nn_tensor import Tensor
    >>> from nn_tensor.extend import array_module
    >>> array_module(Tensor([1.0])).__name__
    'numpy'
    """
    return namespace_of(x._data if isinstance(x, Variable) else x)


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of a Tensor, an array, a nested list or a number."""
    return x.shape if hasattr(x, "shape") else np.shape(x)
