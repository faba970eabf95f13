"""States of NumPy's generators as arrays of a state dict."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_io._errors import short

_KIND = "bit_generator"
_MOST_WORDS = 4  # the longest integers of NumPy's generators have two


def rng_arrays(rng: np.random.Generator) -> tuple[str, dict[str, NDArray[Any]]]:
    """The name of the bit generator, and its state by dotted path; integers as 64-bit words."""
    state = rng.bit_generator.state
    arrays = {
        path: _words(value) if isinstance(value, int) else np.array(value)
        for path, value in _leaves(state)
    }
    return state[_KIND], arrays


def rng_state(
    rng: np.random.Generator, kind: str, arrays: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    """What `rng` takes as its state; raise ValueError, without the file's or argument's name."""
    template = rng.bit_generator.state
    if kind != template[_KIND]:
        raise ValueError(f"is a {template[_KIND]}, the file holds a {short(kind)}")
    leaves = dict(_leaves(template))
    if leaves.keys() != arrays.keys():
        raise ValueError(f"needs {sorted(leaves)}, the file holds {sorted(arrays)[:20]}")
    state = _filled(template, arrays, "")
    _try(rng, state)
    return state


def _try(rng: np.random.Generator, state: dict[str, Any]) -> None:
    """See on another generator of the kind that the state is one."""
    # Beyond its 624 words NumPy would read what is not the generator's.
    if state[_KIND] == "MT19937" and state["state"]["pos"] > 624:
        raise ValueError("needs a position of at most 624")
    other = type(rng.bit_generator)(0)
    try:
        other.state = state
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"does not take the state that the file holds: {error}") from None
    for (path, taken), (_, given) in zip(_leaves(other.state), _leaves(state), strict=True):
        if not np.array_equal(taken, given):
            raise ValueError(f"does not take the {path} that the file holds")


def _leaves(state: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in state.items():
        if isinstance(value, Mapping):
            found += _leaves(value, f"{prefix}{name}.")
        elif name != _KIND:
            found.append((prefix + name, value))
    return found


def _filled(
    template: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], prefix: str
) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for name, value in template.items():
        path = prefix + name
        if isinstance(value, Mapping):
            filled[name] = _filled(value, arrays, f"{path}.")
        elif name == _KIND:
            filled[name] = value
        elif isinstance(value, int):
            words = arrays[path]
            if words.dtype != np.uint64 or words.ndim != 1 or words.size > _MOST_WORDS:
                raise ValueError(f"needs at most {_MOST_WORDS} 64-bit words for {path}")
            filled[name] = sum(int(word) << (64 * i) for i, word in enumerate(words))
        else:
            if arrays[path].dtype != value.dtype or arrays[path].shape != value.shape:
                raise ValueError(f"needs {value.dtype} {value.shape} for {path}")
            filled[name] = arrays[path]
    return filled


def _words(number: int) -> NDArray[np.uint64]:
    words: list[int] = []
    while number or not words:
        words.append(number & (2**64 - 1))
        number >>= 64
    return np.array(words, np.uint64)
