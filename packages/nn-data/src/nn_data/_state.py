"""State dicts of what is fitted: arrays by name, and everything else under one reserved key.

The format is that of nn-io, which can save and load these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["METADATA_KEY", "check_keys", "pack_strings", "unpack_strings"]

METADATA_KEY: Final = "__metadata__"


def check_keys(owner: str, state: Mapping[str, Any], expected: set[str]) -> None:
    """Raise ValueError if a state has other keys than expected, naming all of them."""
    if state.keys() == expected:
        return
    missing = sorted(expected - state.keys())
    unexpected = sorted(map(str, state.keys() - expected))
    parts = [f"{key} is missing" for key in missing] + [
        f"{key} is unexpected" for key in unexpected
    ]
    raise ValueError(f"{owner}: the state does not fit: {', '.join(parts)}; nothing was changed")


def pack_strings(strings: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return strings as bytes in UTF-8 and the length of each: files of arrays hold numbers."""
    encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
    content = np.frombuffer(b"".join(encoded), np.uint8).copy()
    return content, np.array([len(part) for part in encoded], dtype=np.int64)


def unpack_strings(content: Any, lengths: Any) -> list[str]:
    """Return the strings that `pack_strings` was given.

    Raises:
        ValueError: for arrays that do not fit together.
    """
    content, lengths = np.asarray(content), np.asarray(lengths)
    if (lengths.size and lengths.min() < 0) or lengths.sum() != content.size:
        raise ValueError("strings: their lengths do not add up to their bytes")
    data = content.astype(np.uint8).tobytes()
    ends = np.cumsum(lengths).tolist()
    starts = [0, *ends[:-1]]
    return [
        data[start:end].decode("utf-8", "surrogatepass")
        for start, end in zip(starts, ends, strict=True)
    ]
