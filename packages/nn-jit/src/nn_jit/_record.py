"""Records what a function does with arrays, as a list of calls; refuses what it cannot follow."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import (
    Observer,
    array_of,
    gradient_of,
    has_graph,
    observe,
    set_array,
    set_gradient,
)

from nn_jit._errors import JitError, place
from nn_jit._expand import Step, Symbol, expand, is_view
from nn_jit._program import Call, Constant, Guards, Made, Program, TensorRef, Value, values_in
from nn_jit._results import changes_dtype, is_array, outline
from nn_jit._same import PLAIN, layout_of
from nn_jit._tree import map_tree, rebuilt
from nn_jit._watch import Watcher

__all__ = ["record"]


def record(function: Any, args: Any, kwargs: Any, leaves: Sequence[Any]) -> tuple[Program, Any]:
    """Call a function and return the program of what it did, and what it returned."""
    parameters = [n for n, x in enumerate(leaves) if isinstance(x, Tensor) and x.requires_grad]
    recorder = _Recorder(leaves)
    watcher = Watcher(recorder.guards, bool(parameters))
    with observe(recorder), watcher.watch():
        result = function(*args, **kwargs)
    # a parameter that is reached from elsewhere too: a replay could not tell which was meant
    held = [n for n in parameters if watcher.holds(leaves[n])]
    guards, output = recorder.guards, map_tree(recorder.output, result)
    states = list(recorder.states.values())
    program = Program(recorder.calls, recorder.input_values, states, output, guards)
    guards.arguments += [(n, leaves[n]) for n in held]
    guards.others += [n for n in parameters if n not in held]
    refs = [x for call in program.calls for x in call.arguments if isinstance(x, TensorRef)]
    guards.own.update(id(ref.tensor) for ref in refs if ref.number is None)
    return program, map_tree(recorder.as_written, result)


class _Recorder(Observer):
    def __init__(self, leaves: Sequence[Any]) -> None:
        self.values: dict[int, Value] = {}  # by the identity of an array, or of a tuple or list
        self.keep: list[Any] = []  # so that no identity is used twice
        self.calls: list[Call] = []
        self.states: dict[int, tuple[Any, Value]] = {}
        self.guards = Guards()
        self.touched: set[int] = set()  # whose gradient the program has read or set
        self.made_here: dict[int, str] = {}  # arrays of Tensors that were made of NumPy's arrays
        self.input_values: list[Value] = []
        self.input_tensors: dict[int, int] = {}
        self.numbers: set[int] = set()
        self.returned: dict[int, Made] = {}  # one for each Tensor
        self.shared: set[int] = set()
        self.made_tensors: set[int] = set()
        for number, leaf in enumerate(leaves):
            array = array_of(leaf) if isinstance(leaf, Tensor) else leaf
            self.keep.append((leaf, array))
            self.input_tensors.setdefault(id(leaf), number)
            self.input_values.append(self._value("input", (), array, number))
            self.input_values[-1].is_tensor = isinstance(leaf, Tensor)
            self.values.setdefault(id(array), self.input_values[-1])

    # What is known

    def _value(self, source: Any, path: tuple[int, ...], array: Any, number: int = -1) -> Value:
        shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
        zero_d = isinstance(array, np.ndarray) and array.ndim == 0
        size = getattr(array, "nbytes", 0)
        contiguous = array.flags.c_contiguous if isinstance(array, np.ndarray) else False
        return Value(source, path, array, number, shape, dtype, size, zero_d, contiguous)

    def refuse(self, what: str, cure: str) -> NoReturn:
        raise JitError(f"{what}, at {place()}, while the function was recorded; {cure}")

    def register(self, call: Call, result: Any, path: tuple[int, ...] = ()) -> None:
        """Remember the arrays of a result, and the tuples and objects that they are in."""
        self.keep.append(result)
        if isinstance(result, Tensor):
            return self.register(call, array_of(result), path)
        if isinstance(result, (tuple, list)):
            for position, part in enumerate(result):
                self.register(call, part, (*path, position))
            is_known = any(id(part) in self.values for part in result)
        else:
            is_known = is_array(result) or (bool(path) and not isinstance(result, PLAIN))
        if is_known and not (is_array(result) and id(result) in self.values):
            value = self._value(call, path, result if is_array(result) else None)
            self.values[id(result)] = value
            call.results.append(value)
        return None

    def template(self, x: Any, name: str, of_external: bool = False) -> Any:
        """Return an argument with what is known in place of arrays."""
        known = self.values.get(id(x))
        if known is not None:
            return known
        if isinstance(x, Tensor):
            if of_external:
                return TensorRef(x, self.input_tensors.get(id(x)))
            array = array_of(x)
            self.inputs(name, (x,), (array,))
            return self.values[id(array)]
        if is_array(x) and not isinstance(x, np.generic):
            self.nowhere(name, x)
        is_named = isinstance(x, tuple) and hasattr(x, "_fields")
        if type(x) in (tuple, list) or is_named:
            parts = rebuilt(x, [self.template(part, name, of_external) for part in x])
            if not is_named or values_in(parts):
                return parts
        return Constant(x)

    def nowhere(self, name: str, array: Any) -> NoReturn:
        where = self.made_here.get(id(array))
        made = f"made at {where} " if where else ""
        self.refuse(
            f"{name} got an array of shape {array.shape} {made}that is neither an argument nor the "
            "result of an operation, so that a replay could not tell how to compute it",
            "pass it as an argument, keep it in a Tensor that is made once before, or compute it "
            "with functions of nn_tensor",
        )

    # What the observer is told

    def inputs(self, name: str, inputs: Sequence[Any], arrays: Sequence[Any]) -> None:
        for x, array in zip(inputs, arrays, strict=True):
            known = self.values.get(id(array))
            if known is not None:
                if isinstance(x, Tensor) and known.source in ("input", "state"):
                    self._share(x, known, array)
            elif isinstance(x, Tensor):
                self._state(name, x, array)
            elif hasattr(array, "dtype") and isinstance(x, (list, tuple, int, float, np.generic)):
                self.values[id(array)] = self._value("constant", (), array)
            self.keep.append((x, array))

    def _state(self, name: str, tensor: Any, array: Any) -> None:
        """Remember a Tensor that was there before."""
        if id(array) in self.made_here:
            self.nowhere(name, array)
        if has_graph(tensor):
            self.refuse(
                f"{name} got a Tensor of shape {tensor.shape} that was computed before",
                "compute it inside the function, or pass it .detach()",
            )
        value = self._value("state", (), array, len(self.states))
        self.states[id(tensor)] = tensor, value
        self.values[id(array)] = value
        if tensor.requires_grad:
            self.guards.states.append((tensor, array, True))
        else:  # a running mean, perhaps, which training replaces
            self.guards.fetched.append(tensor)

    def _share(self, tensor: Any, value: Value, array: Any) -> None:
        """Watch the Tensors that have one array, unless made of it here: each may get another."""
        known = self.input_tensors if value.source == "input" else self.states
        if id(tensor) in known or id(tensor) in self.shared:
            return
        if value.source == "input":
            if id(tensor) in self.made_tensors:
                return
            self.guards.arguments.append((value.number, array))
        else:
            first = next(t for t, v in self.states.values() if v is value)
            if any(t is first for t in self.guards.fetched):
                self.guards.fetched = [t for t in self.guards.fetched if t is not first]
                self.guards.states.append((first, array, first.requires_grad))
        self.shared.add(id(tensor))
        self.guards.states.append((tensor, array, tensor.requires_grad))

    def computed(
        self, function: Any, arguments: Any, options: Any, result: Any, label: str, writes: bool
    ) -> None:
        if self.numbers and changes_dtype(list(filter(is_array, arguments)), self.numbers, result):
            self.refuse(
                f"{label} got a number of Python that an external returned, whose dtype would be "
                "that of the Tensor it meets",
                "return an array from the external: np.asarray(number, dtype)",
            )
        if function is operator.iadd and type(result) is np.ndarray:
            # the sum of gradients, to which no other reference exists: as good as a new array
            self._step(Step(np.add, arguments, {}, result, "add"), result)
            return
        steps = [] if writes else expand(function, arguments, options, result)
        given = [x for x in (*arguments, *options.values()) if type(x) is np.ndarray]
        if not steps or any(id(x) not in self.values for x in given):
            call = Call("operation", label, function, (), {}, place(), writes)
            self._add(call, arguments, options, result)
            return
        for step in steps:
            last = step.result is steps[-1].result
            self._step(step, result if last else step.result.array)
            self.keep.append(step.result)

    def _step(self, step: Step, result: Any) -> None:
        """Record a call of a function of NumPy."""
        operands = tuple(x.array if isinstance(x, Symbol) else x for x in step.operands)
        call = Call("operation", step.label, step.function, (), {}, place())
        self._add(call, operands, step.options, None)
        value = self._value(call, (), result)
        self.values[id(result)] = value
        if isinstance(step.result, Symbol):
            self.values[id(step.result.array)] = value
        call.results, call.check_shape, call.is_view = [value], False, is_view(step.function)
        self.keep.append(result)

    def external(self, function: Any, arguments: Any, result: Any, snapshot: Any) -> None:
        label = getattr(function, "__qualname__", function.__name__)
        if isinstance(result, Tensor):
            array = array_of(result)
            if array.ndim == 0 and array.dtype in (bool, int, float):  # as Python's numbers come
                self.numbers |= {id(result), id(array)}
        call = Call("external", label, function, (), {}, place(), snapshot=snapshot)
        self._add(call, arguments, {}, result)
        if not is_array(result) and id(result) not in self.numbers:
            call.outline = (outline(result),)

    def _add(self, call: Call, arguments: Any, options: Any, result: Any) -> Call:
        """Record a call with its arguments and what it gave."""
        external, label = call.kind == "external", call.label
        for x in (*arguments, *options.values()):
            if type(x) is list and any(is_array(y) and id(y) not in self.values for y in x):
                call.filled = self._value(call, (), None)
                self.values[id(x)] = call.filled
                for position, y in enumerate(x):
                    self.values[id(y)] = value = self._value(call, (-1, position), y)
                    call.results.append(value)
        call.arguments = tuple(self.template(x, label, external) for x in arguments)
        call.options = {k: self.template(x, label, external) for k, x in options.items()}
        self.keep.append((arguments, options))
        inputs = [v for v in values_in((call.arguments, call.options)) if v.dtype is not None]
        call.check_shape = not external and any(v.dtype.kind in "biu" for v in inputs)
        if not call.writes:
            self.register(call, result)
        self.calls.append(call)
        return call

    def made(self, tensor: Any, data: Any) -> None:
        array = array_of(tensor)
        self.keep.append((tensor, array))
        self.made_tensors.add(id(tensor))
        if id(array) in self.values:
            return
        if isinstance(data, Tensor) or is_array(data):
            self.made_here[id(array)] = place()
        else:
            call = Call("operation", "constant", np.array(array).copy, (), {}, place())
            self._add(call, (), {}, array)

    def read(self, tensor: Any, how: str) -> None:
        self.refuse(
            f"the values of a Tensor of shape {tensor.shape} were read ({how})",
            "a replay does not run the Python code that uses them: return the Tensor and read it "
            "outside, compute with operations (where in place of a branch), or call a function "
            "that needs them through nn_tensor.extend.external",
        )

    def replaced(self, tensor: Any) -> None:
        array = array_of(tensor)
        if id(tensor) in self.input_tensors:
            self.refuse("the array of an argument was replaced", "return a new Tensor")
        value = self.values.get(id(array)) or self.nowhere("tensor.data = ...", array)
        if id(tensor) in self.states:
            self.guards.states = [s for s in self.guards.states if s[0] is not tensor]
            if not any(t is tensor for t in self.guards.fetched):
                self.guards.fetched.append(tensor)
        ref = TensorRef(tensor, None)
        self._state_call("set array", set_array, ref, value)

    def written(self, array: Any) -> None:
        self.refuse(
            f"an array of shape {array.shape} was written into by code that is not recorded",
            "use an operation, ``tensor[...] = values`` inside no_grad(), or external",
        )

    def _state_call(self, kind: str, function: Any, *arguments: Any) -> Call:
        self.calls.append(Call(kind, kind, function, arguments, {}, place()))
        return self.calls[-1]

    def _touch(self, tensor: Any) -> TensorRef:
        if id(tensor) not in self.input_tensors:
            self.keep.append(tensor)
        return TensorRef(tensor, self.input_tensors.get(id(tensor)))

    def gradient_read(self, tensor: Any) -> None:
        ref, array = self._touch(tensor), gradient_of(tensor)
        self.guards.leaves.append(ref)
        if id(tensor) not in self.touched:
            self.touched.add(id(tensor))
            layout = None if array is None else layout_of(array)
            self.guards.gradients[id(tensor)] = ref, layout
        if array is not None and id(array) not in self.values:
            self.register(self._state_call("read gradient", gradient_of, ref), array)

    def gradient_set(self, tensor: Any) -> None:
        ref, array = self._touch(tensor), gradient_of(tensor)
        self.touched.add(id(tensor))
        value: Any = Constant(None)
        if array is not None:
            value = self.values.get(id(array)) or self.nowhere("a gradient", array)
        self._state_call("set gradient", set_gradient, ref, value)

    def refused(self, what: str) -> None:
        self.refuse(what, "do it outside of the function that is replayed")

    # The end

    def output(self, x: Any) -> Any:
        """Return what a replay returns in place of `x`."""
        array = array_of(x) if isinstance(x, Tensor) else x
        known = self.values.get(id(array))
        if isinstance(x, Tensor):
            if id(x) in self.numbers and known is not None:
                return Made(known, True)
            if id(x) in self.input_tensors or id(x) in self.states:
                return TensorRef(x, self.input_tensors.get(id(x)))
            if has_graph(x):
                raise JitError(
                    f"the function returned a Tensor of shape {x.shape} whose graph was recorded "
                    "for backward, which a replay does not; call backward inside the function, "
                    "compute inside no_grad(), or return it .detach()"
                )
            if known is not None:
                return self.returned.setdefault(id(x), Made(known, False))
            if id(array) in self.made_here:
                self.nowhere("the result", array)
            return TensorRef(x, None)
        if is_array(x):
            return known or self.nowhere("the result", x)
        if isinstance(x, PLAIN):
            return Constant(x)
        raise JitError(
            f"the function returned {type(x).__name__}; expected Tensors, numbers or None, in "
            "tuples, lists and dicts"
        )

    def as_written(self, x: Any) -> Any:
        """Return a result with the numbers of externals as Python's."""
        return array_of(x).item() if id(x) in self.numbers and isinstance(x, Tensor) else x
