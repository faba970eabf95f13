"""JSON of unknown origin: one object, no key twice, bounded in size."""

import json
from typing import Any

from nn_io._errors import FileFormatError, short

# As the safetensors format has it.
MAX_BYTES = 100_000_000
# Each of them makes at most one Python object; 2**21 are enough for 100,000 tensors.
_MAX_SEPARATORS = 1 << 21


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise FileFormatError(f"names {short(key)} twice")
            seen.add(key)
    return result


def parse_object(raw: bytes, what: str) -> dict[str, Any]:
    """The JSON object in ``raw``."""
    # One character beyond the Basic Multilingual Plane makes Python keep four bytes for each.
    if len(raw) * (1 if raw.isascii() else 4) > MAX_BYTES:
        raise FileFormatError(f"{what} is larger than {MAX_BYTES} bytes")
    if sum(raw.count(mark) for mark in (b"{", b"[", b",", b":")) > _MAX_SEPARATORS:
        raise FileFormatError(f"{what} has more than {_MAX_SEPARATORS} entries")
    try:
        result = json.loads(str(raw, "utf-8"), object_pairs_hook=_without_duplicates)
    except FileFormatError as error:
        raise FileFormatError(f"{what} {error}") from None
    except RecursionError:
        raise FileFormatError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise FileFormatError(f"{what} is not JSON: {error}") from None
    if not isinstance(result, dict):
        raise FileFormatError(f"{what} is not a JSON object")
    return result


def dump_object(content: dict[str, Any]) -> bytes:
    """``content`` as compact JSON."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
