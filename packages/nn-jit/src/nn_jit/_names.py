"""Which names the code of a function reads: variables around it, and attributes."""

from __future__ import annotations

import dis
import functools
from types import CodeType
from typing import NamedTuple

__all__ = ["Names", "names_of"]


class Names(NamedTuple):
    """Names that a code reads itself; those in functions inside it are names of their code."""

    variables: tuple[str, ...]  # global ones
    free: tuple[str, ...]  # of a function around it
    attributes: frozenset[str]


@functools.lru_cache(4096)
def names_of(code: CodeType) -> Names:
    """Return the names that a code reads, in the order of its instructions."""
    found: dict[str, dict[str, None]] = {}
    for instruction in dis.get_instructions(code):
        found.setdefault(instruction.opname, {})[instruction.argval] = None
    variables = tuple(found.get("LOAD_GLOBAL", {}))
    free = tuple(name for name in found.get("LOAD_DEREF", {}) if name in code.co_freevars)
    attributes = {*found.get("LOAD_ATTR", {}), *found.get("LOAD_METHOD", {})}
    if "getattr" in variables:
        attributes.update(x for x in code.co_consts if isinstance(x, str) and x.isidentifier())
    return Names(variables, free, frozenset(x for x in attributes if not x.startswith("__")))
