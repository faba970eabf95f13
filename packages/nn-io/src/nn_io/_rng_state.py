"""States of NumPy's generators as arrays of a state dict."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_io._errors import shorten

__all__ = ["rng_arrays", "rng_state"]

_KIND = "bit_generator"
_MAX_WORDS = 4  # the longest integers of NumPy's generators have two


def rng_arrays(rng: np.random.Generator) -> tuple[str, dict[str, NDArray[Any]]]:
    """Return the name of the bit generator, and its state by dotted path, integers as words."""
    state = dict(rng.bit_generator.state)
    kind = state.pop(_KIND)
    return kind, {
        path: _words(value) if isinstance(value, int) else np.array(value)
        for path, value in _flat(state).items()
    }


def rng_state(
    rng: np.random.Generator, kind: str, arrays: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    """Return what `rng` takes as its state.

    Raises:
        ValueError: without the name of the file or argument, if it would not take it.
    """
    state: dict[str, Any] = dict(rng.bit_generator.state)
    if kind != state[_KIND]:
        raise ValueError(f"is a {state[_KIND]}, the file holds a {shorten(kind)}")
    present = _flat({name: value for name, value in state.items() if name != _KIND})
    if present.keys() != arrays.keys():
        raise ValueError(f"needs {sorted(present)}, the file holds {sorted(arrays)[:20]}")
    for path, value in present.items():
        *above, name = path.split(".")
        place = state
        for step in above:
            place = place[step]
        place[name] = _restored(path, arrays[path], value)
    _try(rng, state)
    return state


def _restored(path: str, array: NDArray[Any], present: Any) -> Any:
    """Return the new value at `path` of a state, which must be like the present one."""
    if isinstance(present, int):
        if array.dtype != np.uint64 or array.ndim != 1 or array.size > _MAX_WORDS:
            raise ValueError(f"needs at most {_MAX_WORDS} 64-bit words for {path}")
        return sum(int(word) << (64 * i) for i, word in enumerate(array))
    if array.dtype != present.dtype or array.shape != present.shape:
        raise ValueError(f"needs {present.dtype} {present.shape} for {path}")
    return array


def _try(rng: np.random.Generator, state: dict[str, Any]) -> None:
    """Check on another generator of the kind that the state is valid."""
    # Beyond its 624 words NumPy would read what is not the generator's.
    if state[_KIND] == "MT19937" and state["state"]["pos"] > 624:
        raise ValueError("needs a position of at most 624")
    other = type(rng.bit_generator)(0)
    try:
        other.state = state
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"does not take the state that the file holds: {error}") from None
    taken = _flat(other.state)
    for path, given in _flat(state).items():
        if not np.array_equal(taken[path], given):
            raise ValueError(f"does not take the {path} that the file holds")


def _flat(state: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by dotted path."""
    flat: dict[str, Any] = {}
    for name, value in state.items():
        nested = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat


def _words(number: int) -> NDArray[np.uint64]:
    """Return an integer as 64-bit words, the lowest first."""
    count = max(1, -(-number.bit_length() // 64))
    return np.frombuffer(number.to_bytes(8 * count, "little"), "<u8").astype(np.uint64)
