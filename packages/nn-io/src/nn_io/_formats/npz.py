"""NumPy's .npz: a ZIP archive of .npy members, as ``numpy.load`` reads it.

The configuration is a member ``__metadata__.json``. The checksum is the archive's comment, since
the CRC of each member covers neither names nor the directory. Headers of .npy members are matched
against one pattern: what does not look like a plain array is refused, and nothing is evaluated.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import errno
import re
import zipfile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nn_io._bounded_reader import BoundedReader
from nn_io._errors import FileFormatError, prefixed, shorten
from nn_io._formats._array_bytes import array_from_bytes
from nn_io._formats._checksum import DIGITS, TRAILER, verify_trailer, write_checksum
from nn_io._formats._metadata import MAX_BYTES, dump_object, read_metadata
from nn_io._state_dict import METADATA_KEY, State

__all__ = ["read", "write"]

_METADATA_MEMBER = METADATA_KEY + ".json"
_END_SIZE = 22
_END64_SIZE = 56 + 20
_LOCAL_SIZE = 30
# Compressed with any level, names in UTF-8, or with the sizes after the data.
_ALLOWED_FLAGS = 0x2 | 0x4 | 0x8 | 0x800
# Some 40,000 members: each costs ten times its directory entry in memory.
_MAX_DIRECTORY = 4 << 20
_MAX_EXPANSION = 100
_SMALL = 64 << 20
_MAX_HEADER = 10_000
_HEADER = re.compile(
    rb"\{ *'descr': *'([<>|=])([a-z]\d{1,2})', *'fortran_order': *(True|False), *"
    rb"'shape': *\(((?: *\d{1,19} *,)* *(?:\d{1,19})?) *\),? *\} *\n"
)


def write(file: IO[bytes], state: State) -> None:
    """Write one stored member per entry, and the checksum as the archive's comment."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for key, value in state.items():
            name = _METADATA_MEMBER if key == METADATA_KEY else key + ".npy"
            # A ZipInfo made here has no date: equal states make equal files.
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                if key == METADATA_KEY:
                    member.write(dump_object(value))
                else:
                    np.lib.format.write_array(member, value, allow_pickle=False)
        archive.comment = TRAILER
    file.seek(0, 2)
    write_checksum(file, file.tell() - DIGITS)


def read(reader: BoundedReader) -> State:
    """Check the directory as a whole, then read member by member."""
    has_checksum = verify_trailer(reader)
    _check_end(reader, len(TRAILER) if has_checksum else 0)
    reader.seek(0)
    try:
        with zipfile.ZipFile(reader.file) as archive:
            _check_members(archive, reader.size)
            return _read_members(archive)
    except (FileFormatError, MemoryError):
        raise
    except Exception as error:
        # zipfile was not made for hostile archives: what it raises on them is not documented.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise FileFormatError(f"is not a readable .npz archive: {error}") from error


def _check_end(reader: BoundedReader, comment: int) -> None:
    """Check that the archive ends where the file ends, with no comment but our checksum.

    zipfile accepts comments that are truncated and data around the archive, and reads the
    directory before its size can be checked.
    """
    start = reader.size - _END_SIZE - comment
    if start < 0:
        raise FileFormatError("is too short for an .npz archive")
    reader.seek(start)
    end = reader.read(_END_SIZE, "the end of the archive")
    if end[:4] != b"PK\x05\x06" or int.from_bytes(end[-2:], "little") != comment:
        raise FileFormatError(
            "is not a ZIP archive, was truncated, or has a comment that is not nn_io's checksum"
        )
    directory = int.from_bytes(end[12:16], "little")
    if start >= _END64_SIZE:
        reader.seek(start - _END64_SIZE)
        end64 = reader.read(_END64_SIZE, "the end of the archive")
        if end64[56:60] == b"PK\x06\x07":
            directory = int.from_bytes(end64[40:48], "little")
    if directory > _MAX_DIRECTORY:
        raise FileFormatError(f"has a directory of more than {_MAX_DIRECTORY} bytes")


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    if len({member.filename for member in members}) != len(members):
        raise FileFormatError("has two members of one name")
    limit = max(_SMALL, _MAX_EXPANSION * size)
    if sum(member.file_size for member in members) > limit:
        raise FileFormatError(
            f"would expand to more than {limit} bytes, {_MAX_EXPANSION} times its size"
        )
    free = 0
    with prefixed(lambda: f"member {shorten(member.filename)}"):
        for member in members:
            if member.flag_bits & ~_ALLOWED_FLAGS:
                raise FileFormatError("is encrypted or has other unsupported flags")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise FileFormatError("has an unsupported compression")
            stored = member.compress_type == zipfile.ZIP_STORED
            if stored and member.file_size != member.compress_size:
                raise FileFormatError("is stored with two sizes")
            if member.header_offset < free or (free == 0 and member.header_offset):
                raise FileFormatError("overlaps another or has data before it")
            free = member.header_offset + _LOCAL_SIZE + member.compress_size
    if free > archive.start_dir:
        raise FileFormatError("has members that overlap its directory")


def _read_members(archive: zipfile.ZipFile) -> State:
    state: State = {}
    with prefixed(lambda: f"member {shorten(member.filename)}"):
        for member in archive.infolist():
            with archive.open(member) as file:
                content = BoundedReader(file, member.file_size)
                key, value = _parse_member(member.filename, content)
                state[key] = value
                file.read(1)  # at its end zipfile compares the member's CRC
    return state


def _parse_member(name: str, content: BoundedReader) -> tuple[str, Any]:
    if name == _METADATA_MEMBER:
        if content.size > MAX_BYTES:
            raise FileFormatError(f"is larger than {MAX_BYTES} bytes")
        return METADATA_KEY, read_metadata(content.read(content.size, "the metadata"))
    if not name.endswith(".npy") or name == METADATA_KEY + ".npy":
        raise FileFormatError("is not an array")
    return name.removesuffix(".npy"), _read_npy(content)


def _read_npy(content: BoundedReader) -> NDArray[Any]:
    magic = content.read(8, "the .npy mark")
    # Version 1.0 gives the length of the header in two bytes, 2.0 and 3.0 give it in four.
    width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4, b"\x93NUMPY\x03\x00": 4}.get(magic)
    if width is None:
        raise FileFormatError("is not an .npy array")
    length = int.from_bytes(content.read(width, "the length of its header"), "little")
    if length > _MAX_HEADER:
        raise FileFormatError(f"has a header of {length} bytes, more than {_MAX_HEADER}")
    header = _HEADER.fullmatch(content.read(length, "its header"))
    if header is None:
        raise FileFormatError("has a header that does not describe a plain array")
    byte_order, code, fortran, sizes = (part.decode() for part in header.groups())
    shape = tuple(int(size) for size in sizes.split(",") if size.strip())
    raw = content.read_array(content.left, "its data")
    return array_from_bytes(raw, code, shape, byte_order, "F" if fortran == "True" else "C")
