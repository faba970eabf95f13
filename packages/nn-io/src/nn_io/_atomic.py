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

from nn_io._litter import holding, sweep, temporary_name


def replace_file(path: str, write: Callable[[IO[bytes]], None]) -> None:
    """Let ``write`` fill the file at ``path``; raise OSError that names it, the old file intact."""
    try:
        # What a symbolic link points at is written, as open() would do.
        target = os.path.realpath(path)
        status = _writable_target(target)
        with _folder(os.path.dirname(target)) as folder:
            _stage_and_rename(target, status, folder, write)
            _sync_folder(folder)
        sweep(os.path.dirname(target))
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), path) from error


def _writable_target(target: str) -> os.stat_result | None:
    """What stands at ``target``; a rename would replace even what open() refuses to touch."""
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
def _folder(path: str) -> Iterator[int | None]:
    """The directory's descriptor; Windows has none, and no need to flush it."""
    if os.name == "nt":
        yield None
        return
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def _sync_folder(folder: int | None) -> None:
    if folder is None:
        return
    try:
        os.fsync(folder)
    except OSError as error:
        # Some network file systems cannot flush a directory, and say so in these ways.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _stage_and_rename(
    target: str,
    status: os.stat_result | None,
    folder: int | None,
    write: Callable[[IO[bytes]], None],
) -> None:
    name = os.path.join(os.path.dirname(target), temporary_name())
    try:
        file, named = _open_stage(name)
        with ExitStack() as until_renamed:
            with file:
                until_renamed.enter_context(holding(file))
                if status is not None:
                    _adopt(file.fileno(), status)
                write(file)
                file.flush()
                os.fsync(file.fileno())
                if not named:
                    _give_name(file, name, folder)
            os.replace(name, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _open_stage(name: str) -> tuple[IO[bytes], bool]:
    """An empty file, without a name where the system can: if killed, it leaves nothing behind."""
    # The system subtracts the umask from 0o666, as it does for open().
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0)
    if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
        with suppress(OSError):
            folder = os.path.dirname(name)
            return os.fdopen(os.open(folder, flags | os.O_TMPFILE, 0o666), "w+b"), False
    return os.fdopen(os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o666), "w+b"), True


def _adopt(file: int, status: os.stat_result) -> None:
    """Owner and permissions of the file that is replaced, as writing into it would keep them."""
    if hasattr(os, "fchown"):
        with suppress(PermissionError):
            os.fchown(file, status.st_uid, status.st_gid)
    if hasattr(os, "fchmod"):
        os.fchmod(file, stat.S_IMODE(status.st_mode))


def _give_name(file: IO[bytes], name: str, folder: int | None) -> None:
    # The descriptor of the directory makes Python call linkat(), which follows the link in /proc.
    os.link(f"/proc/self/fd/{file.fileno()}", os.path.basename(name), dst_dir_fd=folder)
