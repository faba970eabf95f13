"""What a state dict is: arrays by dotted path, and configuration under one reserved key."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nn_io._arrays import PLAIN, code_of
from nn_io._errors import FileFormatError, short
from nn_io._json import parse_object

METADATA_KEY = "__metadata__"
"""The key of a state dict under which its configuration stands; every other holds an array."""

State: TypeAlias = dict[str, Any]

_MAX_DEPTH = 64
_MAX_VALUES = 1 << 17


@runtime_checkable
class HasStateDict(Protocol):
    """Anything that gives its parameters as a flat mapping."""

    def state_dict(self) -> Mapping[str, Any]:
        """Parameters by dotted path."""
        ...


def state_of(model: HasStateDict | Mapping[str, Any], name: str = "model") -> State:
    """The model's state as host arrays and plain metadata, in the order of its keys."""
    if isinstance(model, HasStateDict):
        mapping = model.state_dict()
        if not isinstance(mapping, Mapping):
            raise TypeError(
                f"{name}.state_dict() must return a mapping, got {type(mapping).__name__}"
            )
    elif isinstance(model, Mapping):
        mapping = model
    else:
        raise TypeError(
            f"{name} must have state_dict() or be a mapping of arrays, got {type(model).__name__}"
        )
    state: State = {}
    for key, value in mapping.items():
        _check_text(key, partial("state_dict key {!r}".format, key))
        if "\0" in key:
            raise ValueError(f"state_dict key {key!r} must not hold a NUL character")
        state[key] = plain_metadata(value) if key == METADATA_KEY else _host_array(key, value)
    return state


def _check_text(value: object, name: Callable[[], str]) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name()} must be str, got {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name()} cannot be written as UTF-8") from None


def _host_array(key: str, value: Any) -> NDArray[Any]:
    name = f"state_dict[{key!r}]"
    if not isinstance(value, np.ndarray | np.generic | bool | int | float | complex):
        if hasattr(value, "__cuda_array_interface__") and hasattr(value, "get"):
            value = value.get()
        elif callable(getattr(value, "numpy", None)):
            try:
                value = value.numpy()
            except Exception as error:
                raise TypeError(f"{name}.numpy() failed: {error}") from error
    if not isinstance(value, np.ndarray | np.generic | bool | int | float | complex):
        raise TypeError(f"{name} must be an array of numbers, got {type(value).__name__}")
    if hasattr(value, "mask"):
        raise TypeError(f"{name} is a masked array, whose mask no file would keep")
    array = np.asarray(value)
    if code_of(array.dtype) not in PLAIN:
        raise TypeError(
            f"{name} must hold bool, integers, float16/32/64 or complex64/128, "
            f"got dtype {array.dtype}"
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


# The name of the whole, or what is above and the step from there.
_Path: TypeAlias = "tuple[_Path, str | int] | str"


def _name(path: _Path) -> str:
    # Rendered only for a message: a long key would otherwise be copied for each of its children.
    steps: list[str] = []
    while not isinstance(path, str):
        path, step = path
        steps.append(f"[{short(step) if isinstance(step, str) else step}]")
    return path + "".join(reversed(steps))


def _root(path: _Path) -> str:
    while not isinstance(path, str):
        path, _ = path
    return path


def plain_metadata(value: object, name: str = METADATA_KEY) -> dict[str, Any]:
    """A copy made of dict, list, str, int, float, bool and None only."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, got {type(value).__name__}")
    result: dict[str, Any] = _plain(value, name, _MAX_DEPTH, [_MAX_VALUES])
    return result


def stored_metadata(value: object) -> dict[str, Any]:
    """The same for what a file holds; bytes are JSON."""
    if isinstance(value, bytes):
        value = parse_object(value, "the metadata")
    try:
        return plain_metadata(value)
    except (TypeError, ValueError) as error:
        raise FileFormatError(str(error)) from None


def _plain(value: object, path: _Path, depth: int, left: list[int]) -> Any:
    # Counted while walking: lists that share their parts are small in memory and endless on paper.
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"{_root(path)} has more than {_MAX_VALUES} values")
    if depth < 0:
        raise ValueError(f"{_root(path)} is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, np.bool_ | np.integer | np.floating):
        value = value.item()
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise ValueError(f"{_name(path)} is an integer of more than 64 bits")
        return int(value)
    if isinstance(value, str):
        _check_text(value, lambda: _name(path))
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(item, (path, i), depth - 1, left) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        copy: dict[str, Any] = {}
        for key, item in value.items():
            _check_text(key, lambda: f"a key of {_name(path)}")
            copy[key] = _plain(item, (path, key), depth - 1, left)
        return copy
    raise TypeError(
        f"{_name(path)} must be made of dict, list, str, int, float, bool and None, "
        f"got {type(value).__name__}"
    )
