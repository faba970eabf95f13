"""`rename_state`: state dicts of other programs under other names and in another layout."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from nn_tensor.extend import keyword_only

from nn_io._state_dict import METADATA_KEY, HasStateDict, plain_state

__all__ = ["rename_state"]

Name: TypeAlias = str | re.Pattern[str]


@keyword_only
def rename_state(
    state: HasStateDict | Mapping[str, Any],
    names: Mapping[Any, str | None],
    *,
    transpose: Iterable[Name] = (),
) -> dict[str, Any]:
    r"""Return a state dict with its entries renamed, for ``load_state_dict``.

    Args:
        state: a mapping from names to arrays, or anything with ``state_dict()``; it is not changed.
        names: new names by old ones. A key is a str, one name, or a compiled pattern, which must
            match a whole name, and its new name may refer to the groups of the match, as in
            ``re.sub``. Names take precedence over patterns, and the first pattern that matches is
            used. None drops an entry.
        transpose: the *new* names of matrices to transpose, or patterns for them.

    Returns:
        Copies of the arrays by new name. Metadata are dropped: they describe the other program.

    Raises:
        ValueError: listing the names, for an entry that `names` does not match, one of `names` or
            `transpose` that matches nothing, two entries that get one name, and a transposed array
            that is not a matrix.
        TypeError: for an argument of the wrong type.

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
    arrays = plain_state(state, "state")
    arrays.pop(METADATA_KEY, None)
    unused = dict.fromkeys(names)
    origin: dict[str, str] = {}
    unmatched: list[str] = []
    problems: list[str] = []
    for old in arrays:
        found = _find(old, names)
        if found is None:
            unmatched.append(old)
            continue
        unused.pop(found[0], None)
        new = found[1]
        if new == METADATA_KEY:
            problems.append(f"{old!r} would be called {new!r}, which is reserved for metadata")
        elif new in origin:
            problems.append(f"{origin[new]!r} and {old!r} would both be called {new!r}")
        elif new is not None:
            origin[new] = old
    problems += [f"no new name for {old!r}" for old in unmatched]
    problems += [f"names: nothing is called {_text(name)}" for name in unused]
    matrices: set[str] = set()
    for name in transposed:
        chosen = [new for new in origin if _matches(new, name)]
        matrices.update(chosen)
        if not chosen:
            problems.append(f"transpose: nothing will be called {_text(name)}")
        for new in chosen:
            shape = arrays[origin[new]].shape
            if len(shape) != 2:
                problems.append(f"transpose: {new!r} has shape {shape}, expected two dimensions")
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise ValueError(f"rename_state: the names do not fit{lines}")
    return {
        new: np.array(arrays[old].T if new in matrices else arrays[old], order="C")
        for new, old in origin.items()
    }


def _checked(names: object, transpose: object) -> list[Name]:
    if not isinstance(names, Mapping):
        raise TypeError(f"names: expected a mapping from old to new, got {type(names).__name__}")
    if isinstance(transpose, str | re.Pattern) or not isinstance(transpose, Iterable):
        raise TypeError(f"transpose: expected a list of names, got {transpose!r}")
    transposed = list(transpose)
    for argument, given in (("names", names), ("transpose", transposed)):
        for name in given:
            if not isinstance(name, str | re.Pattern):
                raise TypeError(f"{argument}: expected str or a compiled pattern, got {name!r}")
    for name, new in names.items():
        if not isinstance(new, str | None):
            raise TypeError(f"names[{_text(name)}]: expected str or None, got {new!r}")
    return transposed


def _find(old: str, names: Mapping[Name, str | None]) -> tuple[Name, str | None] | None:
    """Return the key of `names` for an old name, and the new name."""
    if old in names:
        return old, names[old]
    for name, new in names.items():
        if isinstance(name, re.Pattern) and (match := name.fullmatch(old)) is not None:
            try:
                return name, None if new is None else match.expand(new)
            except (re.error, IndexError) as error:
                raise ValueError(f"names[{_text(name)}] is {new!r}: {error}") from None
    return None


def _matches(new: str, name: Name) -> bool:
    return new == name if isinstance(name, str) else name.fullmatch(new) is not None


def _text(name: Name) -> str:
    return repr(name.pattern if isinstance(name, re.Pattern) else name)
