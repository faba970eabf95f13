"""How an operation is declared; `_call` has what happens when it is called.

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
``x_device``), or a value that the forward keeps. Nothing else is held until `backward`.

Where the gradients of several inputs have most of their work in common, one rule gives them all::

    @attention.joint_gradient("query", "key", "value")
    def _(g, query, key, value):
        ...
        return for_query, for_key, for_value

Rules are written in operators and operations, so they run on arrays for a first derivative and on
Tensors, recording, for higher ones. The driver undoes broadcasting (both ways: a rule may return
a gradient that still has to be broadcast to its input) and casts to the input's dtype.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, Concatenate, Generic, ParamSpec, overload

import numpy as np

from nn_tensor._autograd import Node
from nn_tensor._call import dispatcher
from nn_tensor._device import device_of, is_array, namespace_of
from nn_tensor._errors import describe
from nn_tensor._tensor import Tensor

__all__ = ["Op", "OpInfo", "Rule", "array_module", "op"]

P = ParamSpec("P")
Array = Any


class Rule:
    """How the gradient of the output becomes the gradient of one input."""

    __slots__ = ("function", "needs", "op_name", "pick", "shared_by", "wrt")

    pick: Callable[..., tuple[Any, ...]]
    shared_by: tuple[int, ...]  # the inputs whose gradients it returns, if it returns several

    def __init__(
        self,
        function: Callable[..., Any],
        wrt: str,
        info: OpInfo,
        shared_by: tuple[int, ...] = (),
    ) -> None:
        if not isinstance(function, FunctionType):
            raise TypeError(f"op {info.name}: a rule must be a function, got {function!r}")
        names = list(inspect.signature(function).parameters)
        if wrt:
            if not names:
                raise TypeError(f"op {info.name}: the rule for {wrt!r} must take a gradient first")
            # a copy whose name in tracebacks and profiles says which rule it is
            label = f"gradient of {info.name} with respect to {wrt}"
            code = function.__code__.replace(co_name=label)
            function = FunctionType(
                code, function.__globals__, label, function.__defaults__, function.__closure__
            )
            names = names[1:]
        self.function = function
        self.wrt = wrt
        self.shared_by = shared_by
        self.op_name = info.name
        self.needs = names
        sources = [info.source(name) for name in names]

        def compile_and_pick(*values: Any) -> tuple[Any, ...]:
            self.pick = info.picker(sources)
            return self.pick(*values)

        self.pick = compile_and_pick


class OpInfo:
    """The declaration of one operation, as its call and the backward walk read it."""

    def __init__(self, forward: Callable[..., Any], keeps: Sequence[str]) -> None:
        self.name = forward.__name__.lstrip("_")
        self.forward = forward
        if isinstance(keeps, str):
            raise TypeError(f"op {self.name}: keeps: expected a tuple of names, got {keeps!r}")
        self.keeps = tuple(keeps)
        self.rules: dict[int, Rule] = {}
        self.recompute: Rule | None = None
        signature = inspect.signature(forward)
        parameters = list(signature.parameters.values())[1:]
        inputs = [p for p in parameters if p.kind is p.POSITIONAL_ONLY]
        several = [p for p in parameters if p.kind is p.VAR_POSITIONAL]
        options = [p for p in parameters if p not in inputs and p not in several]
        if bool(inputs) == bool(several):
            raise TypeError(
                f"op {self.name}: array inputs come after xp, before '/', or as one '*xs'"
            )
        self.variadic = bool(several)
        self.inputs = [p.name for p in inputs or several]
        self.options = [p.name for p in options]
        names = [*self.inputs, *self.options, *keeps]
        for name in names:
            if names.count(name) > 1 or name == "out" or (name == "position" and self.variadic):
                raise TypeError(
                    f"op {self.name}: {name!r} would mean two things in a rule; choose another name"
                )
        if any(p.kind is p.VAR_KEYWORD for p in options):
            raise TypeError(f"op {self.name}: options must have names of their own, not '**'")
        self.defaults = tuple(p.default for p in options)
        self.signature = signature.replace(parameters=parameters)
        if any(p.kind is p.KEYWORD_ONLY for p in options):
            self.forward = _with_named_options(forward, self.options)

    def source(self, name: str) -> str:
        """Return the expression that finds what a rule calls `name`."""
        if name in ("out", *self.inputs, *self.options, *self.keeps):
            return name
        stem, _, attribute = name.rpartition("_")
        if self.variadic:
            if name == "position":
                return name
            if name == f"{self.inputs[0]}_shape":
                return f"tuple(map(shape_of, {stem}))"
        elif stem in self.inputs and attribute in ("shape", "device"):
            return f"{attribute}_of({stem})"
        known = ["out", *self.inputs, *self.options, *self.keeps]
        raise TypeError(f"op {self.name}: a rule asks for {name!r}, which is none of {known}")

    def picker(self, sources: list[str]) -> Callable[..., tuple[Any, ...]]:
        """Return the function that takes from all values of a call those that a rule needs."""
        first = "position" if self.variadic else "_"
        parameters = ", ".join([first, "out", *self.inputs, *self.options, *self.keeps])
        values = "".join(f"{source}," for source in sources)
        known = {"device_of": device_of, "shape_of": shape_of}
        picker: Callable[..., tuple[Any, ...]] = eval(f"lambda {parameters}: ({values})", known)
        return picker

    def bind(self, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """Order the options of one call as they were declared."""
        if not named and len(given) == len(self.options):
            return given
        if len(given) > len(self.options):
            expected = len(self.inputs) + len(self.options)
            raise TypeError(
                f"{self.name}: takes {expected} arguments ({', '.join(self.signature.parameters)})"
                f", got {len(given) + len(self.inputs)}"
            )
        values = [*given, *self.defaults[len(given) :]]
        for name, value in named.items():
            if name not in self.options:
                raise TypeError(f"{self.name}: unknown argument {name!r}, it takes {self.options}")
            position = self.options.index(name)
            if position < len(given):
                raise TypeError(f"{self.name}: argument {name!r} was given twice")
            values[position] = value
        for name, value in zip(self.options, values, strict=True):
            if value is inspect.Parameter.empty:
                raise TypeError(f"{self.name}: argument {name!r} is missing")
        return tuple(values)

    def as_tensors(self, node: Node) -> tuple[Any, ...]:
        """Return a node's edges with Tensors, tied into the graph, in place of saved arrays."""
        edges = node.edges or ()
        parents = {position: parent for position, parent, _, _ in edges}
        kept: dict[str, Any] = {}

        def tied(name: str, value: Any) -> Any:
            if name in kept:
                return kept[name]
            if name == "out":
                return link(value, node)
            if self.variadic and name == self.inputs[0]:
                return tuple(link(x, parents.get(i)) for i, x in enumerate(value))
            if name in self.inputs or name in self.keeps:
                position = self.inputs.index(name) if name in self.inputs else -1
                return link(value, parents.get(position))
            return value

        def arguments_of(rule: Rule, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(tied(n, a) for n, a in zip(rule.needs, arguments, strict=True))

        if self.recompute is not None and node.recipe is not None:
            values = self.recompute.function(*arguments_of(self.recompute, node.recipe))
            if not isinstance(values, tuple) or len(values) != len(self.keeps):
                raise self.wrong_tuple("its function of kept values", len(self.keeps), values)
            kept = dict(zip(self.keeps, values, strict=True))
        return tuple((i, parent, rule, arguments_of(rule, a)) for i, parent, rule, a in edges)

    def wrong_tuple(self, what: str, count: int, returned: Any) -> TypeError:
        """Return the error for a function that returned something else than `keeps` asks for."""
        return TypeError(
            f"op {self.name}: {what} must return a tuple of {count} values, as "
            f"keeps={self.keeps} says, got {describe(returned)}"
        )


def _with_named_options(forward: Callable[..., Any], options: list[str]) -> Callable[..., Any]:
    """Let options that can only be given by name be given last, as those of other operations."""
    count = len(options)

    def run(xp: Any, *values: Any) -> Any:
        named = dict(zip(options, values[-count:], strict=True))
        return forward(xp, *values[:-count], **named)

    return run


class Op(Generic[P]):
    """An operation: call it on Tensors or arrays, declare its rules with `gradient`.

    Only type checkers see this class: at run time an operation is an ordinary function that
    carries these attributes.
    """

    info: OpInfo

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        raise TypeError

    def gradient(self, wrt: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare the decorated function as the rule for one input."""
        raise TypeError

    def joint_gradient(self, *inputs: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare the decorated function as one rule that returns a tuple: a gradient for each."""
        raise TypeError

    def kept(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Declare how the kept values follow from inputs, options and ``out``."""
        raise TypeError


def array_module(x: Any) -> Any:
    """Return the module that computes on an array or Tensor: NumPy, or CuPy for its arrays.

    >>> from nn_tensor import Tensor
    >>> from nn_tensor.extend import array_module
    >>> array_module(Tensor([1.0])).__name__
    'numpy'
    """
    return namespace_of(x._data if isinstance(x, Tensor) else x)


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of a Tensor, an array, a nested list or a number."""
    return x.shape if hasattr(x, "shape") else np.shape(x)


def link(value: Any, parent: Node | Tensor | None) -> Any:
    """Return a saved array as a Tensor that stands where it stood in the graph."""
    if not is_array(value):
        return value
    if isinstance(parent, Tensor) and parent._data is value:
        return parent
    tensor = Tensor(value)
    if parent is not None:
        tensor._requires_grad = True
        tensor._node = parent
    return tensor


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
    info = OpInfo(forward, keeps)
    apply = dispatcher(info)
    functools.update_wrapper(apply, forward)
    del apply.__wrapped__  # type: ignore[attr-defined]
    annotations = {k: v for k, v in forward.__annotations__.items() if k != "xp"}
    apply.__annotations__ = annotations
    apply.__signature__ = info.signature  # type: ignore[attr-defined]

    def check(inputs: tuple[str, ...]) -> None:
        if not inputs or not set(inputs) <= set(info.inputs) or len(set(inputs)) < len(inputs):
            raise ValueError(
                f"op {info.name}: gradient: expected names among {info.inputs}, got {inputs}"
            )

    def gradient(wrt: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        check((wrt,))

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            info.rules[info.inputs.index(wrt)] = Rule(function, wrt, info)
            return function

        return declare

    def joint_gradient(*inputs: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        check(inputs)
        if info.variadic:
            raise TypeError(f"op {info.name}: the inputs of '*xs' share one rule already")
        positions = tuple(map(info.inputs.index, inputs))

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            rule = Rule(function, " and ".join(inputs), info, positions)
            info.rules.update(dict.fromkeys(positions, rule))
            return function

        return declare

    def kept(function: Callable[..., Any]) -> Callable[..., Any]:
        info.recompute = Rule(function, "", info)
        return function

    apply.info = info  # type: ignore[attr-defined]
    apply.gradient = gradient  # type: ignore[attr-defined]
    apply.joint_gradient = joint_gradient  # type: ignore[attr-defined]
    apply.kept = kept  # type: ignore[attr-defined]
    return apply
