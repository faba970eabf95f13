"""Bytes of an open file, of which nobody can ask more than there are."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nn_io._errors import FileFormatError

# A member of an archive is decompressed as it is read, and not as a whole beside the array.
_CHUNK = 1 << 20


class Source:
    """A stream of known length: a claim beyond its end is refused before memory is taken."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file = file
        self.size = size
        self.left = size

    def seek(self, position: int) -> None:
        """Go on at ``position``."""
        self.file.seek(position)
        self.left = self.size - position

    def claim(self, count: int, what: str) -> None:
        """Refuse what cannot be there."""
        if count > self.left:
            raise FileFormatError(
                f"is cut short: {what} takes {count} bytes, but {self.left} are left"
            )

    def read(self, count: int, what: str) -> bytes:
        """The next ``count`` bytes."""
        self.claim(count, what)
        content = self.file.read(count)
        if len(content) != count:
            raise FileFormatError(f"ends within {what}")
        self.left -= count
        return content

    def read_array(self, count: int, what: str) -> NDArray[np.uint8]:
        """The next bytes as an array of their own."""
        self.claim(count, what)
        content = np.empty(count, np.uint8)
        filled = 0
        while filled < count:
            got = self.file.readinto(content.data[filled : filled + _CHUNK])  # type: ignore[attr-defined]
            if not got:
                raise FileFormatError(f"ends within {what}")
            filled += got
        self.left -= count
        return content

    def read_line(self, limit: int, what: str) -> bytes:
        """The next line, without its end."""
        line = self.file.readline(min(limit, self.left))
        self.left -= len(line)
        if not line.endswith(b"\n"):
            raise FileFormatError(f"{what} is no line of at most {limit} bytes")
        return line[:-1]


def _open_at_once(path: str, flags: int) -> int:
    # A pipe without a writer would otherwise block for ever.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _identity(file: IO[Any]) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


@contextmanager
def open_source(path: str) -> Iterator[Source]:
    """Open a regular file, and see at the end that nobody changed it meanwhile."""
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", path)
        before = _identity(file)
        yield Source(file, before[0])
        if _identity(file) != before:
            raise FileFormatError("was changed while it was being read")
