"""Watches what a function reads of Python: variables around it, attributes, contents of lists.

A replay does not run Python, so a program serves as long as all this is the same. Each call of a
function outside of the libraries is seen, in helpers and comprehensions too: the variables that its
code names, and whatever is reached from these and from its arguments by attributes that it names.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from inspect import CO_VARARGS, CO_VARKEYWORDS
from sys import getrefcount
from types import CellType, CodeType, FrameType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

from nn_tensor import Tensor
from nn_tensor.extend import current_observer

from nn_jit._names import FRAMEWORK, names_of
from nn_jit._program import Guards, Read
from nn_jit._same import MISSING, PLAIN, is_unchanged

__all__ = ["Watcher", "drop_temporary"]

_LIBRARIES = {"nn_tensor", "nn_kernels", "nn_jit", "numpy", "numba", "cupy"}
_UNWATCHED = sys.stdlib_module_names | _LIBRARIES | {"nn_optim"}
_CONTAINERS = (list, tuple, dict, set, frozenset, deque)
_LONGEST = 256  # containers beyond it are data, not structure


class Watcher:
    """Collects the guards of one recording, from the calls of functions.

    What code outside of the framework names is followed from all objects that are reached; what
    the framework's own code names, from what this code reaches.
    """

    def __init__(self, guards: Guards, finds_holders: bool) -> None:
        self.guards = guards
        self.finds_holders = finds_holders
        self.names: dict[str, bool] = {}  # of user code; whether it may go on without
        self.objects: dict[int, Any] = {}  # kept, so that no identity is used twice
        self.seen: set[tuple[Any, ...]] = set()  # objects and containers, by code
        self.waiting: list[tuple[Any, CodeType | None]] = []  # to be followed
        self.functions: dict[Any, list[FunctionType]] = {}
        self.reached: dict[int, Any] = {}  # other than by an argument

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Watch the calls of this thread; at the end drop what the function changes itself."""
        before: Any = sys.getprofile()
        if before is not None and not callable(before):  # as of cProfile, which is then paused
            before.disable()
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(before if callable(before) else None)
            if before is not None and not callable(before):
                before.enable()
        self._drop_changed()

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or current_observer() is None:  # which an external has not
            return
        code, module = frame.f_code, _top(frame.f_globals.get("__name__", ""))
        if module in _UNWATCHED:
            return
        ours = code if module in FRAMEWORK else None
        if ours is None:
            self._variables(frame)
        values = frame.f_locals
        count = code.co_argcount + code.co_kwonlyargcount
        count += bool(code.co_flags & CO_VARARGS) + bool(code.co_flags & CO_VARKEYWORDS)
        for name in code.co_varnames[:count]:
            value = values.get(name)
            if not isinstance(value, (Tensor, *_CONTAINERS)):  # as an object with methods
                self._reach(value)
            self.waiting.append((value, ours))
        while self.waiting:
            self._follow(*self.waiting.pop())

    def _variables(self, frame: FrameType) -> None:
        names, space = names_of(frame.f_code), frame.f_globals
        optional = {name: name in names.optional for name in names.attributes}
        new = {n: o for n, o in optional.items() if n not in self.names or o > self.names[n]}
        self.names |= new
        for x in list(self.objects.values()):
            for name in new:
                self._attribute(x, name, None)
        for name in names.variables:
            if name in space and not isinstance(space[name], ModuleType):
                self._read(_entry(space, name), name, "variable", None)
            self.waiting.append((space.get(name), None))
        for name in names.imports:
            package = str(space.get("__package__") or "").split(".")
            parents = [".".join(package[: n + 1]) for n in range(len(package))]
            for path in (name, *(f"{parent}.{name}".rstrip(".") for parent in parents)):
                self.waiting.append((sys.modules.get(path), None))
        for name, cell in self._cells(frame, names.free):
            self._read(functools.partial(_contents, cell), name, "variable", None)

    def _cells(self, frame: FrameType, names: tuple[str, ...]) -> Iterable[tuple[str, CellType]]:
        """Return the cells of the variables that a frame takes from functions around its own."""
        if not names:
            return []
        code, values = frame.f_code, frame.f_locals

        def is_called(function: FunctionType) -> bool:
            cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
            return all(_contents(cell) is values.get(name, MISSING) for name, cell in cells)

        found = [function for function in self.functions.get(code, []) if is_called(function)]
        if not found:  # a frame does not say whose it is
            functions = [x for x in gc.get_referrers(code) if isinstance(x, FunctionType)]
            self.functions[code] = [x for x in functions if x.__code__ is code]
            found = [function for function in self.functions[code] if is_called(function)]
        cells = [dict(zip(code.co_freevars, f.__closure__ or (), strict=True)) for f in found]
        return [(name, by_name[name]) for by_name in cells for name in names]

    def _reach(self, x: Any) -> None:
        if self.finds_holders and not isinstance(x, PLAIN):
            self.reached[id(x)] = x

    def _follow(self, x: Any, code: CodeType | None) -> None:
        """Follow the attributes that are named, from an object."""
        if isinstance(x, PLAIN) and not isinstance(x, type):
            return
        if isinstance(x, _CONTAINERS):
            key = (id(x), len(x), code)
            if len(x) <= _LONGEST and key not in self.seen:
                self.seen.add(key)
                self.waiting += [
                    (part, code) for part in (x.values() if isinstance(x, dict) else x)
                ]
            if type(x) in _CONTAINERS:
                self.objects.setdefault(id(x), x)
                return
        if _is_of_library(x):
            return
        if id(x) not in self.objects:
            self.objects[id(x)] = x
            for name in self.names:
                self._attribute(x, name, None)
        if code is not None and (id(x), code) not in self.seen:
            self.seen.add((id(x), code))
            for name in names_of(code).attributes:
                self._attribute(x, name, code)

    def _attribute(self, owner: Any, name: str, code: CodeType | None) -> None:
        own = getattr(owner, "__dict__", None)
        cls = owner if isinstance(owner, type) else type(owner)
        value = next((vars(c)[name] for c in cls.__mro__ if name in vars(c)), MISSING)
        read = functools.partial(getattr, owner, name, MISSING)
        if isinstance(value, MemberDescriptorType) or isinstance(owner, threading.local):
            return self._read(read, name, "attribute", code)  # of __slots__, or of a thread
        if isinstance(own, dict) and name in own:
            return self._read(_entry(own, name), name, "attribute", code)
        is_ours = _top(cls.__module__) in FRAMEWORK
        lacking = value is MISSING
        if lacking and not self.names.get(name) and (is_ours or not hasattr(cls, "__getattr__")):
            return
        if not hasattr(type(value), "__get__"):  # as methods have it
            if isinstance(own, dict):  # which may get one of its own
                self._read(_entry(own, name), name, "attribute", code)
            read = functools.partial(getattr, cls, name, MISSING)
            if not is_ours and read() is value:
                self._read(read, name, "attribute", code)

    def _read(
        self, function: functools.partial[Any], name: str, kind: str, code: CodeType | None
    ) -> None:
        """Watch a variable or attribute, and follow its value."""
        value = function()
        self.guards.reads.setdefault(
            (id(function.args[0]), name), Read(function, name, value, kind)
        )
        self._reach(value)
        self._container(value, name)
        self.waiting.append((value, code))

    def _container(self, value: Any, name: str) -> None:
        key, reads = (id(value), _items), self.guards.reads
        if isinstance(value, _CONTAINERS) and len(value) <= _LONGEST and key not in reads:
            if not isinstance(value, (tuple, frozenset)):
                read = functools.partial(_items, value)
                reads[key] = Read(read, name, read(), "contents of")
            for part in value.values() if isinstance(value, dict) else value:
                self._container(part, name)

    def _drop_changed(self) -> None:
        """Leave what the function has changed itself to the comparison of the first replay."""
        for key, read in list(self.guards.reads.items()):
            if read.kind == "contents of":
                if not is_unchanged(read.function(), read.value):
                    del self.guards.reads[key]
                    self._keep_others(read)
            elif not isinstance(read.value, PLAIN) and read.function() is not read.value:
                del self.guards.reads[key]

    def _keep_others(self, contents: Read) -> None:
        """Watch the items alone that the function has left as they were."""
        (container,), name, items = contents.function.args, contents.name, contents.value
        count, reads = len(items), self.guards.reads
        pairs: Iterable[tuple[Any, Any]] = []
        if isinstance(container, dict):
            count //= 2
            pairs = zip(items[:count], items[count:], strict=True)
        elif isinstance(container, (list, deque)):
            pairs = enumerate(items)
        if len(container) == count:
            size = functools.partial(len, container)
            reads[id(container), len] = Read(size, name, count, "size of")
        for key, item in pairs:
            is_dict = isinstance(container, dict)
            read = _entry(container, key) if is_dict else functools.partial(_item, container, key)
            if read() is item:
                reads[id(container), key] = Read(read, f"{name}[{key!r}]", item, "item")

    def holds(self, tensor: Tensor) -> bool:
        """Return whether a Tensor is reached from variables, or from an object that is called."""
        waiting, seen = list(self.reached.values()), set()
        while waiting:
            x = waiting.pop()
            if x is tensor:
                return True
            if id(x) in seen or not gc.is_tracked(x) or _is_of_library(x):
                continue
            seen.add(id(x))
            if not isinstance(x, (ModuleType, type, FunctionType)):
                waiting += gc.get_referents(x)
        return False


def _references_of_a_variable() -> int:
    x = object()
    return getrefcount(x)


_HERE = _references_of_a_variable()  # and of the argument, in some versions of Python


def drop_temporary(guards: Guards) -> None:
    """Drop what the function has made itself and nobody holds any longer, which would be kept."""
    reads, found = guards.reads, [None]
    while found:  # what one holds may be dropped next
        ours = Counter(number for number, _ in reads)  # references that guards have
        found = []
        for key, read in reads.items():
            holder = read.function.args[0]
            if getrefcount(holder) <= ours[key[0]] + _HERE:
                found.append(key)
        for key in found:
            del reads[key]


def _entry(space: dict[Any, Any], key: Any) -> functools.partial[Any]:
    return functools.partial(dict.get, space, key, MISSING)  # without __missing__


def _items(container: Any) -> tuple[Any, ...]:
    values = container.values() if isinstance(container, dict) else ()
    return (*container, *values)


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return MISSING


def _item(container: Any, key: Any) -> Any:
    try:
        return container[key]
    except LookupError:
        return MISSING


def _top(module: Any) -> str:
    return str(module).partition(".")[0]


def _is_of_library(x: Any) -> bool:
    """Return whether the attributes of an object are none of a program's concern."""
    if isinstance(x, (ModuleType, type)):
        name = x.__name__ if isinstance(x, ModuleType) else x.__module__
        return _top(name) in _UNWATCHED | FRAMEWORK
    return _top(type(x).__module__) in _LIBRARIES
