"""Machine code on disk: one file for each job, found again by what it was made from.

The files lie in a folder named by everything that machine code depends on: the sources of this
package, the versions of numba, LLVM and NumPy, and the processor. Nothing of numba is imported to
read them: that would take longer than all else in the first step of a net.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numpy as np

from nn_kernels import _target

__all__ = ["any_exists", "folder_of_user", "key_of", "load", "save", "write"]

_HERE = Path(__file__).parent
_DIGEST = hashlib.sha256().digest_size
_KEPT = 16  # folders of other versions and processors


def _version_of_numba() -> bytes:
    """Return the text that holds it; `importlib.metadata` takes 50 times as long."""
    found = importlib.util.find_spec("numba")
    if found is None:
        raise ModuleNotFoundError("No module named 'numba'", name="numba")
    if found.origin and (text := Path(found.origin).parent / "_version.py").is_file():
        return text.read_bytes()
    from importlib.metadata import version

    return version("numba").encode()


def _name_of_sources() -> str:
    sources = sorted(_HERE.glob("*.py"))
    if not sources:  # compiled, or in an archive: what changes in them is not seen
        return ""
    parts = [_target.DESCRIPTION.encode(), _version_of_numba()]
    parts += [llvmlite.__version__.encode(), np.__version__.encode()]
    parts += [path.name.encode() + path.read_bytes() for path in sources]
    return f"nn_kernels_{_digest_of(*parts).hex()[:24]}"


@functools.cache
def _name() -> str:
    """Return the name of the folder, empty if nothing is kept."""
    return _name_of_sources()


def _digest_of(*parts: bytes) -> bytes:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "little") + part)
    return whole.digest()


def folder_of_user() -> Path:
    """Return the folder for what is compiled, or the one that numba's variable names.

    Raises:
        RuntimeError: if the user has no home.
    """
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nn_kernels"


def _bases() -> list[Path]:
    """Return the folders to look into: beside the sources and the user's, or the chosen one."""
    if not _name():
        return []
    if os.environ.get("NUMBA_CACHE_DIR"):
        return [folder_of_user()]
    bases = [_HERE / "__pycache__"]
    with contextlib.suppress(RuntimeError):  # the user has no home
        bases.append(folder_of_user())
    return bases


def any_exists() -> bool:
    """Return whether there is a folder of these versions, so that numba has worked with them."""
    for base in _bases():
        folder = base / _name()
        if os.path.isdir(folder):  # the method of `Path` may raise PermissionError
            with contextlib.suppress(OSError):
                os.utime(folder)  # the oldest are deleted
            return True
    return False


def key_of(function: Callable[..., Any]) -> str | None:
    """Return a name for a function's machine code; None where its source is in no file."""
    code = function.__code__
    path = Path(code.co_filename)
    if function.__closure__ is not None:
        return None
    if path.parent == _HERE:
        text = b""  # the folder's name depends on it
    elif path.is_file():
        text = path.read_bytes()
    else:
        return None
    where = f"{function.__module__} {function.__qualname__} {code.co_firstlineno}"
    return f"{function.__name__.strip('_')}_{_digest_of(where.encode(), text).hex()[:24]}"


def load(key: str) -> bytes | None:
    """Return what was saved; None if there is nothing, or if the file was damaged."""
    for base in _bases():
        try:
            whole = (base / _name() / f"{key}.o").read_bytes()
        except OSError:
            continue
        if _digest_of(code := whole[_DIGEST:]) == whole[:_DIGEST]:
            return code
    return None


def save(key: str, code: bytes) -> None:
    """Write a file into the first folder that can be written to, if there is one.

    Nothing is written if a source has changed since the process began.
    """
    if _name_of_sources() != _name():
        return
    for base in _bases():
        folder = base / _name()
        try:
            is_new = not folder.exists()
            write(folder / f"{key}.o", _digest_of(code) + code)
        except OSError:
            continue
        if is_new:
            with contextlib.suppress(OSError):  # another process deletes them
                _drop_old(base)
        return


def _drop_old(base: Path) -> None:
    """Delete those not used for longest: each change of a source has a folder."""
    folders = [path for path in base.glob(f"nn_kernels_{'?' * 24}") if path.is_dir()]
    folders.sort(key=lambda path: path.stat().st_mtime)
    for folder in folders[:-_KEPT]:
        shutil.rmtree(folder, ignore_errors=True)


def write(path: Path, text: bytes) -> None:
    """Write a file so that it is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        part.write_bytes(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
