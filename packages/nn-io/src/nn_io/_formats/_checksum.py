"""A SHA-256 inside the file that it covers.

The 64 hex digits are counted as 64 zeros; every other byte of the file is covered. The checksum
detects damage. It proves nothing about who wrote the file.

A flipped bit must not turn a file with a checksum into one of another program, without. Therefore
each format marks the checksum at two places that no single flip or cut can both reach, and one
mark without the other is an error:

- safetensors: two entries of the header's metadata;
- pickle: a mark at the start, and the trailer after the end;
- npz: the length of the archive's comment, and the trailer, which is that comment.
"""

import hashlib
from typing import IO

from nn_io._bounded_reader import BoundedReader
from nn_io._errors import FileFormatError

__all__ = ["BLANK", "DIGITS", "TRAILER", "verify", "verify_trailer", "write_checksum"]

DIGITS = 64
BLANK = b"0" * DIGITS
_TRAILER_MARK = b"\nnn_io sha256 1\n"
TRAILER = _TRAILER_MARK + BLANK
_CHUNK = 1 << 20


def _digest(file: IO[bytes], position: int) -> bytes:
    """Return the checksum of the whole file, in which it stands at `position`."""
    total = hashlib.sha256()
    file.seek(0)
    left = position
    while chunk := file.read(min(left, _CHUNK)):
        total.update(chunk)
        left -= len(chunk)
    total.update(BLANK)
    file.seek(position + DIGITS)
    while chunk := file.read(_CHUNK):
        total.update(chunk)
    return total.hexdigest().encode()


def write_checksum(file: IO[bytes], position: int) -> None:
    """Write the checksum of what was really written to `position`, where the blank is."""
    digest = _digest(file, position)
    file.seek(position)
    file.write(digest)


def verify(reader: BoundedReader, position: int) -> None:
    """Compare the whole file with the checksum at `position`, or raise."""
    reader.seek(position)
    stored = reader.read(DIGITS, "the checksum")
    # Compared as text: hexadecimal read as a number would let a flip of the case pass.
    if _digest(reader.file, position) != stored:
        raise FileFormatError(
            "does not match its checksum: it was damaged, truncated, or changed by a program "
            "that kept the old checksum"
        )


def verify_trailer(reader: BoundedReader) -> bool:
    """Return whether the file ends with our trailer; raise if its checksum is wrong."""
    start = reader.size - len(TRAILER)
    if start < 0:
        return False
    reader.seek(start)
    if reader.read(len(_TRAILER_MARK), "the trailer") != _TRAILER_MARK:
        return False
    verify(reader, reader.size - DIGITS)
    return True
