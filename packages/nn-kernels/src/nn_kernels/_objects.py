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
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'numba'", name="numba")
    folder = Path(found.origin).parent
    for name in ("_version.py", "__init__.py"):
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    raise ImportError(f"numba: no version found in {folder}", name="numba")


@functools.cache
def _name() -> str:
    """Return the name of the folder."""
    parts = [_target.DESCRIPTION.encode(), _version_of_numba()]
    parts += [llvmlite.__version__.encode(), np.__version__.encode()]
    parts += [path.name.encode() + path.read_bytes() for path in sorted(_HERE.glob("*.py"))]
    return f"nn_kernels_{_digest_of(*parts).hex()[:24]}"


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
    if os.environ.get("NUMBA_CACHE_DIR"):
        return [folder_of_user()]
    bases = [_HERE / "__pycache__"]
    with contextlib.suppress(RuntimeError):  # the user has no home
        bases.append(folder_of_user())
    return bases


def any_exists() -> bool:
    """Return whether numba has compiled here before, with the same versions."""
    return any((base / _name()).is_dir() for base in _bases())


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
    """Write a file into the first folder that can be written to, if there is one."""
    for base in _bases():
        folder = base / _name()
        try:
            is_new = not folder.exists()
            write(folder / f"{key}.o", _digest_of(code) + code)
            if is_new:
                _drop_old(base)
        except OSError:
            continue
        return


def _drop_old(base: Path) -> None:
    """Delete what no process has written to for longest: each change of a source has a folder."""
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
