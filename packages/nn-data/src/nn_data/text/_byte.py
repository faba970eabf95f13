"""Bytes as tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import keyword_only
from nn_data._state import METADATA_KEY
from nn_data.text._vocabulary import Vocabulary, check_text

__all__ = ["ByteVocabulary"]


class ByteVocabulary(Vocabulary):
    """The 256 bytes of UTF-8: every text can be encoded, and nothing has to be fitted.

    Args:
        specials: tokens that are not text, with the first indices.

    >>> vocabulary = ByteVocabulary(specials=["<pad>"])
    >>> vocabulary.encode("é")
    array([196, 170])
    >>> vocabulary.decode([0, 196, 170])
    'é'
    """

    @keyword_only
    def __init__(self, *, specials: Sequence[str] = ()) -> None:
        super().__init__(specials)
        self._set_tokens([chr(byte) for byte in range(256)])

    def fit(self, texts: str | Iterable[str]) -> Self:
        """Return the vocabulary itself: its tokens are fixed."""
        return self

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the bytes of a text, after the special tokens."""
        found = np.frombuffer(check_text(text).encode("utf-8"), np.uint8).astype(np.int64)
        found += len(self.specials)
        return found

    def decode(self, indices: Any) -> str:
        """Return the text of indices; bytes that are not UTF-8 become U+FFFD.

        Raises:
            IndexError: for an index out of range.
        """
        start = len(self.specials)
        return bytes(i - start for i in self._checked(indices)).decode("utf-8", "replace")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the special tokens.

        Raises:
            ValueError: for a state that does not fit; nothing is changed then.
        """
        settings = state.get(METADATA_KEY) or {}
        if len(state.get("tokens.lengths", ())) - settings.get("specials", 0) != 256:
            raise ValueError("ByteVocabulary: the state is not one of 256 bytes")
        super().load_state_dict(state)
