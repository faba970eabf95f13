"""Metadata in files: JSON of unknown origin, one object, no key twice, bounded in size."""

import json
from collections import Counter
from typing import Any

from nn_io._errors import FileFormatError, prefixed, shorten
from nn_io._state_dict import plain_metadata

__all__ = ["MAX_BYTES", "dump_object", "parse_object", "read_metadata"]

# As the safetensors format specifies.
MAX_BYTES = 100_000_000
# Each of them makes at most one Python object; 2**21 are enough for 100,000 tensors.
_MAX_SEPARATORS = 1 << 21


def parse_object(raw: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object in `raw`, or raise a FileFormatError that begins with `what`."""
    # One character beyond the Basic Multilingual Plane makes Python keep four bytes for each.
    if len(raw) * (1 if raw.isascii() else 4) > MAX_BYTES:
        raise FileFormatError(f"{what} is larger than {MAX_BYTES} bytes")
    if sum(raw.count(mark) for mark in (b"{", b"[", b",", b":")) > _MAX_SEPARATORS:
        raise FileFormatError(f"{what} has more than {_MAX_SEPARATORS} entries")
    try:
        with prefixed(lambda: what):
            result = json.loads(str(raw, "utf-8"), object_pairs_hook=_without_duplicates)
    except FileFormatError:
        raise
    except RecursionError:
        raise FileFormatError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise FileFormatError(f"{what} is not JSON: {error}") from None
    if not isinstance(result, dict):
        raise FileFormatError(f"{what} is not a JSON object")
    return result


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise FileFormatError(f"has the key {shorten(counts.most_common(1)[0][0])} twice")
    return result


def dump_object(content: dict[str, Any]) -> bytes:
    """Return `content` as compact JSON."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def read_metadata(value: object) -> dict[str, Any]:
    """Return the metadata of a file, which are JSON if they are bytes, as plain values."""
    if isinstance(value, bytes):
        value = parse_object(value, "the metadata")
    try:
        return plain_metadata(value)
    except (TypeError, ValueError) as error:
        raise FileFormatError(str(error)) from None
