"""A reader that never reads, or allocates, more bytes than the file has."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nn_io._errors import FileFormatError

__all__ = ["BoundedReader", "open_reader"]

# A member of an archive is decompressed as it is read, and not as a whole beside the array.
_CHUNK = 1 << 20


class BoundedReader:
    """Reads a stream of known size: a length beyond its end is refused before allocating.

    Args:
        file: the stream, at its start.
        size: its size in bytes.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file = file
        self.size = size
        self.left = size

    def seek(self, position: int) -> None:
        """Continue at `position`."""
        self.file.seek(position)
        self.left = self.size - position

    def require(self, count: int, what: str) -> None:
        """Raise a FileFormatError unless `count` bytes are left for `what`."""
        if count > self.left:
            raise FileFormatError(
                f"is truncated: {what} takes {count} bytes, but {self.left} are left"
            )

    def read(self, count: int, what: str) -> bytes:
        """Return the next `count` bytes."""
        self.require(count, what)
        content = self.file.read(count)
        if len(content) != count:
            raise FileFormatError(f"ends within {what}")
        self.left -= count
        return content

    def read_array(self, count: int, what: str) -> NDArray[np.uint8]:
        """Return the next `count` bytes as a new array."""
        self.require(count, what)
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
        """Return the next line of at most `limit` bytes, without the line ending."""
        line = self.file.readline(min(limit, self.left))
        self.left -= len(line)
        if not line.endswith(b"\n"):
            raise FileFormatError(f"{what} is not a line of at most {limit} bytes")
        return line[:-1]


@contextmanager
def open_reader(path: str) -> Iterator[BoundedReader]:
    """Open a regular file, and check at the end that it was not changed meanwhile."""
    with open(path, "rb", opener=_open_without_blocking) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", path)
        before = _size_and_time(file)
        yield BoundedReader(file, before[0])
        if _size_and_time(file) != before:
            raise FileFormatError("was changed while it was being read")


def _open_without_blocking(path: str, flags: int) -> int:
    # A pipe without a writer would otherwise block forever.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _size_and_time(file: IO[Any]) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
