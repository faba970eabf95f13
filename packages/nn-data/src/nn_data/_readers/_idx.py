"""IDX files, the format of MNIST and its relatives.

An IDX file starts with two zero bytes, a byte for the type of its values and a byte for the number
of its dimensions. The dimensions follow as big-endian 32-bit integers, then the values, big-endian
too, the last dimension running fastest (LeCun, Cortes and Burges, "The MNIST database", 1998).
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import keyword_only
from nn_data._readers._files import PathLike, read_bytes

__all__ = ["read_idx", "read_idx_folder"]

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@keyword_only
def read_idx(path: PathLike, *, ndim: int | None = None, dtype: Any = None) -> NDArray[Any]:
    """Return the values of an IDX file, plain or compressed with gzip.

    Args:
        path: the path of the file.
        ndim: the expected number of dimensions; by default any.
        dtype: the expected dtype; by default any.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is damaged or holds other data than expected; it names the file.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    content = read_bytes(path)
    code = content[2] if content[:2] == b"\0\0" and len(content) >= 4 else None
    kind = _DTYPES.get(code) if code is not None else None
    expected = None if dtype is None else np.dtype(dtype)
    wrong = (
        kind is None
        or (ndim is not None and content[3] != ndim)
        or (expected is not None and np.dtype(kind).newbyteorder("=") != expected)
    )
    if wrong or kind is None:
        raise ValueError(_not_idx(path, content, ndim, expected))
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise ValueError(f"{path}: ends within its header")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    size = math.prod(shape)
    promised, found = size * np.dtype(kind).itemsize, len(content) - start
    if promised != found:
        raise ValueError(f"{path}: has {found} bytes of values, its header {shape} says {promised}")
    values = np.frombuffer(content, kind, count=size, offset=start).reshape(shape)
    return values.astype(values.dtype.type)


def _not_idx(path: PathLike, content: bytes, ndim: int | None, dtype: np.dtype[Any] | None) -> str:
    what = "an IDX file"
    if dtype is not None:
        what += f" of {dtype}"
    if ndim is not None:
        what += f" in {ndim} dimensions"
    expected = ""
    codes = [code for code, name in _DTYPES.items() if np.dtype(name).newbyteorder("=") == dtype]
    if codes and ndim is not None:
        expected = f", expected '{bytes([0, 0, codes[0], ndim]).hex(' ')}'"
    return f"{path}: not {what}: it starts with '{content[:4].hex(' ')}'{expected}"


def _find(folder: Path, name: str, ndim: int) -> Path | None:
    """Return the path of a file, such as ``train-images``, under the spelling that it has."""
    spellings = [f"{name}{dot}idx{ndim}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    return next((folder / s for s in spellings if (folder / s).is_file()), None)


def read_idx_folder(
    folder: PathLike,
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return the images and labels of a folder with MNIST's files, plain or compressed.

    Args:
        folder: the folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the
            same with ``t10k``; one of the two sets may be missing. A dot may stand before ``idx``,
            and ``.gz`` at the end.

    Returns:
        images ``(n, height, width)`` and labels ``(n,)``, of the training set first, then of the
        test set.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if a file is missing, damaged or does not fit the others; it says which.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    found = [_read_pair(folder, name) for name in ("train", "t10k")]
    sets = [pair for pair in found if pair is not None]
    if not sets:
        raise ValueError(
            f"{folder}: no IDX files (train-images-idx3-ubyte, train-labels-idx1-ubyte and "
            "the same with t10k, each plain or .gz)"
        )
    sizes = [images.shape[1:] for images, _ in sets]
    if sizes[0] != sizes[-1]:
        raise ValueError(f"{folder}: train images are {sizes[0]}, t10k images {sizes[1]}")
    return sets


def _read_pair(folder: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    images_path = _find(folder, f"{name}-images", 3)
    labels_path = _find(folder, f"{name}-labels", 1)
    if images_path is None and labels_path is None:
        return None
    if images_path is None:
        raise ValueError(f"{folder}: {name}-images-idx3-ubyte[.gz] is missing")
    if labels_path is None:
        raise ValueError(f"{folder}: {name}-labels-idx1-ubyte[.gz] is missing")
    images = read_idx(images_path, ndim=3, dtype=np.uint8)
    labels = read_idx(labels_path, ndim=1, dtype=np.uint8)
    if len(images) != len(labels):
        raise ValueError(
            f"{images_path} holds {len(images)} images, {labels_path.name} {len(labels)} labels"
        )
    if images.size == 0:
        raise ValueError(f"{images_path}: holds no image")
    return images, labels
