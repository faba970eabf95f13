"""One-hot encoding of categories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_choice, keyword_only
from nn_data._state import check_keys, pack_strings, unpack_strings
from nn_data.tabular._fitted import Fitted, is_missing

__all__ = ["OneHot"]


class OneHot(Fitted):
    """One-hot encode categorical features, in float32: a column for each category.

    Args:
        unknown: what to do with a category that was not in the training data: ``'error'`` to raise,
            or ``'ignore'`` to set all of its columns to 0.

    Raises:
        ValueError: if `unknown` is neither.

    >>> one_hot = OneHot().fit(["red", "blue", "red"])
    >>> one_hot.categories[0].tolist()
    ['blue', 'red']
    >>> one_hot(["red", "blue"])
    array([[0., 1.],
           [1., 0.]], dtype=float32)
    """

    categories: list[NDArray[Any]]
    """Those of each feature, sorted."""

    @keyword_only
    def __init__(self, *, unknown: Literal["error", "ignore"] = "error") -> None:
        self.unknown: str = check_choice("unknown", unknown, ("error", "ignore"))

    def _fit(self, x: NDArray[Any]) -> None:
        columns = self._columns(x)
        for i, column in enumerate(columns.T):
            if column.dtype.kind == "f" and is_missing(column).any():
                raise ValueError(f"OneHot: feature {i} has missing values (NaN): use Impute first")
        self.categories = [np.unique(column) for column in columns.T]

    def _columns(self, x: NDArray[Any]) -> NDArray[Any]:
        if x.ndim > 2 or x.dtype.kind not in "biufU":
            raise TypeError(
                "OneHot: expected numbers or strings of shape (n,) or (n, k), got "
                f"{x.dtype} of shape {x.shape}"
            )
        return x.reshape(len(x), -1)

    def _apply(self, x: NDArray[Any]) -> NDArray[np.float32]:
        columns = self._columns(x)
        self._check_features(columns, (len(self.categories),))
        parts = [
            self._encoded(column, known, i)
            for i, (column, known) in enumerate(zip(columns.T, self.categories, strict=True))
        ]
        return np.concatenate(parts, axis=1)

    def _encoded(
        self, column: NDArray[Any], known: NDArray[Any], number: int
    ) -> NDArray[np.float32]:
        if (column.dtype.kind == "U") != (known.dtype.kind == "U"):
            raise TypeError(f"OneHot: feature {number} was {known.dtype}, got {column.dtype}")
        places = np.minimum(np.searchsorted(known, column), len(known) - 1)
        found = known[places] == column
        if self.unknown == "error" and not found.all():
            strange = column[~found][0]
            listed = ", ".join(repr(value) for value in known[:8].tolist())
            more = ", ..." if len(known) > 8 else ""
            raise ValueError(
                f"OneHot: feature {number} has the unknown category {strange.item()!r}; known are "
                f"{listed}{more} (unknown='ignore' makes it zeros)"
            )
        encoded = np.zeros((len(column), len(known)), np.float32)
        encoded[np.arange(len(column)), places] = found
        return encoded

    def settings(self) -> dict[str, Any]:
        """Return the arguments that build another transform like this one, not yet fitted."""
        return {"unknown": self.unknown}

    def state_dict(self) -> dict[str, Any]:
        """Return the categories of each feature; strings as bytes and lengths."""
        self._check_fitted()
        state: dict[str, Any] = {}
        for i, known in enumerate(self.categories):
            if known.dtype.kind == "U":
                content, lengths = pack_strings(known.tolist())
                state |= {f"categories.{i}.bytes": content, f"categories.{i}.lengths": lengths}
            else:
                state[f"categories.{i}"] = known.copy()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the categories.

        Raises:
            ValueError: for a state that does not fit; nothing is changed then.
        """
        categories: list[NDArray[Any]] = []
        expected: set[str] = set()
        while len(expected) < len(state) or not categories:
            key = f"categories.{len(categories)}"
            names = {key} if key in state else {f"{key}.bytes", f"{key}.lengths"}
            expected |= names
            if not names <= state.keys():
                break
            if key in state:
                categories.append(np.array(state[key]))
            else:
                strings = unpack_strings(state[f"{key}.bytes"], state[f"{key}.lengths"])
                categories.append(np.array(strings, dtype=np.str_))
        check_keys("OneHot", state, expected)
        self.categories, self._is_fitted = categories, True

    def __repr__(self) -> str:
        return f"OneHot(unknown={self.unknown!r})"
