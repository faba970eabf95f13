"""Reading a state dict of another library by a table of names, shapes and layouts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nn_tensor.extend import describe

__all__ = ["Reading", "Row", "Table", "read"]

_METADATA = "__metadata__"
_NUMBER = re.compile(r"(?<=\.)(0|[1-9]\d*)(?=\.)")
_PARTS = ("query", "key", "value")


@dataclass(frozen=True)
class Row:
    """One array of theirs, and what it is here.

    Attributes:
        source: their name; ``{n}`` stands for the number of a layer.
        target: the name here; ``*`` stands for query, key and value: theirs holds the three behind
            each other on the axis of the outputs.
        shape: that of each target, in the names of the constructors' arguments.
        turned: whether theirs has the two axes the other way round.
        needs: what the model must have for this to be there; ``bias`` is added for biases.
    """

    source: str
    target: str
    shape: tuple[str, ...]
    turned: bool = False
    needs: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """The names here, one or three."""
        if "*" not in self.target:
            return (self.target,)
        return tuple(self.target.replace("*", part) for part in _PARTS)

    @property
    def conditions(self) -> frozenset[str]:
        """All that must be given for this to be there."""
        return frozenset(self.needs + ("bias",) * self.source.endswith("bias"))

    def below(self, source: str, target: str, needs: tuple[str, ...] = ()) -> Row:
        """Return the same row for a part that is called `source` there and `target` here."""
        return Row(
            source + self.source, target + self.target, self.shape, self.turned, needs + self.needs
        )


@dataclass(frozen=True)
class Table:
    """The names of one kind of model.

    Attributes:
        rows: its arrays.
        prefix: what may stand before each name.
        spellings: endings of names in older files, and what they are now.
        dropped: names of what is no weight.
        refused: endings of names of what there is no place for here, and why.
    """

    rows: tuple[Row, ...]
    prefix: str = ""
    spellings: Mapping[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)


class Reading:
    """What a table found in a state; see `read`.

    Attributes:
        sizes: the constructor's arguments that shapes tell.
        layers: how many layers there are, by the name before their number.
        given: which conditions of rows hold.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.layers: dict[str, int] = {}
        self.given: frozenset[str] = frozenset()
        self.entries: list[tuple[Row, int, Any]] = []

    def state(self) -> dict[str, Any]:
        """Return copies of the arrays in the layout and under the names of here."""
        result: dict[str, Any] = {}
        for row, number, array in self.entries:
            parts = np.split(array.T if row.turned else array, len(row.targets), axis=-1)
            for target, part in zip(row.targets, parts, strict=True):
                result[target.replace("{n}", str(number))] = np.array(part, order="C")
        return result


def read(caller: str, table: Table, state: Any, ignore: Iterable[str] | None = None) -> Reading:
    """Return what `table` finds in `state`, or raise and list all that does not fit.

    Args:
        caller: begins the message of an error.
        table: the names.
        state: arrays by name.
        ignore: first parts of names to leave out; None if the caller has no such argument.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"{caller}: state: expected a dict of arrays, got {describe(state)}")
    if isinstance(ignore, str):
        raise TypeError(f"{caller}: ignore: expected a list of names, got {ignore!r}")
    problems: list[str] = []
    found = _found(table, state, None if ignore is None else tuple(ignore), problems)
    reading = Reading()
    rows = {row.source: row for row in table.rows}
    reading.given = frozenset().union(*(rows[source].conditions for source, _ in found))
    numbers = _numbers(table, found, problems)
    reading.layers = {before: len(present) for before, present in numbers.items()}
    for row in table.rows:
        before, numbered, after = row.source.partition("{n}")
        for number in (numbers[before] or [0]) if numbered else [0]:
            if (row.source, number) in found:
                name = found[row.source, number]
                try:
                    array = _array(state[name])
                    _fit(row, array.shape, reading.sizes)
                    reading.entries.append((row, number, array))
                except (TypeError, ValueError) as error:
                    problems.append(f"{name}: {error}")
            elif row.conditions <= reading.given:
                name = f"{before}{number}{after}" if numbered else row.source
                problems.append(f"missing: {name}, shape {_shape(row, reading.sizes)}")
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise ValueError(f"{caller}: the state does not fit{lines}")
    return reading


def _found(
    table: Table, state: Mapping[str, Any], ignore: tuple[str, ...] | None, problems: list[str]
) -> dict[tuple[str, int], str]:
    """Return the names in `state` by row and number of layer."""
    sources = {row.source for row in table.rows}
    found: dict[tuple[str, int], str] = {}
    foreign: list[str] = []
    for name in state:
        if name == _METADATA:
            continue
        source, number = _place(table, name) if isinstance(name, str) else ("", 0)
        short = str(name).removeprefix(table.prefix)
        if source in table.dropped or any(
            f"{short}.".startswith(f"{part}.") for part in ignore or ()
        ):
            continue
        reasons = [why for ending, why in table.refused.items() if short.endswith(ending)]
        if source in sources:
            if (source, number) in found:
                problems.append(f"{found[source, number]} and {name} are the same")
            found[source, number] = name
        elif reasons:
            problems.append(f"{name}: {reasons[0]}")
        else:
            problems.append(f"unknown: {name}, {describe(state[name])}")
            foreign.append(short.partition(".")[0])
    known = {source.partition(".")[0] for source in sources}
    heads = [name for name in dict.fromkeys(foreign) if name not in known]
    if heads and ignore is not None:
        problems.append(f"to leave out what has no place here: ignore={[*ignore, *heads]}")
    return found


def _place(table: Table, name: str) -> tuple[str, int]:
    """Return the `Row.source` that a name has, and the number in it."""
    name = name.removeprefix(table.prefix)
    for old, new in table.spellings.items():
        if name.endswith(old):
            name = name.removesuffix(old) + new
    number = _NUMBER.search(name)
    if number is None:
        return name, 0
    return f"{name[: number.start()]}{{n}}{name[number.end() :]}", int(number[0])


def _numbers(
    table: Table, found: Iterable[tuple[str, int]], problems: list[str]
) -> dict[str, list[int]]:
    """Return the layers' numbers by what stands before them."""
    sets: dict[str, set[int]] = {
        row.source.partition("{n}")[0]: set() for row in table.rows if "{n}" in row.source
    }
    for source, number in found:
        before, numbered, _ = source.partition("{n}")
        if numbered:
            sets[before].add(number)
    numbers = {before: sorted(present) for before, present in sets.items()}
    for before, present in numbers.items():
        if present != list(range(len(present))):
            listed = ", ".join(map(str, present))
            problems.append(f"{before}*: layers are numbered {listed}, expected 0, 1, 2, ...")
    return numbers


def _array(value: Any) -> Any:
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever another library's conversion raises
        raise TypeError(f"NumPy cannot read {describe(value)}: {error}") from None
    if array.dtype.kind not in "fiu":
        raise TypeError(f"expected real numbers, got {describe(value)}")
    return array


def _fit(row: Row, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    """Check a shape, and add the sizes that it tells."""
    new = dict(sizes)
    lengths = shape[::-1] if row.turned else shape
    parts = len(row.targets)
    fits = len(lengths) == len(row.shape) and lengths[-1] % parts == 0
    for size, length in _pairs(row, lengths) if fits else ():
        fits = fits and new.setdefault(size, length) == length
    if not fits:
        raise ValueError(f"expected shape {_shape(row, sizes)}, got {shape}")
    sizes.update(new)


def _pairs(row: Row, lengths: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    *others, last = lengths
    return zip(row.shape, [*others, last // len(row.targets)], strict=True)


def _shape(row: Row, sizes: Mapping[str, int]) -> str:
    """Return the shape that theirs should have, in numbers where they are known."""
    parts = [1] * (len(row.shape) - 1) + [len(row.targets)]
    texts = [
        str(sizes[size] * times) if size in sizes else size if times == 1 else f"{times}*{size}"
        for size, times in zip(row.shape, parts, strict=True)
    ]
    ordered = texts[::-1] if row.turned else texts
    return f"({', '.join(ordered)}{',' * (len(texts) == 1)})"
