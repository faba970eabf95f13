"""safetensors, read and written with NumPy alone.

Eight bytes give the length of a JSON header; the header gives for each tensor its dtype, shape
and offsets in the data that follow. The header keeps the order of the state dict; the data are
sorted by decreasing item size, so that every tensor is aligned.

Source: https://github.com/huggingface/safetensors#format
"""

from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nn_io._bounded_reader import BoundedReader
from nn_io._errors import FileFormatError, prefixed, shorten
from nn_io._formats._array_bytes import array_from_bytes
from nn_io._formats._checksum import BLANK, verify, write_checksum
from nn_io._formats._metadata import MAX_BYTES, dump_object, parse_object, read_metadata
from nn_io._state_dict import METADATA_KEY, State, dtype_code

__all__ = ["read", "write"]

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
_CHECKSUM_MARK = b'"nn_io.sha256":"'
_FORMAT, _CHECKSUM, _METADATA = "nn_io.format", "nn_io.sha256", "nn_io.metadata"


def write(file: IO[bytes], state: State) -> None:
    """Write header, data and checksum."""
    arrays = {key: value for key, value in state.items() if key != METADATA_KEY}
    ordered = sorted(arrays, key=lambda key: -arrays[key].dtype.itemsize)
    header = _header(state, ordered)
    file.write(len(header).to_bytes(8, "little"))
    file.write(header)
    for key in ordered:
        array = arrays[key]
        # Without a copy on all but big-endian machines.
        file.write(np.asarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data)
    write_checksum(file, 8 + header.index(_CHECKSUM_MARK) + len(_CHECKSUM_MARK))


def _header(state: State, ordered: list[str]) -> bytes:
    offsets: dict[str, list[int]] = {}
    end = 0
    for key in ordered:
        start, end = end, end + state[key].nbytes
        offsets[key] = [start, end]
    ours = {_FORMAT: "1", _CHECKSUM: BLANK.decode()}
    header: dict[str, Any] = {} if METADATA_KEY in state else {METADATA_KEY: ours}
    for key, value in state.items():
        if key == METADATA_KEY:
            header[key] = ours | {_METADATA: dump_object(value).decode()}
            continue
        name = _NAMES.get(dtype_code(value.dtype))
        if name is None:
            raise TypeError(
                f"state_dict[{key!r}]: has dtype {value.dtype}, which safetensors cannot hold; "
                "save it as .npz or .pkl"
            )
        header[key] = {"dtype": name, "shape": value.shape, "data_offsets": offsets[key]}
    text = dump_object(header)
    if len(text) > MAX_BYTES - 8:
        raise ValueError(f"state_dict: needs a header of {len(text)} bytes, more than {MAX_BYTES}")
    return text + b" " * (-len(text) % 8)


def read(reader: BoundedReader) -> State:
    """Check the whole header, then read the tensors."""
    length = int.from_bytes(reader.read(8, "the length of the header"), "little")
    if length > MAX_BYTES:
        raise FileFormatError(f"claims a header of {length} bytes, more than {MAX_BYTES}")
    raw = reader.read(length, "the header")
    has_checksum = _verify_checksum(reader, raw)
    if not raw.startswith(b"{"):
        raise FileFormatError("has a header that does not begin with '{'")
    header = parse_object(raw, "the header")
    data_size = reader.size - 8 - length
    texts = header.get(METADATA_KEY, {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise FileFormatError("has metadata that are not text")
    state: State = dict(header)  # which keeps the order
    tensors = [key for key in header if key != METADATA_KEY]
    with prefixed(lambda: f"tensor {shorten(key)}"):
        for key in tensors:
            _check_entry(header[key], data_size)
    tensors.sort(key=lambda key: (header[key]["data_offsets"], key))
    end = 0
    for key in tensors:
        start, stop = header[key]["data_offsets"]
        if start != end:
            raise FileFormatError(f"tensor {shorten(key)} overlaps another or leaves a gap")
        end = stop
    if end != data_size:
        raise FileFormatError(f"has {data_size} bytes of data, of which the header explains {end}")
    reader.seek(8 + length)
    with prefixed(lambda: f"tensor {shorten(key)}"):
        for key in tensors:
            start, stop = header[key]["data_offsets"]
            content = reader.read_array(stop - start, "its data")
            state[key] = _tensor(content, header[key]["dtype"], tuple(header[key]["shape"]))
    return _with_our_metadata(state, has_checksum)


def _verify_checksum(reader: BoundedReader, raw: bytes) -> bool:
    """Return whether the header has our two marks; raise if the checksum is wrong."""
    marks = raw.count(_FORMAT_MARK), raw.count(_CHECKSUM_MARK)
    if marks == (0, 0):
        return False
    if marks != (1, 1):
        raise FileFormatError("has a damaged mark of its checksum")
    verify(reader, 8 + raw.index(_CHECKSUM_MARK) + len(_CHECKSUM_MARK))
    return True


def _check_entry(entry: Any, data_size: int) -> None:
    """Check the header's entry of a tensor, except that its shape fits its size."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise FileFormatError("must have dtype, shape and data_offsets, and nothing else")
    dtype, offsets = entry["dtype"], entry["data_offsets"]
    if not isinstance(dtype, str) or (dtype not in _CODES and dtype != "BF16"):
        raise FileFormatError(
            f"has dtype {shorten(str(dtype))}; known are {', '.join(_CODES)}, BF16"
        )
    for name in ("shape", "data_offsets"):
        sizes = entry[name]
        if not isinstance(sizes, list) or any(type(n) is not int or n < 0 for n in sizes):
            raise FileFormatError(f"has invalid {name}, expected a list of sizes")
    if len(offsets) != 2 or not offsets[0] <= offsets[1] <= data_size:
        raise FileFormatError("has data_offsets outside the file")


def _tensor(raw: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if dtype != "BF16":
        return array_from_bytes(raw, _CODES[dtype], shape)
    # bfloat16 is the upper half of a float32, so that this is exact.
    half = array_from_bytes(raw, "u2", shape)
    return np.asarray(np.left_shift(half, 16, dtype=np.uint32)).view(np.float32)


def _with_our_metadata(state: State, has_checksum: bool) -> State:
    """Replace the header's metadata by what nn_io wrote there; those of others stay."""
    texts = state.get(METADATA_KEY, {})
    if not has_checksum:
        if any(name in texts for name in (_FORMAT, _CHECKSUM, _METADATA)):
            raise FileFormatError("has nn_io's metadata, but not its checksum")
    elif _METADATA in texts:
        state[METADATA_KEY] = read_metadata(texts[_METADATA].encode(errors="surrogatepass"))
    else:
        del state[METADATA_KEY]
    return state
