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
from collections import Counter
from collections.abc import Iterable, Iterator
from sys import getrefcount
from types import CellType, FrameType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

from nn_tensor import Tensor
from nn_tensor.extend import current_observer

from nn_jit._names import names_of
from nn_jit._program import Guards
from nn_jit._same import MISSING, PLAIN, is_unchanged

__all__ = ["Watcher", "drop_temporary"]

_LIBRARIES = {"nn_tensor", "nn_kernels", "nn_jit", "numpy", "numba", "cupy"}
_UNWATCHED = sys.stdlib_module_names | _LIBRARIES | {"nn_optim"}
_LONGEST = 256  # lists, tuples and dicts beyond it are data, not structure


class Watcher:
    """Collects the guards of one recording, from the calls of functions."""

    def __init__(self, guards: Guards, finds_holders: bool) -> None:
        self.guards = guards
        self.finds_holders = finds_holders
        self.keep: list[Any] = []  # so that no identity is used twice
        self.seen: set[tuple[int, int]] = set()  # objects, by code
        self.functions: dict[Any, list[FunctionType]] = {}
        self.reached: dict[int, Any] = {}  # other than by an argument

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Watch the calls of this thread; at the end drop what the function changes itself."""
        before = sys.getprofile()
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(before)
        self._drop_changed()

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or current_observer() is None:  # which an external has not
            return
        code, module = frame.f_code, frame.f_globals.get("__name__", "")
        if _top(module) in _UNWATCHED:
            return
        if not _is_ours(module):
            self._variables(frame)
        values = frame.f_locals
        for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            value = values.get(name)
            if not isinstance(value, (Tensor, list, tuple, dict)):  # as an object with methods
                self._reach(value)
            self._value(value, code)

    def _variables(self, frame: FrameType) -> None:
        code, space = frame.f_code, frame.f_globals
        names = names_of(code)
        for name in names.variables:
            if name in space and not isinstance(space[name], ModuleType):
                self._entry(space, name, "variable", code)
            self._value(space.get(name), code)
        for name, cell in self._cells(frame, names.free):
            read = functools.partial(_contents, cell)
            self._read(read, (id(cell), name), "variable", code)

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

    def _value(self, x: Any, code: Any) -> None:
        """Follow the attributes that a code names, from an object."""
        if (isinstance(x, PLAIN) and not isinstance(x, type)) or (id(x), id(code)) in self.seen:
            return
        self.seen.add((id(x), id(code)))
        self.keep.append(x)
        if isinstance(x, (list, tuple, dict)):
            if len(x) <= _LONGEST:
                for part in x.values() if isinstance(x, dict) else x:
                    self._value(part, code)
        elif not _is_of_library(x):
            for name in names_of(code).attributes:
                self._attribute(x, name, code)

    def _attribute(self, owner: Any, name: str, code: Any) -> None:
        own = getattr(owner, "__dict__", None)
        if isinstance(own, dict) and name in own:
            return self._entry(own, name, "attribute", code)
        classes = owner.__mro__ if isinstance(owner, type) else type(owner).__mro__
        holder = next((cls for cls in classes if name in vars(cls)), None)
        value = vars(holder)[name] if holder is not None else MISSING
        if isinstance(value, MemberDescriptorType):  # of __slots__
            read = functools.partial(getattr, owner, name, MISSING)
            self._read(read, (id(owner), name), "attribute", code)
        elif holder is not None and not hasattr(type(value), "__get__"):  # as methods have it
            if isinstance(own, dict):  # which may get one of its own
                self._entry(own, name, "attribute", code)
            if not _is_ours(holder.__module__):
                read = functools.partial(_of_class, holder, name)
                self._read(read, (id(holder), name), "attribute", code)

    def _entry(self, space: dict[str, Any], name: str, kind: str, code: Any) -> None:
        value = space.get(name, MISSING)
        self.guards.entries.setdefault((id(space), name), (space, name, value, kind))
        self._found(value, name, code)

    def _read(self, read: Any, key: tuple[int, str], kind: str, code: Any) -> None:
        value = read()
        self.guards.reads.setdefault(key, (read, key[1], value, kind))
        self._found(value, key[1], code)

    def _found(self, value: Any, name: str, code: Any) -> None:
        """Follow what a variable or attribute holds."""
        self._reach(value)
        self._container(value, name)
        self._value(value, code)

    def _container(self, value: Any, name: str) -> None:
        contents = self.guards.contents
        if not isinstance(value, (list, tuple, dict)) or len(value) > _LONGEST:
            return
        if id(value) not in contents:
            parts = [value, value.values()] if isinstance(value, dict) else [value]
            if not isinstance(value, tuple):
                contents[id(value)] = [(part, list(part), name) for part in parts]
            for part in parts[-1]:
                self._container(part, name)

    def _drop_changed(self) -> None:
        """Leave what the function has changed itself to the comparison of the first replay."""
        guards = self.guards
        for key, (space, name, value, _) in list(guards.entries.items()):
            if not isinstance(value, PLAIN) and space.get(name, MISSING) is not value:
                del guards.entries[key]
        for key, (read, _, value, _) in list(guards.reads.items()):
            if not isinstance(value, PLAIN) and read() is not value:
                del guards.reads[key]
        for number, parts in list(guards.contents.items()):
            if not all(is_unchanged(part, items) for part, items, _ in parts):
                del guards.contents[number]

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
    entries, reads, contents = guards.entries, guards.reads, guards.contents
    found: list[tuple[dict[Any, Any], Any]] = [({None: None}, None)]
    while found:  # what one holds may be dropped next
        for table, key in found:
            del table[key]
        found = []
        ours = Counter(number for number, _ in [*entries, *reads])  # references that guards have
        for table in (entries, reads):
            for key, (source, *_) in table.items():
                holder = source.args[0] if isinstance(source, functools.partial) else source
                if getrefcount(holder) <= ours[key[0]] + _HERE + (holder is source):
                    found.append((table, key))
        for key, parts in contents.items():
            container = parts[0][0]
            if getrefcount(container) <= len(parts) + _HERE:
                found.append((contents, key))


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return MISSING


def _of_class(cls: type, name: str) -> Any:
    return vars(cls).get(name, MISSING)


def _top(module: str) -> str:
    return module.partition(".")[0]


def _is_ours(module: str) -> bool:
    """Return whether a module is of this framework: its variables and classes do not change."""
    return module.startswith("nn_")


def _is_of_library(x: Any) -> bool:
    """Return whether the attributes of an object are none of a program's concern."""
    if isinstance(x, (ModuleType, type)):
        name = x.__name__ if isinstance(x, ModuleType) else x.__module__
        return _top(str(name)) in _UNWATCHED
    return _top(str(type(x).__module__)) in _LIBRARIES
