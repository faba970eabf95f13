"""Read images and labels from IDX files, the format of MNIST and its relatives.

An IDX file starts with two zero bytes, a byte for the kind of its values (8: unsigned bytes) and a
byte for the number of its dimensions. The dimensions follow as big-endian 32-bit integers, then
the values, the last dimension running fastest. The file may be compressed with gzip.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Return the values of one file as a uint8 array with `ndim` dimensions.

    Raises ValueError, which names the file, if it is damaged or holds something else.
    """
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path}: damaged or incomplete gzip file ({error})") from error

    magic, start = bytes([0, 0, 8, ndim]), 4 + 4 * ndim
    if content[:4] != magic:
        raise ValueError(
            f"{path}: not an IDX file of bytes in {ndim} dimensions: "
            f"it starts with '{content[:4].hex(' ')}', expected '{magic.hex(' ')}'"
        )
    if len(content) < start:
        raise ValueError(f"{path}: ends within its header")
    shape = struct.unpack(f">{ndim}I", content[4:start])
    promised, found = math.prod(shape), len(content) - start
    if promised != found:
        raise ValueError(f"{path}: has {found} bytes of values, its header {shape} says {promised}")
    return np.frombuffer(content[start:], np.uint8).reshape(shape)


def find_idx(folder: Path, name: str, ndim: int) -> Path | None:
    """Return the path of a file, such as ``train-images``, under the spelling that it has."""
    spellings = [f"{name}{dot}idx{ndim}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    return next((folder / s for s in spellings if (folder / s).is_file()), None)


def read_idx_folder(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return images (n, height, width) and labels (n,) of each set: ``train`` first, then ``t10k``.

    One of the two sets may be missing. Raises ValueError if the files are not as they should be.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    sets = []
    for name in ("train", "t10k"):
        images_path = find_idx(folder, f"{name}-images", 3)
        labels_path = find_idx(folder, f"{name}-labels", 1)
        if images_path is None and labels_path is None:
            continue
        if images_path is None:
            raise ValueError(f"{folder}: {name}-images-idx3-ubyte[.gz] is missing")
        if labels_path is None:
            raise ValueError(f"{folder}: {name}-labels-idx1-ubyte[.gz] is missing")
        images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
        if len(images) != len(labels):
            raise ValueError(
                f"{images_path} holds {len(images)} images, {labels_path.name} {len(labels)} labels"
            )
        if images.size == 0:
            raise ValueError(f"{images_path}: holds no image")
        sets.append((images, labels))
    if not sets:
        raise ValueError(
            f"{folder}: no IDX files (train-images-idx3-ubyte, train-labels-idx1-ubyte and "
            "the same with t10k, each plain or .gz)"
        )
    sizes = [images.shape[1:] for images, _ in sets]
    if sizes[0] != sizes[-1]:
        raise ValueError(f"{folder}: train images are {sizes[0]}, t10k images {sizes[1]}")
    return sets
