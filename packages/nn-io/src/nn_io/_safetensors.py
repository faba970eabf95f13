"""safetensors, read and written with NumPy alone.

Eight bytes give the length of a JSON header; the header gives for each tensor its dtype, shape
and place in the data that follow. The header keeps the order of the state dict; the data lie by
falling item size, so that every tensor is aligned.
"""

from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nn_io._arrays import array_from_bytes, code_of
from nn_io._checksum import BLANK, check, seal
from nn_io._errors import FileFormatError, short
from nn_io._json import MAX_BYTES, dump_object, parse_object
from nn_io._source import Source
from nn_io._state import METADATA_KEY, State, stored_metadata

_CODES = {
    "BOOL": "b1",
    "U8": "u1",
    "I8": "i1",
    "U16": "u2",
    "I16": "i2",
    "F16": "f2",
    "U32": "u4",
    "I32": "i4",
    "F32": "f4",
    "U64": "u8",
    "I64": "i8",
    "F64": "f8",
    "C64": "c8",
}
_NAMES = {code: name for name, code in _CODES.items()}

# In JSON these bytes can only be a key that is followed by text: a quotation mark within text
# is escaped, and a tensor's key is followed by an object.
_FORMAT_MARK = b'"nn_io.format":"1"'
_SUM_MARK = b'"nn_io.sha256":"'
_FORMAT, _SUM, _METADATA = "nn_io.format", "nn_io.sha256", "nn_io.metadata"


def write(file: IO[bytes], state: State) -> None:
    """Write header, data and checksum."""
    arrays = {key: value for key, value in state.items() if key != METADATA_KEY}
    ordered = sorted(arrays, key=lambda key: -arrays[key].dtype.itemsize)
    header = _header(state, arrays, ordered)
    file.write(len(header).to_bytes(8, "little"))
    file.write(header)
    for key in ordered:
        array = arrays[key]
        # Without a copy on all but big-endian machines.
        file.write(np.asarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data)
    seal(file, 8 + header.index(_SUM_MARK) + len(_SUM_MARK))


def _header(state: State, arrays: dict[str, NDArray[Any]], ordered: list[str]) -> bytes:
    offsets: dict[str, list[int]] = {}
    end = 0
    for key in ordered:
        start, end = end, end + arrays[key].nbytes
        offsets[key] = [start, end]
    notes = {_FORMAT: "1", _SUM: BLANK.decode()}
    header: dict[str, Any] = {} if METADATA_KEY in state else {METADATA_KEY: notes}
    for key, value in state.items():
        if key == METADATA_KEY:
            header[key] = notes | {_METADATA: dump_object(value).decode()}
            continue
        name = _NAMES.get(code_of(value.dtype))
        if name is None:
            raise TypeError(
                f"state_dict[{key!r}] has dtype {value.dtype}, which safetensors cannot hold; "
                "save it as .npz or .pkl"
            )
        header[key] = {"dtype": name, "shape": value.shape, "data_offsets": offsets[key]}
    text = dump_object(header)
    if len(text) > MAX_BYTES - 8:
        raise ValueError(f"state_dict needs a header of {len(text)} bytes, more than {MAX_BYTES}")
    return text + b" " * (-len(text) % 8)


def read(source: Source) -> State:
    """Check the whole header, then read the tensors."""
    length = int.from_bytes(source.read(8, "the length of the header"), "little")
    if length > MAX_BYTES:
        raise FileFormatError(f"claims a header of {length} bytes, more than {MAX_BYTES}")
    raw = source.read(length, "the header")
    sealed = _check_sum(source, raw)
    if not raw.startswith(b"{"):
        raise FileFormatError("has a header that does not begin with '{'")
    header = parse_object(raw, "the header")
    data = source.size - 8 - length
    state: State = {}
    places: list[tuple[int, int, str, str, tuple[int, ...]]] = []
    for key, entry in header.items():
        if not isinstance(entry, dict):
            raise FileFormatError(f"the header's entry {short(key)} is not an object")
        if key == METADATA_KEY:
            state[key] = _notes(entry)
        else:
            state[key] = None
            places.append((*_place(key, entry, data), key, entry["dtype"], tuple(entry["shape"])))
    end = 0
    for start, stop, key, _, _ in sorted(places):
        if start != end:
            raise FileFormatError(f"tensor {short(key)} overlaps another or leaves a gap")
        end = stop
    if end != data:
        raise FileFormatError(f"has {data} bytes of data, of which the header explains {end}")
    source.seek(8 + length)
    for start, stop, key, dtype, shape in sorted(places):
        raw_tensor = source.read_array(stop - start, f"tensor {short(key)}")
        try:
            state[key] = _tensor(raw_tensor, dtype, shape)
        except FileFormatError as error:
            raise FileFormatError(f"tensor {short(key)} {error}") from None
    return _own_metadata(state, sealed)


def _check_sum(source: Source, raw: bytes) -> bool:
    """Whether the header bears our two marks, and the checksum is right."""
    marks = raw.count(_FORMAT_MARK), raw.count(_SUM_MARK)
    if marks == (0, 0):
        return False
    if marks != (1, 1):
        raise FileFormatError("has a damaged announcement of its checksum")
    check(source, 8 + raw.index(_SUM_MARK) + len(_SUM_MARK))
    return True


def _place(key: str, entry: dict[str, Any], data: int) -> tuple[int, int]:
    """Start and stop of a tensor, all that its entry says having been checked."""

    def refuse(why: str) -> FileFormatError:
        return FileFormatError(f"tensor {short(key)} {why}")

    if entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise refuse("must have dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or (dtype not in _CODES and dtype != "BF16"):
        raise refuse(f"has dtype {short(str(dtype))}; known are {', '.join(_CODES)}, BF16")
    for numbers, what in ((shape, "shape"), (offsets, "data_offsets")):
        if not isinstance(numbers, list) or any(type(n) is not int or n < 0 for n in numbers):
            raise refuse(f"has a {what} that is no list of sizes")
    if len(offsets) != 2 or not offsets[0] <= offsets[1] <= data:
        raise refuse("has data_offsets outside the file")
    # Shape against offsets is checked where the array is made, before anything is returned.
    return offsets[0], offsets[1]


def _tensor(raw: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if dtype != "BF16":
        return array_from_bytes(raw, _CODES[dtype], shape)
    # bfloat16 is the upper half of a float32, so that this is exact.
    half = array_from_bytes(raw, "u2", shape)
    return np.asarray(np.left_shift(half, 16, dtype=np.uint32)).view(np.float32)


def _notes(entry: Mapping[str, Any]) -> dict[str, str]:
    if not all(isinstance(text, str) for text in entry.values()):
        raise FileFormatError("has metadata that are not text")
    return dict(entry)


def _own_metadata(state: State, sealed: bool) -> State:
    """Put our metadata in the place of the header's; other programs' stay as they are."""
    notes = state.get(METADATA_KEY, {})
    if not sealed:
        if any(name in notes for name in (_FORMAT, _SUM, _METADATA)):
            raise FileFormatError("has nn_io's metadata, but not its checksum")
        return state
    if _METADATA in notes:
        state[METADATA_KEY] = stored_metadata(notes[_METADATA].encode(errors="surrogatepass"))
    else:
        del state[METADATA_KEY]
    return state
