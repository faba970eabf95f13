"""What a file holds: arrays by name, and configuration under one reserved key."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from nn_tensor.extend import METADATA_KEY
from numpy.typing import NDArray

from nn_io._errors import FileFormatError, shorten

__all__ = [
    "MAX_DEPTH",
    "MAX_VALUES",
    "METADATA_KEY",
    "PLAIN_DTYPES",
    "HasStateDict",
    "State",
    "dtype_code",
    "metadata_of_version",
    "plain_metadata",
    "plain_state",
]

State: TypeAlias = dict[str, Any]

# By kind and width: the same on every platform, unlike longdouble, and free of references,
# unlike objects.
PLAIN_DTYPES = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16".split())

_NUMERIC = np.ndarray | np.generic | bool | int | float | complex
MAX_DEPTH = 64
MAX_VALUES = 1 << 17


@runtime_checkable
class HasStateDict(Protocol):
    """Anything that returns its parameters as a flat mapping."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the parameters by dotted path."""
        ...


def metadata_of_version(
    state: State, key: str, newest: int, kind: str, reader: str
) -> tuple[dict[str, Any], int]:
    """Remove the metadata of a state, and return it with the version of the file's layout.

    Args:
        state: the contents of a file.
        key: the entry of the metadata with the version.
        newest: the newest version that is known.
        kind: the kind of file that has this entry, for errors.
        reader: the functions that read other files, for errors.

    Raises:
        FileFormatError: if the file is of another kind, or newer.
    """
    metadata = state.pop(METADATA_KEY, None)
    version = metadata.get(key) if isinstance(metadata, dict) else None
    if type(version) is not int or not isinstance(metadata, dict):
        raise FileFormatError(f"is not {kind}; {reader}")
    if version > newest:
        raise FileFormatError(f"is {kind} of version {version}, newer than {newest}")
    return metadata, version


def dtype_code(dtype: np.dtype[Any]) -> str:
    """Return kind and width, without byte order: ``f4``."""
    return f"{dtype.kind}{dtype.itemsize}"


def plain_state(model: HasStateDict | Mapping[str, Any], name: str = "model") -> State:
    """Return the state of `model` as host arrays and plain metadata, in the order of its keys.

    Raises:
        TypeError, ValueError: naming `name` or the key, for what no file can hold.
    """
    if isinstance(model, HasStateDict):
        mapping, expected = model.state_dict(), f"{name}.state_dict(): expected a mapping"
    else:
        mapping, expected = model, f"{name}: expected state_dict() or a mapping of arrays"
    if not isinstance(mapping, Mapping):
        raise TypeError(f"{expected}, got {type(mapping).__name__}")
    state: State = {}
    for key, value in mapping.items():
        _check_text(key, partial("state_dict key {!r}".format, key))
        if "\0" in key:
            raise ValueError(f"state_dict key {key!r}: expected no NUL character")
        state[key] = plain_metadata(value) if key == METADATA_KEY else _host_array(key, value)
    return state


def _check_text(value: object, name: Callable[[], str]) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name()}: expected str, got {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name()}: cannot be written as UTF-8") from None


def _host_array(key: str, value: Any) -> NDArray[Any]:
    name = f"state_dict[{key!r}]"
    if not isinstance(value, _NUMERIC):
        to_host = getattr(value, "numpy", None)
        if hasattr(value, "__cuda_array_interface__"):  # an array of CuPy
            to_host = getattr(value, "get", to_host)
        if callable(to_host):
            try:
                value = to_host()
            except Exception as error:
                raise TypeError(f"{name}: cannot be copied to the host: {error}") from error
    if not isinstance(value, _NUMERIC):
        raise TypeError(f"{name}: expected an array of numbers, got {type(value).__name__}")
    if hasattr(value, "mask"):
        raise TypeError(f"{name}: expected an array without a mask, which no file would keep")
    array = np.asarray(value)
    if dtype_code(array.dtype) not in PLAIN_DTYPES:
        raise TypeError(
            f"{name}: expected bool, integers, float16/32/64 or complex64/128, "
            f"got dtype {array.dtype}"
        )
    return np.asarray(array, dtype=array.dtype.type, order="C")


def plain_metadata(value: object, name: str = METADATA_KEY) -> dict[str, Any]:
    """Return a copy made of dict, list, str, int, float, bool and None only.

    Raises:
        TypeError, ValueError: naming the place, for anything else, or too much of it.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a mapping, got {type(value).__name__}")
    result: dict[str, Any] = _plain(value, name, MAX_DEPTH, [MAX_VALUES])
    return result


# The name of the whole, or the path above and the step from there. It is rendered only for a
# message: a long key would otherwise be copied for each of its children.
_Path: TypeAlias = "tuple[_Path, str | int] | str"


def _root_and_steps(path: _Path) -> tuple[str, list[str | int]]:
    steps: list[str | int] = []
    while not isinstance(path, str):
        path, step = path
        steps.append(step)
    return path, steps[::-1]


def _name(path: _Path) -> str:
    root, steps = _root_and_steps(path)
    return root + "".join(f"[{shorten(s) if isinstance(s, str) else s}]" for s in steps)


def _plain(value: object, path: _Path, depth: int, left: list[int]) -> Any:
    # Counted while walking: lists that share elements are small in memory and exponential written.
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"{_root_and_steps(path)[0]} has more than {MAX_VALUES} values")
    if depth < 0:
        raise ValueError(f"{_root_and_steps(path)[0]} is nested more than {MAX_DEPTH} deep")
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
        f"{_name(path)}: expected dict, list, str, int, float, bool or None, "
        f"got {type(value).__name__}"
    )
