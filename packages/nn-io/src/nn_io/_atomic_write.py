"""Replacing a file as a whole, or not at all.

The new content goes to another file in the same directory, is flushed to the disk, and only then
takes the name; the directory is flushed last. A reader, and a machine that stops at any moment,
sees the old file or the new one.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO

from nn_io._stale_files import locked, remove_stale_files, temporary_name

__all__ = ["replace_file"]


def replace_file(path: str, write: Callable[[IO[bytes]], None]) -> None:
    """Let `write` fill the file at `path`.

    Raises:
        OSError: naming `path`, where anything fails; the old file is then intact.
    """
    try:
        # What a symbolic link points at is written, as open() would do.
        target = os.path.realpath(path)
        status = _writable_target(target)
        with _flushed_directory(os.path.dirname(target)) as directory:
            _write_and_rename(target, status, directory, write)
        remove_stale_files(os.path.dirname(target))
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), path) from error


def _writable_target(target: str) -> os.stat_result | None:
    """Return the status of an existing file; a rename would replace even what open() refuses."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file")
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return status


@contextmanager
def _flushed_directory(path: str) -> Iterator[int | None]:
    """Yield a directory's descriptor, and flush it at the end; Windows has none, and no need."""
    if os.name == "nt":
        yield None
        return
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield directory
        try:
            os.fsync(directory)
        except OSError as error:
            # Some network file systems cannot flush a directory, and say so in these ways.
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
    finally:
        os.close(directory)


def _write_and_rename(
    target: str,
    status: os.stat_result | None,
    directory: int | None,
    write: Callable[[IO[bytes]], None],
) -> None:
    name = os.path.join(os.path.dirname(target), temporary_name())
    try:
        file, named = _open_temporary(name)
        with ExitStack() as until_renamed:
            with file:
                until_renamed.enter_context(locked(file))
                if status is not None:
                    _copy_owner_and_mode(file.fileno(), status)
                write(file)
                file.flush()
                os.fsync(file.fileno())
                if not named:
                    _link(file, name, directory)
            os.replace(name, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _open_temporary(name: str) -> tuple[IO[bytes], bool]:
    """Return an empty file, and whether it has a name: without one, a killed writer leaves none."""
    # The system subtracts the umask from 0o666, as it does for open().
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0)
    if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
        with suppress(OSError):
            directory = os.path.dirname(name)
            return os.fdopen(os.open(directory, flags | os.O_TMPFILE, 0o666), "w+b"), False
    return os.fdopen(os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o666), "w+b"), True


def _copy_owner_and_mode(file: int, status: os.stat_result) -> None:
    """Give the new file the owner and mode of the old one, as writing into it would keep them."""
    if hasattr(os, "fchown"):
        with suppress(PermissionError):
            os.fchown(file, status.st_uid, status.st_gid)
    if hasattr(os, "fchmod"):
        os.fchmod(file, stat.S_IMODE(status.st_mode))


def _link(file: IO[bytes], name: str, directory: int | None) -> None:
    # The descriptor of the directory makes Python call linkat(), which follows the link in /proc.
    os.link(f"/proc/self/fd/{file.fileno()}", os.path.basename(name), dst_dir_fd=directory)
