"""The specification's .pkl: a pickle of plain arrays and a plain dict.

Python's own pickler writes it, and ``pickle.load`` reads it: the mark at its start is pushed and
popped again, and unpicklers stop before the trailer. Reading here never uses Python's unpickler:
see ``_unpickler``.
"""

import pickle
from typing import IO, Any

import numpy as np

from nn_io._bounded_reader import BoundedReader
from nn_io._errors import FileFormatError, shorten
from nn_io._formats._checksum import DIGITS, TRAILER, verify_trailer, write_checksum
from nn_io._formats._metadata import read_metadata
from nn_io._formats._unpickler import PickledArray, Unpickler
from nn_io._state_dict import METADATA_KEY, State

__all__ = ["read", "write"]

_MARK = b"nn_io: a checksum follows"
# PROTO 4, the text, POP.
_START = b"\x80\x04\x8c" + bytes([len(_MARK)]) + _MARK + b"0"


def write(file: IO[bytes], state: State) -> None:
    """Write the mark, the pickle and the checksum."""
    file.write(_START)
    # Protocol 5 writes arrays from where they are; older ones copy each, and keep the copies.
    # But it restores read-only arrays as read-only.
    writable = {
        key: value.copy() if isinstance(value, np.ndarray) and not value.flags.writeable else value
        for key, value in state.items()
    }
    pickle.Pickler(file, protocol=5).dump(writable)
    file.write(TRAILER)
    write_checksum(file, file.tell() - DIGITS)


def read(reader: BoundedReader) -> State:
    """Interpret the pickle; it must be a flat dict of arrays."""
    has_checksum = verify_trailer(reader)
    reader.seek(0)
    has_mark = reader.read(min(len(_START), reader.size), "the start") == _START
    if has_checksum and not has_mark:
        raise FileFormatError("has the checksum of nn_io, but not its start")
    if has_mark and not has_checksum:
        raise FileFormatError("announces a checksum at its start, but has none at its end")
    if not has_mark:
        reader.seek(0)
    content = Unpickler(reader).load()
    if reader.left != (len(TRAILER) if has_checksum else 0):
        raise FileFormatError("has data after the end of the pickle")
    if not isinstance(content, dict):
        raise FileFormatError(f"holds a {type(content).__name__}, expected a dict of arrays")
    return {key: _entry(key, value) for key, value in content.items()}


def _entry(key: str, value: object) -> Any:
    if key == METADATA_KEY:
        return read_metadata(value)
    if isinstance(value, PickledArray) and value.array is not None:
        return value.array
    if isinstance(value, np.generic | bool | float):
        return np.array(value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return np.array(value, np.int64)
    raise FileFormatError(
        f"entry {shorten(key)} is not an array of numbers: {type(value).__name__}"
    )
