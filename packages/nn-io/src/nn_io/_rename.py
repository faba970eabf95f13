"""States of other programs under the names, and in the layout, of one's own."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nn_io._state import METADATA_KEY, HasStateDict, state_of

Name: TypeAlias = str | re.Pattern[str]


def rename_state(
    state: HasStateDict | Mapping[str, Any],
    names: Mapping[Any, str | None],
    transpose: Iterable[Name] = (),
) -> dict[str, Any]:
    r"""Return a state dict with other names, for ``load_state_dict``; ``state`` stays as it is.

    ``names`` maps old names to new ones. A key is text, one name, or a compiled pattern, which must
    match a whole name, and its new name may refer to the groups of the match, as in ``re.sub``.
    Names go before patterns, and the first pattern that matches counts. None leaves an entry out.
    ``transpose`` holds *new* names, or patterns for them, of matrices whose two axes are to be
    exchanged. Metadata are left out: they describe what the other program had.

    Raises ValueError, listing the names, for an entry that ``names`` does not match, one of
    ``names`` or ``transpose`` that matches nothing, two entries that get one name, and a transposed
    array that is no matrix; TypeError for an argument of another type.

    A ``torch.nn.Linear`` keeps its weight as (outputs, inputs), a ``Dense`` of nn-layers its
    weights as (inputs, outputs):

    >>> import re
    >>> import numpy as np
    >>> linear = {"weight": np.ones((10, 64)), "bias": np.zeros(10)}
    >>> names = {"weight": "weights", "bias": "bias"}
    >>> dense = rename_state(linear, names, transpose=["weights"])
    >>> {name: array.shape for name, array in dense.items()}
    {'weights': (64, 10), 'bias': (10,)}

    The same for every layer of a network, whose first layers are called ``net.0``, ``net.2``:

    >>> network = {f"net.{i}.{name}": array for i in (0, 2) for name, array in linear.items()}
    >>> names = {
    ...     re.compile(r"net\.(\d+)\.weight"): r"\1.weights",
    ...     re.compile(r"net\.(\d+)\.bias"): r"\1.bias",
    ... }
    >>> list(rename_state(network, names, transpose=[re.compile(r".*\.weights")]))
    ['0.weights', '0.bias', '2.weights', '2.bias']
    """
    transposed = _checked(names, transpose)
    arrays = state_of(state, "state")
    arrays.pop(METADATA_KEY, None)
    used: set[Name] = set()
    origin: dict[str, str] = {}
    unmatched: list[str] = []
    problems: list[str] = []
    for old in arrays:
        found = _match(old, names)
        if found is None:
            unmatched.append(old)
            continue
        used.add(found[0])
        new = found[1]
        if new is None:
            continue
        if new == METADATA_KEY:
            problems.append(f"{old!r} would be called {new!r}, which is no array's name")
        elif new in origin:
            problems.append(f"{origin[new]!r} and {old!r} would both be called {new!r}")
        else:
            origin[new] = old
    problems += [f"no new name for {old!r}" for old in unmatched]
    problems += [f"names: nothing is called {_text(name)}" for name in names if name not in used]
    result: dict[str, Any] = {new: arrays[old] for new, old in origin.items()}
    for name in transposed:
        chosen = [new for new in result if _is(new, name)]
        if not chosen:
            problems.append(f"transpose: nothing will be called {_text(name)}")
        for new in chosen:
            if result[new].ndim != 2:
                problems.append(f"transpose: {new!r} has shape {result[new].shape}, not two axes")
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise ValueError(f"rename_state: the names do not fit{lines}")
    for new, array in result.items():
        turned = any(_is(new, name) for name in transposed)
        result[new] = _copy(array.T if turned else array)
    return result


def _copy(array: NDArray[Any]) -> NDArray[Any]:
    return np.array(array, order="C")


def _checked(names: object, transpose: object) -> list[Name]:
    if not isinstance(names, Mapping):
        raise TypeError(f"names must be a mapping from old to new, got {type(names).__name__}")
    if isinstance(transpose, str | re.Pattern) or not isinstance(transpose, Iterable):
        raise TypeError(f"transpose must be a list of names, got {transpose!r}")
    for name, new in names.items():
        if not isinstance(name, str | re.Pattern):
            raise TypeError(f"names: an old name must be str or a compiled pattern, got {name!r}")
        if not isinstance(new, str | None):
            raise TypeError(f"names[{_text(name)}] must be str or None, got {new!r}")
    wanted = list(transpose)
    for name in wanted:
        if not isinstance(name, str | re.Pattern):
            raise TypeError(f"transpose: a name must be str or a compiled pattern, got {name!r}")
    return wanted


def _match(old: str, names: Mapping[Name, str | None]) -> tuple[Name, str | None] | None:
    """The entry of ``names`` for an old name, and the new name."""
    if old in names:
        return old, names[old]
    for name, new in names.items():
        if isinstance(name, re.Pattern) and (match := name.fullmatch(old)) is not None:
            try:
                return name, None if new is None else match.expand(new)
            except (re.error, IndexError) as error:
                raise ValueError(f"names[{_text(name)}] is {new!r}: {error}") from None
    return None


def _is(new: str, name: Name) -> bool:
    if isinstance(name, re.Pattern):
        return name.fullmatch(new) is not None
    return new == name


def _text(name: Name) -> str:
    return repr(name.pattern if isinstance(name, re.Pattern) else name)
