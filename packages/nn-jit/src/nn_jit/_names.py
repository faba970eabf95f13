"""Which names the code of a function reads: variables around it, modules, and attributes."""

from __future__ import annotations

import dis
import functools
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any, NamedTuple

__all__ = ["Names", "names_of"]

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
    strings = set(_strings(code.co_consts)) if by_string else set()
    attributes = {x for x in (*attributes, *strings) if not x.startswith("__")}
    optional = attributes if used & _ERRORS else attributes & strings
    imports = tuple(found.get("IMPORT_NAME", {}))
    return Names(variables, free, imports, frozenset(attributes), frozenset(optional))


def _strings(constants: Iterable[Any]) -> Iterator[str]:
    """Yield the names among constants, in tuples and sets of them too."""
    for x in constants:
        if isinstance(x, str):
            yield from filter(str.isidentifier, x.split("."))
        elif isinstance(x, (tuple, frozenset)):
            yield from _strings(x)
