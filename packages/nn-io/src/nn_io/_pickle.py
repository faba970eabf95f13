"""The specification's .pkl: a pickle of plain arrays and a plain dict.

Python's own pickler writes it, and ``pickle.load`` reads it: the mark at its start is pushed and
dropped again, and unpicklers stop before the trailer. Reading here never uses an unpickler: see
``_unpickle``.
"""

import pickle
from typing import IO, Any

import numpy as np

from nn_io._checksum import DIGITS, TRAILER, check_trailer, seal
from nn_io._errors import FileFormatError, short
from nn_io._source import Source
from nn_io._state import METADATA_KEY, State, stored_metadata
from nn_io._unpickle import BuiltArray, Machine

_MARK = b"nn_io: a checksum follows"
# PROTO 4, the text, POP.
_START = b"\x80\x04\x8c" + bytes([len(_MARK)]) + _MARK + b"0"


def write(file: IO[bytes], state: State) -> None:
    """Write the mark, the pickle and the checksum."""
    file.write(_START)
    # Protocol 5 writes arrays from where they are; older ones copy each, and keep the copies.
    # But what is read-only it gives back as read-only.
    writable = {
        key: value.copy() if isinstance(value, np.ndarray) and not value.flags.writeable else value
        for key, value in state.items()
    }
    pickle.Pickler(file, protocol=5).dump(writable)
    file.write(TRAILER)
    seal(file, file.tell() - DIGITS)


def read(source: Source) -> State:
    """Interpret the pickle; it must be a flat dict of arrays."""
    sealed = check_trailer(source)
    source.seek(0)
    begins = source.read(min(len(_START), source.size), "the start")
    if begins != _START:
        source.seek(0)
        if sealed:
            raise FileFormatError("has the checksum of nn_io, but not its start")
    elif not sealed:
        raise FileFormatError("announces a checksum at its start, but has none at its end")
    content = Machine(source).run()
    if source.left != (len(TRAILER) if sealed else 0):
        raise FileFormatError("has data after the end of the pickle")
    if not isinstance(content, dict):
        raise FileFormatError(f"holds no dict of arrays, but {type(content).__name__}")
    return {key: _entry(key, value) for key, value in content.items()}


def _entry(key: str, value: object) -> Any:
    if key == METADATA_KEY:
        return stored_metadata(value)
    if isinstance(value, BuiltArray):
        if value.array is None:
            raise FileFormatError(f"entry {short(key)} is an array without its data")
        return value.array
    if isinstance(value, np.generic | bool | float):
        return np.array(value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return np.array(value, np.int64)
    raise FileFormatError(f"entry {short(key)} is no array of numbers: {type(value).__name__}")
