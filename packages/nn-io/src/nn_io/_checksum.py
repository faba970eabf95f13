"""A SHA-256 inside the file that it covers.

The 64 hex digits stand in a gap, which counts as 64 zeros; every other byte of the file is
covered. It finds damage. It proves nothing about who wrote the file.

A flipped bit must not turn a file of ours into one "of somebody else, without a checksum".
Therefore each format announces its checksum at two places that no single flip or cut can both
reach, and one announcement without the other is an error:

- safetensors: two entries of the header's metadata;
- pickle: a mark at the start, and the trailer after the end;
- npz: the length of the archive's comment, and the trailer, which is that comment.
"""

import hashlib
from typing import IO

from nn_io._errors import FileFormatError
from nn_io._source import Source

DIGITS = 64
BLANK = b"0" * DIGITS
_TRAILER_MARK = b"\nnn_io sha256 1\n"
TRAILER = _TRAILER_MARK + BLANK
_CHUNK = 1 << 20


def _digest(file: IO[bytes], gap: int) -> bytes:
    total = hashlib.sha256()
    file.seek(0)
    before = gap
    while before:
        chunk = file.read(min(before, _CHUNK))
        if not chunk:
            raise FileFormatError("ends before its checksum")
        total.update(chunk)
        before -= len(chunk)
    total.update(BLANK)
    file.seek(gap + DIGITS)
    while chunk := file.read(_CHUNK):
        total.update(chunk)
    return total.hexdigest().encode()


def seal(file: IO[bytes], gap: int) -> None:
    """Fill the gap of a written file with the checksum of what was really written."""
    digest = _digest(file, gap)
    file.seek(gap)
    file.write(digest)


def check(source: Source, gap: int) -> None:
    """Compare the whole file with the checksum in its gap."""
    source.seek(gap)
    stored = source.read(DIGITS, "the checksum")
    # Compared as text: hexadecimal read as a number would let a flip of the case pass.
    if _digest(source.file, gap) != stored:
        raise FileFormatError(
            "does not match its checksum: it was damaged, cut short, or changed by a program "
            "that kept the old checksum"
        )


def check_trailer(source: Source) -> bool:
    """Whether the file ends in a trailer of ours, which then has to be right."""
    start = source.size - len(TRAILER)
    if start < 0:
        return False
    source.seek(start)
    if source.read(len(_TRAILER_MARK), "the trailer") != _TRAILER_MARK:
        return False
    check(source, source.size - DIGITS)
    return True
