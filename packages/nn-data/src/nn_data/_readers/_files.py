"""The content of files, plain or compressed with gzip."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import TypeAlias

__all__ = ["PathLike", "decoded_text", "read_bytes"]

PathLike: TypeAlias = "str | os.PathLike[str]"


def read_bytes(path: PathLike) -> bytes:
    """Return the content of a file, unpacked if it is compressed, whatever its name says.

    Raises:
        ValueError: for a damaged gzip file, naming it.
    """
    content = Path(path).read_bytes()
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path}: damaged or incomplete gzip file ({error})") from error
    return content


def decoded_text(path: PathLike, encoding: str) -> str:
    """Return a file as text, without a byte order mark.

    Raises:
        ValueError: for bytes that are not text in this encoding, naming the file.
    """
    try:
        return read_bytes(path).decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not text in {encoding} ({error})") from error
