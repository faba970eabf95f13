"""Temporary files: their names, their locks, and removing those of killed writers.

A writer holds a lock on its temporary file until the file has its final name, and the system
drops the lock when the writer dies. A file without a lock is therefore stale, and the next save
into the same directory removes it. The name contains the running system's identity: across the
machines of a network file system, locks cannot be trusted.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

try:
    import fcntl

    _LOCKS = True
except ImportError:  # Windows
    _LOCKS = False

__all__ = ["locked", "remove_stale_files", "temporary_name"]

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def _prefix() -> str | None:
    """Return how the names of this running system begin, or None where it has no identity."""
    try:
        with open(_BOOT_ID, "rb") as file:
            identity = hashlib.sha256(file.read()).hexdigest()[:12]
    except OSError:
        return None
    return f".nn_io-{identity}-"


def temporary_name() -> str:
    """Return a name that no other writer has."""
    return f"{_prefix() or '.nn_io-'}{secrets.token_hex(8)}.tmp"


@contextmanager
def locked(file: IO[bytes]) -> Iterator[None]:
    """Hold a lock on `file`, even after it is closed."""
    if not _LOCKS:
        yield
        return
    lock = os.dup(file.fileno())
    try:
        # Where files cannot be locked, stale ones are not removed either.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def remove_stale_files(directory: str) -> None:
    """Remove the temporary files that nobody has locked; errors are ignored."""
    prefix = _prefix()
    if not _LOCKS or prefix is None:
        return
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(".tmp"):
                with suppress(OSError):
                    _remove_if_unlocked(entry.path)


def _remove_if_unlocked(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # An empty one may have just been created, and not be locked yet.
        if os.fstat(descriptor).st_size:
            os.unlink(path)
    finally:
        os.close(descriptor)
