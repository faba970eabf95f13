"""`jit`: a function that is recorded once and then replayed."""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload
from weakref import WeakSet

from nn_tensor.extend import caller, check_bool, current_observer, is_anomaly_detected

from nn_jit._explain import Explanation, ProgramExplanation
from nn_jit._fuse import fuse, use_jobs
from nn_jit._generate import generate
from nn_jit._guard import compile_guards, compile_quick_test
from nn_jit._plan import drop_unused
from nn_jit._program import JitError, Program
from nn_jit._record import record
from nn_jit._signature import difference, signature
from nn_jit._verify import verify
from nn_jit._watch import drop_temporary

__all__ = ["JitFunction", "jit"]

P = ParamSpec("P")
R = TypeVar("R")
_MOST = 8  # signatures, and recordings of each


def _compile(program: Program, fused: bool) -> None:
    """Make a program that was recorded ready to run."""
    recorded = [value for call in program.calls for value in call.results]
    drop_unused(program)
    if fused:
        fuse(program)
        use_jobs(program)
    generate(program)
    drop_temporary(program.guards.reads)
    program.changed = compile_guards(program)
    for value in recorded:
        value.array = None


class JitFunction(Generic[P, R]):
    """A function that is recorded once for each signature, and replayed; `jit` makes it."""

    def __init__(self, function: Callable[P, R], *, fuse: bool = True) -> None:
        if not callable(function):
            raise TypeError(f"function: expected a function, got {function!r}")
        self._fuse = check_bool("fuse", fuse)
        functools.update_wrapper(self, function)
        self._function = function
        self._name = getattr(function, "__qualname__", repr(function))
        self._lock = threading.RLock()
        self._running = False
        self._instance: Any = None  # of a method
        self._attribute: str | None = None  # of its class
        self.clear()
        _functions.add(self)

    def clear(self) -> None:
        """Remove all programs: the next calls record anew.

        >>> from nn_jit import jit
        >>> from nn_tensor import Tensor
        >>> double = jit(lambda x: x * 2)
        >>> for _ in range(3):
        ...     y = double(Tensor([1.0]))
        >>> double.clear()
        """
        with self._lock:
            self._programs: dict[Any, list[Program]] = {}  # by signature
            self._last: Program | None = None
            self._changes: list[str] = []
            self._warned: set[str] = set()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Replay the function, record it, or run it as written."""
        with self._lock:
            if self._running:
                self._refuse_nesting("by itself")
            self._running = True
            try:
                return self._call(args, kwargs)
            finally:
                self._running = False

    def _refuse_nesting(self, when: str = "") -> None:
        if current_observer() is not None:
            when = "while another function was recorded"
        if when:
            raise JitError(
                f"{self._name} was called at {caller()} {when}; programs do not nest: call the "
                f"function without jit inside, {self._name}.__wrapped__"
            )

    def __set_name__(self, owner: Any, name: str) -> None:
        self._attribute = name

    def __get__(self, instance: Any, owner: Any) -> Any:
        """Return a method: each instance has programs of its own."""
        if instance is None:
            return self
        if not hasattr(instance, "__dict__"):
            raise TypeError(f"{self._name}: a method under jit needs a class without __slots__")
        name = f"_jit {self._attribute} {self._name}"
        bound = vars(instance).get(name)
        method = functools.partial(self._function, instance)
        if bound is None or bound._instance is not instance or bound._function.func != method.func:
            bound = JitFunction(method, fuse=self._fuse)  # the first time, or in a copy
            functools.update_wrapper(bound, self._function)
            bound._instance, bound._attribute, bound._name = instance, self._attribute, self._name
            vars(instance)[name] = bound
        return bound

    def __reduce__(self) -> Any:
        """Copy the function without its programs, as functions are pickled: by name if it has one.

        A method goes with its instance.
        """
        if self._instance is not None and self._attribute is not None:
            return getattr, (self._instance, self._attribute)
        found: Any = sys.modules.get(self.__module__)  # what has its name, as pickle would find it
        for part in getattr(self, "__qualname__", "").split("."):
            found = getattr(found, part, None)
        if found is self:
            return self.__qualname__
        return functools.partial(JitFunction, fuse=self._fuse), (self._function,)

    def _call(self, args: Any, kwargs: Any) -> Any:
        last = self._last
        if last is not None and not kwargs and last.fits(args) and last.changed(args) is None:
            last.replays += 1
            return last.replay(args)
        self._refuse_nesting()
        if is_anomaly_detected():  # which checks every operation
            return self._function(*args, **kwargs)
        try:
            key, leaves = signature(args, kwargs)
        except JitError as error:
            raise JitError(f"{self._name}: {error}") from None
        programs = self._programs.get(key)
        if programs is None:
            if len(self._programs) < _MOST:
                self._programs[key] = []
            else:
                self._warn_of_signatures(key, args, kwargs)
            return self._function(*args, **kwargs)
        change = None
        for program in programs:
            change = program.changed(leaves)
            if change is None:
                return self._replay(program, args, kwargs, leaves)
        if len(programs) >= _MOST:
            message = f"{change} changed again after {_MOST} recordings, so it now runs as written"
            self._warn_once("recordings", message)
            return self._function(*args, **kwargs)
        self._changes += [] if change is None else [change]
        program, result = record(self._function, args, kwargs, leaves)
        _compile(program, self._fuse)
        if not kwargs:
            program.fits = compile_quick_test(key, args)
        programs.insert(0, program)
        return result

    def _replay(self, program: Program, args: Any, kwargs: Any, leaves: Any) -> Any:
        if program.verified:
            self._last = program
            program.replays += 1
            return program.replay(leaves)
        try:
            result = verify(program, functools.partial(self._function, *args, **kwargs), leaves)
        except JitError:
            program.changed = lambda _: "what the first replay differed in"
            raise
        program.verified = True
        return result

    def _warn_of_signatures(self, key: Any, args: Any, kwargs: Any) -> None:
        known = getattr(getattr(self._function, "__code__", None), "co_varnames", ())
        names = [*known[: len(args)], *map(str, range(len(known), len(args)))]
        last = list(self._programs)[-1]
        what = difference([*names, *sorted(kwargs)], key, last)
        self._warn_once(
            "signatures",
            f"called with {_MOST + 1} signatures, so further ones run as written; {what}. Pass a "
            "number that changes as a Tensor, and pad batches to few shapes",
        )

    def _warn_once(self, kind: str, message: str) -> None:
        """Log a warning, each kind once."""
        if kind not in self._warned:
            self._warned.add(kind)
            logging.getLogger("nn_jit").warning("%s: %s", self._name, message)

    def explain(self) -> Explanation:
        """Return what was recorded, as a table to print.

        >>> from nn_jit import jit
        >>> from nn_tensor import Tensor
        >>> double = jit(lambda x: x * 2)
        >>> for _ in range(3):
        ...     y = double(Tensor([1.0]))
        >>> print(double.explain().programs[0].operations)
        1
        """
        with self._lock:
            programs = [ProgramExplanation.of(p) for ps in self._programs.values() for p in ps]
            return Explanation(self._name, len(self._programs), programs, [*self._changes])


_functions: WeakSet[JitFunction[Any, Any]] = WeakSet()


def _after_fork() -> None:
    """Let go of functions that other threads were running: those stayed in the parent."""
    for function in list(_functions):
        if function._lock.acquire(blocking=False):
            function._lock.release()
        else:
            function._lock, function._running = threading.RLock(), False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@overload
def jit(function: Callable[P, R], *, fuse: bool = True) -> JitFunction[P, R]: ...
@overload
def jit(*, fuse: bool = True) -> Callable[[Callable[P, R]], JitFunction[P, R]]: ...
def jit(function: Any = None, *, fuse: bool = True) -> Any:
    """Record a function once, and replay its operations from then on, without its Python.

    For each signature (structure, shapes and dtypes of the arguments, values of those that are not
    Tensors or arrays, gradient mode, kernels) the first call runs as written and the second is
    recorded. The third is replayed and run as written, from the same state, and both must be
    equal; later ones are replayed. Operations, backward passes, steps of optimizers, clipping,
    schedules, running statistics and drawing random numbers are part of a program. Python is not:
    printing, counting and appending happen only where the function runs as written.

    Args:
        function: a function of Tensors and arrays, in tuples, lists and dicts too, and of
            hashable values. It returns Tensors, arrays, numbers or None, in the same containers.
        fuse: compile elementwise operations that follow each other into one loop, where the
            ``fast`` extra of nn-tensor is installed; the bits of the results are the same.

    Raises:
        JitError: where the function cannot be recorded; the message names the line and the cure.

    >>> from nn_jit import jit
    >>> from nn_tensor import Tensor, exp
    >>> @jit
    ... def f(x):
    ...     return exp(x * 2).sum()
    >>> [round(f(Tensor([float(n)])).item(), 2) for n in range(4)]
    [1.0, 7.39, 54.6, 403.43]
    """
    if function is None:
        return functools.partial(jit, fuse=fuse)
    return JitFunction(function, fuse=fuse)
