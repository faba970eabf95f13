"""Records what a function does with arrays, as a list of calls; refuses what it cannot follow."""

from __future__ import annotations

from collections.abc import Sequence
from types import FunctionType
from typing import Any, NoReturn

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import (
    FRAMEWORK,
    Observer,
    Step,
    array_of,
    caller,
    compiled_kernels_run,
    gradient_of,
    has_graph,
    has_parts,
    is_array,
    kernel_job,
    leaves_of,
    map_parts,
    map_structure,
    numpy_steps,
    observe,
    set_array,
    set_gradient,
)

from nn_jit._program import Call, Guards, JitError, Made, Program, Ref, Value
from nn_jit._same import PLAIN, layout_of, outline
from nn_jit._watch import Watcher

__all__ = ["record"]

_KNOWN = FRAMEWORK | {"numpy", "cupy", "_operator"}
_NUMBERS = (list, tuple, int, float, np.generic)
_TEMPLATES = (Value, Ref, Made)


def record(function: Any, args: Any, kwargs: Any, leaves: Sequence[Any]) -> tuple[Program, Any]:
    """Call a function and return the program of what it did, and what it returned."""
    parameters = [n for n, x in enumerate(leaves) if isinstance(x, Tensor) and x.requires_grad]
    compiled_kernels_run()  # so that they are not imported while reads are watched
    recorder = _Recorder(leaves)
    watcher = Watcher(recorder.guards.reads, bool(parameters))
    with observe(recorder):
        result = watcher.watch(lambda: function(*args, **kwargs))
    output = map_structure(recorder.output, result)
    guards, states = recorder.guards, list(recorder.states.values())
    # one that is reached from elsewhere too: a replay could not tell which was meant
    guards.arguments = [(n, leaves[n] if watcher.holds(leaves[n]) else None) for n in parameters]
    program = Program(recorder.calls, recorder.given, states, output, guards)
    return program, map_structure(recorder.as_written, result)


class _Recorder(Observer):
    def __init__(self, leaves: Sequence[Any]) -> None:
        self.values: dict[int, Value] = {}  # by the identity of an array, or of a tuple or list
        self.keep: list[Any] = [leaves]  # so that no identity is used twice
        self.calls: list[Call] = []
        self.guards = Guards()
        self.states: dict[int, tuple[Any, Value]] = {}
        self.given: list[tuple[Value, bool]] = []  # the arrays of the arguments
        self.there: dict[int, Ref] = {}  # Tensors from before, by identity
        self.made_here: set[int] = set()  # Tensors that the program has made
        self.unknown: dict[int, str] = {}  # arrays of NumPy in Tensors, by where these were made
        self.numbers: set[int] = set()  # Tensors and arrays that stand for numbers of Python
        self.returned: dict[int, Made] = {}  # one for each Tensor
        for number, leaf in enumerate(leaves):
            array = array_of(leaf) if isinstance(leaf, Tensor) else leaf
            ref = self.there.setdefault(id(leaf), Ref(leaf, number))
            self.given.append((Value(ref, array), isinstance(leaf, Tensor)))
            self.values.setdefault(id(array), self.given[-1][0])

    # What is known

    def refuse(self, what: str, cure: str) -> NoReturn:
        raise JitError(f"{what}, at {caller()}, while the function was recorded; {cure}")

    def nowhere(self, name: str, array: Any) -> NoReturn:
        where = self.unknown.get(id(array))
        made = f"made at {where} " if where else ""
        self.refuse(
            f"{name} got an array of shape {array.shape} {made}that is neither an argument nor the "
            "result of an operation, so that a replay could not tell how to compute it",
            "pass it as an argument, keep it in a Tensor that is made once before, or compute it "
            "with functions of nn_tensor",
        )

    def ref(self, tensor: Tensor) -> Ref:
        return self.there.setdefault(id(tensor), Ref(tensor, None))

    def number_of(self, tensor: Tensor) -> int | None:
        """Return which argument a Tensor is, None if it is none."""
        return self.there[id(tensor)].number if id(tensor) in self.there else None

    def is_ours(self, tensor: Tensor) -> bool:
        """Return whether the program has made a Tensor, which no later call will see."""
        value = self.values.get(id(array_of(tensor)))
        is_computed = value is not None and isinstance(value.source, Call)
        if is_computed and id(tensor) not in self.there:
            self.keep.append(tensor)
            self.made_here.add(id(tensor))
        return id(tensor) in self.made_here

    def made_of(self, tensor: Tensor, value: Value) -> Made:
        gradient = self.values.get(id(gradient_of(tensor)))
        return Made(value, tensor.requires_grad and tensor.is_leaf, gradient)

    def register(self, call: Call, result: Any, path: tuple[int, ...] = ()) -> None:
        """Remember the arrays of a result, and the tuples and objects that they are in."""
        self.keep.append(result)
        if isinstance(result, Tensor):
            return self.register(call, array_of(result), path)
        if isinstance(result, (tuple, list)):
            for position, part in enumerate(result):
                self.register(call, part, (*path, position))
            is_new = any(id(part) in self.values for part in result)
        elif is_array(result):
            is_new = id(result) not in self.values
        else:
            is_new = bool(path) and not isinstance(result, PLAIN)
        if is_new:
            value = Value(call, result if is_array(result) else None, path)
            self.values[id(result)] = value
            call.results.append(value)
        return None

    def template(self, x: Any, name: str, with_tensors: bool) -> Any:
        """Return an argument with what is known in place of arrays."""
        known = self.values.get(id(x))
        if known is not None or isinstance(x, _TEMPLATES):
            return known or x
        if isinstance(x, Tensor):
            if with_tensors and not self.is_ours(x):
                return self.ref(x)
            self.inputs(name, (x,), (array_of(x),))
            value = self.values[id(array_of(x))]
            return self.made_of(x, value) if with_tensors else value
        if is_array(x) and not isinstance(x, np.generic):
            self.nowhere(name, x)
        if has_parts(x):
            return map_parts(lambda part: self.template(part, name, with_tensors), x)
        return x

    def add(
        self, kind: str, label: str, function: Any, arguments: Any, options: Any = None, **more: Any
    ) -> Call:
        """Record a call with its arguments."""
        options, external = options or {}, kind == "external"
        self.keep.append((arguments, options))
        call = Call(kind, label, function, caller(), **more)
        call.arguments = tuple(self.template(x, label, external) for x in arguments)
        call.options = {name: self.template(x, label, external) for name, x in options.items()}
        self.calls.append(call)
        return call

    # What the observer is told

    def inputs(self, name: str, inputs: Sequence[Any], arrays: Sequence[Any]) -> None:
        for x, array in zip(inputs, arrays, strict=True):
            self.keep.append((x, array))
            known = self.values.get(id(array))
            if isinstance(x, Tensor):
                source, is_another = known and known.source, self.number_of(x) is None
                is_another = is_another and not self.is_ours(x)
                if known is None:
                    self.state(name, x, array)
                elif is_another and isinstance(source, Ref) and x is not source.tensor:
                    self.guards.aliases[id(x)] = x, source, x.requires_grad
            elif known is None and isinstance(x, _NUMBERS) and hasattr(array, "dtype"):
                self.values[id(array)] = Value(None, array)

    def state(self, name: str, tensor: Tensor, array: Any) -> None:
        """Remember a Tensor that was there before."""
        if id(array) in self.unknown:
            self.nowhere(name, array)
        if has_graph(tensor):
            self.refuse(
                f"{name} got a Tensor of shape {tensor.shape} that was computed before",
                "compute it inside the function, or pass it .detach()",
            )
        ref = self.ref(tensor)
        if id(tensor) in self.states or ref.number is not None:  # an external has replaced it
            call = self.add("read array", "read array", array_of, (ref,), check="layout")
            return self.register(call, array)
        value = Value(ref, array)
        self.states[id(tensor)] = tensor, value
        self.values[id(array)] = value
        if tensor.requires_grad:
            self.guards.states[id(tensor)] = tensor, array, True
        else:  # a running mean, perhaps, which training replaces
            self.guards.fetched[id(tensor)] = tensor, layout_of(array), False
        return None

    def computed(
        self, function: Any, arguments: Any, options: Any, result: Any, label: str, writes: bool
    ) -> None:
        if self.numbers and _changes_dtype(list(filter(is_array, arguments)), self.numbers, result):
            self.refuse(
                f"{label} got a number of Python that an external returned, whose dtype would be "
                "that of the Tensor it meets",
                "return an array from the external: np.asarray(number, dtype)",
            )
        steps = [] if writes else numpy_steps(function, arguments, options, result)
        if steps:
            for step in steps[:-1]:
                self.step(step, step.result)
            return self.step(steps[-1], result)
        module = getattr(function, "__module__", None) or "numpy"
        call = self.add("operation", label, function, arguments, options, writes=writes)
        if module.partition(".")[0] not in _KNOWN:
            call.check = "layout"
        elif not writes:
            self.add_job(call, (function, arguments, options, result))
            if any(value.dtype is not None and value.dtype.kind in "biu" for value in call.inputs):
                call.check = "shape"
        return None if writes else self.register(call, result)

    def step(self, step: Step, result: Any) -> None:
        """Record a call of a function of NumPy."""
        more = {"is_view": step.is_view, "out": step.out}
        call = self.add("operation", step.label, step.function, step.operands, step.options, **more)
        call.results.append(Value(call, result))
        if isinstance(step.function, FunctionType):  # a large product
            self.add_job(call, (step.function, step.operands, {}, step.result))
        self.values[id(result)] = self.values[id(step.result)] = call.results[0]
        self.keep.append(step.result)

    def add_job(self, call: Call, computed: tuple[Any, ...]) -> None:
        """Remember the job of a kernel, if the call consists of one."""
        if (job := kernel_job(*computed)) is not None:
            arrays = [x for x in leaves_of(computed[1:3]) if type(x) is np.ndarray]
            call.job = job, tuple(self.values[id(arrays[n])] for n in job.inputs)

    def external(self, function: Any, arguments: Any, result: Any, snapshot: Any) -> None:
        label = getattr(function, "__qualname__", function.__name__)
        if isinstance(result, Tensor) and not result.shape and result.dtype in (bool, int, float):
            self.numbers |= {id(result), id(array_of(result))}  # as Python's numbers come
        call = self.add("external", label, function, arguments, snapshot=snapshot, check="layout")
        self.register(call, result)
        if not is_array(result) and id(result) not in self.numbers:
            call.outline = (outline(result),)

    def made(self, tensor: Any, data: Any) -> None:
        array = array_of(tensor)
        self.keep.append((tensor, array))
        self.made_here.add(id(tensor))
        if id(array) in self.values:
            return
        if isinstance(data, Tensor) or is_array(data):
            self.unknown[id(array)] = caller()
        else:
            self.register(self.add("operation", "constant", np.array(array).copy, ()), array)

    def read(self, tensor: Any, how: str) -> None:
        self.refuse(
            f"the values of a Tensor of shape {tensor.shape} were read ({how})",
            "a replay does not run the Python code that uses them: return the Tensor and read it "
            "outside, compute with operations (where in place of a branch), or call a function "
            "that needs them through nn_tensor.extend.external",
        )

    def replaced(self, tensor: Any) -> None:
        array, key = array_of(tensor), id(tensor)
        if self.number_of(tensor) is not None:
            self.refuse("the array of an argument was replaced", "return a new Tensor")
        value = self.values.get(id(array)) or self.nowhere("tensor.data = ...", array)
        if key in self.made_here:
            return
        if key in self.guards.states:
            _, before, needs_grad = self.guards.states.pop(key)
            self.guards.fetched[key] = tensor, layout_of(before), needs_grad
        self.add("set array", "set array", set_array, (self.ref(tensor), value))

    def written(self, array: Any) -> None:
        self.refuse(
            f"an array of shape {array.shape} was written into by code that is not recorded",
            "use an operation, ``tensor[...] = values`` inside no_grad(), or external",
        )

    def gradient_read(self, tensor: Any) -> None:
        array = gradient_of(tensor)
        if self.is_ours(tensor):
            return
        ref = self.ref(tensor)
        before = None if array is None else layout_of(array)
        self.guards.gradients.setdefault(id(tensor), (ref, before))
        if array is not None and id(array) not in self.values:
            call = self.add("read gradient", "read gradient", gradient_of, (ref,), check="layout")
            self.register(call, array)

    def gradient_set(self, tensor: Any) -> None:
        array = gradient_of(tensor)
        if self.is_ours(tensor):
            return
        value = None
        if array is not None:
            value = self.values.get(id(array)) or self.nowhere("a gradient", array)
        ref = self.ref(tensor)
        self.guards.gradients.setdefault(id(tensor), (ref, ...))
        self.add("set gradient", "set gradient", set_gradient, (ref, value))

    def refused(self, what: str) -> None:
        self.refuse(what, "do it outside of the function that is replayed")

    # The end

    def output(self, x: Any) -> Any:
        """Return what a replay returns in place of `x`."""
        array = array_of(x) if isinstance(x, Tensor) else x
        known = self.values.get(id(array))
        if isinstance(x, Tensor):
            if id(x) in self.numbers and known is not None:
                return known
            if id(x) in self.there:
                return self.ref(x)
            if has_graph(x):
                raise JitError(
                    f"the function returned a Tensor of shape {x.shape} whose graph was recorded "
                    "for backward, which a replay does not; call backward inside the function, "
                    "compute inside no_grad(), or return it .detach()"
                )
            if known is not None:
                return self.returned.setdefault(id(x), self.made_of(x, known))
            if id(array) in self.unknown:
                self.nowhere("the result", array)
            return self.ref(x)
        if is_array(x):
            return known or self.nowhere("the result", x)
        if isinstance(x, PLAIN):
            return x
        raise JitError(
            f"the function returned {type(x).__name__}; expected Tensors, numbers or None, in "
            "tuples, lists and dicts"
        )

    def as_written(self, x: Any) -> Any:
        """Return a result with the numbers of externals as Python's."""
        return array_of(x).item() if id(x) in self.numbers and isinstance(x, Tensor) else x


def _changes_dtype(arrays: Sequence[Any], numbers: set[int], result: Any) -> bool:
    """Return whether a result has another dtype with numbers of Python that stand in arrays.

    `numbers` are the identities of these arrays.
    """
    others = [a.dtype for a in arrays if id(a) not in numbers]
    if not others or len(others) == len(arrays):
        return False
    dtype, with_numbers = np.result_type(*others), np.result_type(*(a.dtype for a in arrays))
    first = result[0] if type(result) is tuple and result else result
    return dtype != with_numbers and getattr(first, "dtype", None) not in (bool, dtype)
