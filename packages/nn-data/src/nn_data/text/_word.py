"""Words as tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_bool, check_integer, keyword_only
from nn_data._state import METADATA_KEY
from nn_data.text._vocabulary import Vocabulary, check_text, texts_of

__all__ = ["WordVocabulary"]

_WORD = re.compile(r"\w+|[^\w\s]")


class WordVocabulary(Vocabulary):
    """Words and punctuation marks, the most frequent first.

    Text is split into runs of letters, digits and underscores, and other single characters;
    `decode` puts spaces between them.

    Args:
        max_size: the maximum number of tokens, special ones included.
        min_count: the minimum number of occurrences of a word.
        lowercase: whether to convert text to lower case.
        specials: tokens that are not text, with the first indices.
        unknown: the special token for words that are not in the vocabulary; None makes them an
            error.

    >>> vocabulary = WordVocabulary(min_count=2, lowercase=True).fit("To be, or not to be.")
    >>> vocabulary.tokens
    ['<unk>', 'be', 'to']
    >>> vocabulary.encode("to be or not")
    array([2, 1, 0, 0])
    """

    @keyword_only
    def __init__(
        self,
        *,
        max_size: int | None = None,
        min_count: int = 1,
        lowercase: bool = False,
        specials: Sequence[str] = (),
        unknown: str | None = "<unk>",
    ) -> None:
        super().__init__(specials, unknown)
        if max_size is not None:
            max_size = check_integer("max_size", max_size, minimum=len(self.specials) + 1)
        self.max_size = max_size
        self.min_count: int = check_integer("min_count", min_count, minimum=1)
        self.lowercase: bool = check_bool("lowercase", lowercase)

    def split(self, text: str) -> list[str]:
        """Return the words and punctuation marks of a text."""
        return _WORD.findall(text.lower() if self.lowercase else text)

    def fit(self, texts: str | Iterable[str]) -> Self:
        """Learn the words of a text, or of several, and return the vocabulary itself."""
        counts: Counter[str] = Counter()
        for text in texts_of(texts):
            counts.update(self.split(text))
        # Equally frequent words in alphabetical order: the order of the texts must not matter.
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        kept = [word for word in ranked if counts[word] >= self.min_count]
        self._set_tokens(
            kept[: None if self.max_size is None else self.max_size - len(self.specials)]
        )
        return self

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the indices of the words of a text.

        Raises:
            ValueError: for a word that is not in the vocabulary, where `unknown` is None.
        """
        index = self._index
        words = self.split(check_text(text))
        return np.array(
            [index[w] if w in index else self._unknown_index(w) for w in words], dtype=np.int64
        )

    def decode(self, indices: Any) -> str:
        """Return the words of indices with spaces between them, without special tokens.

        Raises:
            IndexError: for an index out of range.
        """
        start = len(self.specials)
        return " ".join([self._tokens[i - start] for i in self._checked(indices)])

    def state_dict(self) -> dict[str, Any]:
        """Return the tokens, as arrays that a file of parameters can hold."""
        state = super().state_dict()
        state[METADATA_KEY]["lowercase"] = self.lowercase
        return state

    def load_state_dict(self, state: Any) -> None:
        """Load tokens, special tokens and whether text becomes lower case.

        Raises:
            ValueError: for a state that does not fit; nothing is changed then.
        """
        super().load_state_dict(state)
        self.lowercase = bool(state[METADATA_KEY].get("lowercase", self.lowercase))
