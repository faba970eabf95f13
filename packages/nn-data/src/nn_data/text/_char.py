"""Characters as tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import keyword_only
from nn_data.text._vocabulary import Vocabulary, check_text, texts_of

__all__ = ["CharVocabulary"]


class CharVocabulary(Vocabulary):
    """The characters of a text, in the order of their code points.

    Args:
        specials: tokens that are not text, with the first indices.
        unknown: the special token for characters that are not in the vocabulary; None makes them
            an error.

    >>> vocabulary = CharVocabulary(specials=["<pad>"]).fit("abracadabra")
    >>> vocabulary.encode("cab"), vocabulary.decode([3, 1, 2])
    (array([3, 1, 2]), 'cab')
    """

    @keyword_only
    def __init__(self, *, specials: Sequence[str] = (), unknown: str | None = None) -> None:
        super().__init__(specials, unknown)

    def fit(self, texts: str | Iterable[str]) -> Self:
        """Learn the characters of a text, or of several, and return the vocabulary itself."""
        found: set[str] = set()
        for text in texts_of(texts):
            found.update(text)
        self._set_tokens(sorted(found))
        return self

    def _set_tokens(self, tokens: list[str]) -> None:
        super()._set_tokens(tokens)
        self._points = np.array([ord(token) for token in tokens], dtype=np.uint32)

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the indices of the characters of a text.

        Raises:
            ValueError: for a character that is not in the vocabulary, where `unknown` is None.
        """
        points = np.frombuffer(check_text(text).encode("utf-32-le", "surrogatepass"), "<u4")
        if not len(self._points):
            return np.array([self._unknown_index(character) for character in text], np.int64)
        places = np.minimum(np.searchsorted(self._points, points), len(self._points) - 1)
        known = self._points[places] == points
        found = places.astype(np.int64)
        found += len(self.specials)
        if not known.all():
            found[~known] = self._unknown_index(text[int(np.argmin(known))])
        return found

    def decode(self, indices: Any) -> str:
        """Return the text of indices, without special tokens.

        Raises:
            IndexError: for an index out of range.
        """
        start = len(self.specials)
        return "".join([self._tokens[i - start] for i in self._checked(indices)])
