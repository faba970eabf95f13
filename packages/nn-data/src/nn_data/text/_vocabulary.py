"""What a vocabulary is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nn_data._state import METADATA_KEY, check_keys, pack_strings, unpack_strings

__all__ = ["Vocabulary", "check_text", "texts_of"]


class Vocabulary(ABC):
    """Tokens and their indices.

    The special tokens come first: ``specials=("<pad>", "<end>")`` have the indices 0 and 1. They
    never come from text, and `decode` leaves them out.

    Args:
        specials: tokens that are not text.
        unknown: the special token that stands for text that is not in the vocabulary; it is added
            to `specials`. None makes such text an error.

    Raises:
        TypeError: for special tokens that are a single string.
        ValueError: for special tokens that occur twice.
    """

    def __init__(self, specials: Sequence[str] = (), unknown: str | None = None) -> None:
        if isinstance(specials, str):
            raise TypeError(f"specials: expected a list of tokens, got the string {specials!r}")
        self.specials: list[str] = list(specials)
        if unknown is not None and unknown not in self.specials:
            self.specials.append(unknown)
        if len(set(self.specials)) != len(self.specials):
            raise ValueError(f"specials: expected tokens that differ, got {self.specials}")
        self.unknown = unknown
        self._set_tokens([])

    def _set_tokens(self, tokens: list[str]) -> None:
        """Set the tokens that are text, in the order of their indices after the special ones."""
        self._tokens = tokens
        start = len(self.specials)
        self._index = {token: i for i, token in enumerate(tokens, start)}

    @property
    def tokens(self) -> list[str]:
        """All tokens, in the order of their indices."""
        return [*self.specials, *self._tokens]

    def __len__(self) -> int:
        return len(self.specials) + len(self._tokens)

    def index(self, special: str) -> int:
        """Return the index of a special token.

        Raises:
            KeyError: if the name is not that of a special token.
        """
        if special not in self.specials:
            raise KeyError(f"{special!r} is not a special token; there are {self.specials}")
        return self.specials.index(special)

    @abstractmethod
    def fit(self, texts: str | Iterable[str]) -> Self:
        """Learn the tokens of a text, or of several, and return the vocabulary itself."""

    @abstractmethod
    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the indices of the tokens of a text.

        Raises:
            ValueError: for text that is not in the vocabulary, where `unknown` is None.
        """

    @abstractmethod
    def decode(self, indices: Any) -> str:
        """Return the text of indices, without special tokens.

        Raises:
            IndexError: for an index out of range.
        """

    def _checked(self, indices: Any) -> list[int]:
        """Return indices as a list, without those of special tokens."""
        array = np.asarray(indices)
        if array.size == 0:
            return []
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise TypeError(f"indices: expected integers (n,), got {array.dtype} {array.shape}")
        wrong = array[(array < 0) | (array >= len(self))]
        if len(wrong):
            raise IndexError(f"index {wrong[0]} is out of range for {len(self)} tokens")
        found: list[int] = array[array >= len(self.specials)].tolist()
        return found

    def _unknown_index(self, token: str) -> int:
        if self.unknown is None:
            raise ValueError(f"{token!r} is not in the vocabulary of {len(self)} tokens")
        return self.specials.index(self.unknown)

    def state_dict(self) -> dict[str, Any]:
        """Return the tokens, as arrays that a file of parameters can hold."""
        content, lengths = pack_strings(self.tokens)
        settings = {"specials": len(self.specials), "unknown": self.unknown}
        return {"tokens.bytes": content, "tokens.lengths": lengths, METADATA_KEY: settings}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load tokens and special tokens.

        Raises:
            ValueError: for a state that does not fit; nothing is changed then.
        """
        name = type(self).__name__
        check_keys(name, state, {"tokens.bytes", "tokens.lengths", METADATA_KEY})
        tokens = unpack_strings(state["tokens.bytes"], state["tokens.lengths"])
        settings = state[METADATA_KEY]
        count, unknown = settings["specials"], settings["unknown"]
        if not 0 <= count <= len(tokens) or (unknown is not None and unknown not in tokens[:count]):
            raise ValueError(f"{name}: the state does not fit its special tokens")
        self.specials = tokens[:count]
        self.unknown = unknown
        self._set_tokens(tokens[count:])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} tokens)"


def texts_of(texts: str | Iterable[str]) -> Iterator[str]:
    """Yield the only text, or each of several."""
    for text in (texts,) if isinstance(texts, str) else texts:
        yield check_text(text)


def check_text(text: Any) -> str:
    """Return `text` if it is a string."""
    if not isinstance(text, str):
        raise TypeError(f"text: expected a string, got {type(text).__name__}")
    return text
