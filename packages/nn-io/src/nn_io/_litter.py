"""Temporary files that killed writers left behind.

A writer holds a lock on its temporary file until the file has its final name, and the system
drops the lock when the writer dies. A file without a lock is therefore litter, and the next save
into the same directory removes it. The name bears the running system's identity: across the
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

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def _prefix() -> str | None:
    """How the names of this running system begin; None where it has no identity."""
    try:
        with open(_BOOT_ID, "rb") as file:
            identity = hashlib.sha256(file.read()).hexdigest()[:12]
    except OSError:
        return None
    return f".nn_io-{identity}-"


def temporary_name() -> str:
    """A name that no other writer has."""
    return f"{_prefix() or '.nn_io-'}{secrets.token_hex(8)}.tmp"


@contextmanager
def holding(file: IO[bytes]) -> Iterator[None]:
    """Mark the file as somebody's, even after it is closed."""
    if not _LOCKS:
        yield
        return
    lock = os.dup(file.fileno())
    try:
        # Without locks there are no sweepers either.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def sweep(directory: str) -> None:
    """Remove what nobody holds; failing at that is no failure of the save."""
    prefix = _prefix()
    if not _LOCKS or prefix is None:
        return
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(".tmp"):
                with suppress(OSError):
                    _remove_if_free(entry.path)


def _remove_if_free(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # An empty one may be newborn, and not yet held.
        if os.fstat(descriptor).st_size:
            os.unlink(path)
    finally:
        os.close(descriptor)
