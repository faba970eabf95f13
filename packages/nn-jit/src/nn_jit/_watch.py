"""Watches what a function reads of Python: variables around it, attributes, contents of lists.

A replay does not run Python, so a program serves as long as all this is the same. Each call of a
function outside of the libraries is seen, in helpers and comprehensions too: the variables that its
code names, and whatever is reached from these and from its arguments by attributes that it names.
"""

from __future__ import annotations

import dis
import functools
import gc
import inspect
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from sys import getrefcount
from types import CellType, CodeType, FrameType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any, NamedTuple

from nn_tensor import Tensor
from nn_tensor.extend import FRAMEWORK, current_observer, leaves_of

from nn_jit._program import Read
from nn_jit._same import MISSING, PLAIN, same

__all__ = ["Watcher", "drop_temporary"]

_LIBRARIES = {"nn_tensor", "nn_kernels", "nn_jit", "numpy", "numba", "cupy"}
_UNWATCHED = sys.stdlib_module_names | _LIBRARIES | {"nn_optim"}
_CONTAINERS = (list, tuple, dict, set, frozenset, deque)
_NAMED = ("variable", "attribute")
_LONGEST = 256  # containers beyond it are data, not structure


_BY_STRING = {"getattr", "hasattr", "attrgetter", "vars", "__dict__"}
_ERRORS = {"AttributeError", "Exception", "suppress"}


class Names(NamedTuple):
    """Names that a code reads itself; those in functions inside it are names of their code."""

    variables: tuple[str, ...]  # global ones
    free: tuple[str, ...]  # of a function around it
    imports: tuple[str, ...]  # modules, perhaps relative to a package
    attributes: frozenset[str]
    optional: frozenset[str]  # attributes without which it may go on


@functools.lru_cache(4096)
def names_of(code: CodeType) -> Names:
    """Return the names that a code reads, in the order of its instructions."""
    found: dict[str, dict[str, None]] = {}
    for instruction in dis.get_instructions(code):
        found.setdefault(instruction.opname, {})[instruction.argval] = None
    variables = tuple(found.get("LOAD_GLOBAL", {}))
    free = tuple(name for name in found.get("LOAD_DEREF", {}) if name in code.co_freevars)
    kinds = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM")
    attributes = {name for kind in kinds for name in found.get(kind, {})}
    used = {*variables, *free, *attributes}
    by_string = used & _BY_STRING or "MATCH_CLASS" in found
    constants = [list(x) if isinstance(x, frozenset) else x for x in code.co_consts]
    texts = [x for x in leaves_of(constants) if isinstance(x, str) and by_string]
    strings = {name for text in texts for name in text.split(".") if name.isidentifier()}
    attributes = {x for x in (*attributes, *strings) if not x.startswith("__")}
    optional = attributes if used & _ERRORS else attributes & strings
    imports = tuple(found.get("IMPORT_NAME", {}))
    return Names(variables, free, imports, frozenset(attributes), frozenset(optional))


class Watcher:
    """Collects what one recording has read, from the calls of functions.

    What code outside of the framework names is followed from all objects that are reached; what
    the framework's own code names, from what this code reaches.
    """

    def __init__(self, reads: dict[Any, Read], finds_holders: bool) -> None:
        self.reads = reads
        self.finds_holders = finds_holders
        self.names: dict[str, bool] = {}  # of user code; whether it may go on without
        self.objects: dict[int, Any] = {}  # kept, so that no identity is used twice
        self.seen: set[tuple[Any, ...]] = set()  # objects and containers, by code
        self.waiting: list[tuple[Any, CodeType | None, str]] = []  # to be followed
        self.functions: dict[Any, list[FunctionType]] = {}
        self.reached: dict[int, Any] = {}  # other than by an argument

    def watch(self, function: Callable[[], Any]) -> Any:
        """Call a function, watch the calls of this thread, and return its result."""
        # Profilers are told of functions in C too, before each call: where Ctrl-C comes then, it is
        # left out, and a `with` block leaves its lock locked. Tracing goes by them.
        get: Any = sys.gettrace
        replace: Any = sys.settrace
        if get() is not None:  # a debugger, which goes on
            get, replace = sys.getprofile, sys.setprofile
        before = get()
        pause, resume = (getattr(before, n, lambda: None) for n in ("disable", "enable"))
        try:  # no context manager, before whose end Ctrl-C may come: it would not stop
            pause()  # a cProfile
            replace(self._called)
            result = function()
        finally:
            replace(before if callable(before) else None)
            resume()
        self._drop_changed()
        return result

    def _called(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or current_observer() is None:  # which an external has not
            return
        code, module = frame.f_code, _top(frame.f_globals.get("__name__", ""))
        if module in _UNWATCHED or module.startswith("namedtuple_"):  # whose code is generated
            return
        if module not in FRAMEWORK:
            self._variables(frame)
        names, values = inspect.getargs(code), frame.f_locals
        for name in (*names.args, names.varargs, names.varkw):
            value = values.get(name or "")
            if not isinstance(value, (Tensor, *_CONTAINERS)):  # as an object with methods
                self._reach(value)
            self.waiting.append((value, code if module in FRAMEWORK else None, ""))
        while self.waiting:
            self._follow(*self.waiting.pop())

    def _variables(self, frame: FrameType) -> None:
        names, space = names_of(frame.f_code), frame.f_globals
        for name in names.attributes:
            if name not in self.names or (name in names.optional and not self.names[name]):
                self.names[name] = name in names.optional
                for x in list(self.objects.values()):
                    self._attribute(x, name, None)
        for name in names.variables:
            if isinstance(space.get(name), ModuleType):
                self.waiting.append((space[name], None, ""))
            elif name in space:
                self._read(_entry(space, name), name, "variable", None)
        package = str(space.get("__package__") or "").split(".")
        parents = [package[:n] for n in range(len(package) + 1)]
        paths = [".".join((*p, name)).rstrip(".") for name in names.imports for p in parents]
        self.waiting += [(sys.modules.get(path), None, "") for path in paths]
        for cells in self._cells(frame) if names.free else []:
            for name in names.free:
                self._read(partial(_contents, cells[name]), name, "variable", None)

    def _cells(self, frame: FrameType) -> list[dict[str, CellType]]:
        """Return the variables that a frame takes from functions around it: it may be of several.

        A frame does not say which function it is of.
        """
        code, values = frame.f_code, frame.f_locals
        for is_searched in (False, True):
            if is_searched:
                referrers = gc.get_referrers(code)
                self.functions[code] = [x for x in referrers if isinstance(x, FunctionType)]
            known = [f for f in self.functions.get(code, []) if f.__code__ is code]
            named = [dict(zip(code.co_freevars, f.__closure__ or (), strict=True)) for f in known]
            found = [c for c in named if all(_contents(c[n]) is values.get(n, MISSING) for n in c)]
            if found:
                break
        return found

    def _reach(self, x: Any) -> None:
        if self.finds_holders and not isinstance(x, PLAIN):
            self.reached[id(x)] = x

    def _follow(self, x: Any, code: CodeType | None, name: str) -> None:
        """Follow the attributes that are named, from an object; `name` is that of a container."""
        if isinstance(x, PLAIN) and not isinstance(x, type):
            return
        if isinstance(x, _CONTAINERS):
            key = (id(x), len(x), code, bool(name))
            if len(x) <= _LONGEST and key not in self.seen:
                self.seen.add(key)
                self._items(x, code, name)
            if type(x) in _CONTAINERS:
                self.objects.setdefault(id(x), x)
                return
        if _is_of_library(x):
            return
        if id(x) not in self.objects:
            self.objects[id(x)] = x
            for attribute in self.names:
                self._attribute(x, attribute, None)
        if code is not None and (id(x), code) not in self.seen:
            self.seen.add((id(x), code))
            for attribute in names_of(code).attributes:
                self._attribute(x, attribute, code)

    def _items(self, x: Any, code: CodeType | None, name: str) -> None:
        """Follow what is in a container; each item is watched for itself: some may change."""
        pairs = list(x.items() if isinstance(x, dict) else enumerate(x))
        if not name or isinstance(x, (tuple, frozenset)):
            self.waiting += [(part, code, name and f"{name}[{key!r}]") for key, part in pairs]
            return
        if isinstance(x, (dict, set)):
            self._read(partial(tuple, x), name, "keys of", code)
        else:
            self._read(partial(len, x), name, "size of", code)
        for key, _ in [] if isinstance(x, set) else pairs:
            read = _entry(x, key) if isinstance(x, dict) else partial(_item, x, key)
            self._read(read, f"{name}[{key!r}]", "item", code)

    def _attribute(self, owner: Any, name: str, code: CodeType | None) -> None:
        own = getattr(owner, "__dict__", None)
        cls = owner if isinstance(owner, type) else type(owner)
        value = next((vars(c)[name] for c in cls.__mro__ if name in vars(c)), MISSING)
        read = partial(getattr, owner, name, MISSING)
        if isinstance(value, MemberDescriptorType) or isinstance(owner, threading.local):
            return self._read(read, name, "attribute", code)  # of __slots__, or of a thread
        if isinstance(own, dict) and name in own:
            return self._read(_entry(own, name), name, "attribute", code)
        is_ours = _top(cls.__module__) in FRAMEWORK
        may_lack = self.names.get(name) or not (is_ours or not hasattr(cls, "__getattr__"))
        if hasattr(type(value), "__get__") or (value is MISSING and not may_lack):
            return None  # a method, or nothing
        if isinstance(own, dict):  # which may get one of its own
            self._read(_entry(own, name), name, "attribute", code)
        read = partial(getattr, cls, name, MISSING)
        if not is_ours and read() is value:
            self._read(read, name, "attribute", code)
        return None

    def _read(self, function: partial[Any], name: str, kind: str, code: CodeType | None) -> None:
        """Watch a variable, an attribute or an item, and follow its value."""
        value = function()
        key = id(function.args[0]), function.func, *function.args[1:2]
        self.reads.setdefault(key, Read(function, name, value, kind))
        self._reach(value)
        self.waiting.append((value, code, name))

    def _drop_changed(self) -> None:
        """Leave what the function has changed itself to the comparison of the first replay."""
        for key, read in list(self.reads.items()):
            may_go = read.kind not in _NAMED or not isinstance(read.value, PLAIN)
            if may_go and not same(read.function(), read.value):
                del self.reads[key]

    def holds(self, tensor: Tensor) -> bool:
        """Return whether a Tensor is reached from variables, or from an object that is called."""
        waiting, seen = list(self.reached.values()), set()
        while waiting:
            x = waiting.pop()
            if x is tensor:
                return True
            if id(x) not in seen and gc.is_tracked(x) and not _is_of_library(x):
                seen.add(id(x))
                if not isinstance(x, (ModuleType, type, FunctionType)):
                    waiting += gc.get_referents(x)
        return False


def drop_temporary(reads: dict[Any, Read]) -> None:
    """Drop what the function has made itself and nobody holds any longer, which would be kept."""
    found = [None]
    while found:  # what one holds may be dropped next
        ours = Counter(key[0] for key in reads)  # references that guards have, and one by the call
        found = [k for k, r in reads.items() if getrefcount(r.function.args[0]) <= ours[k[0]] + 1]
        for key in found:
            del reads[key]


def _entry(space: dict[Any, Any], key: Any) -> partial[Any]:
    return partial(dict.get, space, key, MISSING)  # without __missing__


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
