"""Filling in missing values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_choice, keyword_only
from nn_data._state import check_keys, pack_strings, unpack_strings
from nn_data.tabular._fitted import Fitted, is_missing

__all__ = ["Impute"]

Strategy = Literal["mean", "median", "most_frequent", "constant"]


class Impute(Fitted):
    """Fill in missing values: NaN among numbers, ``''`` among strings.

    Args:
        strategy: ``'mean'``, ``'median'`` or ``'most_frequent'`` of each feature in the training
            data (of several most frequent values the smallest), or ``'constant'``.
        value: the value for ``'constant'``.

    Raises:
        ValueError: if `strategy` is not one of these, or `value` is given for another strategy than
            ``'constant'`` or missing for it.

    >>> Impute("median").fit([1.0, 2.0, np.nan, 9.0])([np.nan, 5.0])
    array([2., 5.])
    >>> Impute("most_frequent").fit(["red", "", "red", "blue"])(["", "blue"]).tolist()
    ['red', 'blue']
    """

    filling: NDArray[Any]
    """What is filled in, for each feature."""

    @keyword_only
    def __init__(self, strategy: Strategy = "mean", *, value: Any = None) -> None:
        self.strategy: str = check_choice("strategy", strategy, get_args(Strategy))
        if (value is not None) != (strategy == "constant"):
            raise ValueError("value: strategy='constant' needs one, and no other strategy does")
        self.value = value

    def _fit(self, x: NDArray[Any]) -> None:
        if self.strategy in ("mean", "median") and x.dtype.kind not in "biuf":
            raise TypeError(f"Impute: strategy={self.strategy!r} needs numbers, got {x.dtype}")
        columns = x.reshape(len(x), -1).T
        filling = [self._filling(column, i) for i, column in enumerate(columns)]
        kind = np.str_ if x.dtype.kind == "U" else np.float64
        self.filling = np.array(filling, dtype=kind).reshape(x.shape[1:])

    def _filling(self, column: NDArray[Any], number: int) -> Any:
        if self.strategy == "constant":
            return self.value
        present = column[~is_missing(column)]
        if not len(present):
            raise ValueError(
                f"Impute: all values of feature {number} are missing, there is no {self.strategy}"
            )
        if self.strategy == "mean":
            return present.mean(dtype=np.float64)
        if self.strategy == "median":
            return np.median(present)
        values, counts = np.unique(present, return_counts=True)
        return values[counts.argmax()]

    def _apply(self, x: NDArray[Any]) -> NDArray[Any]:
        self._check_features(x, self.filling.shape)
        if (x.dtype.kind == "U") != (self.filling.dtype.kind == "U"):
            raise TypeError(f"Impute: fitted to {self.filling.dtype}, got {x.dtype}")
        missing = is_missing(x)
        if not missing.any():
            return x
        filling = self.filling if x.dtype.kind == "U" else self.filling.astype(x.dtype)
        return np.where(missing, filling, x)

    def settings(self) -> dict[str, Any]:
        """Return the arguments that build another transform like this one, not yet fitted."""
        settings: dict[str, Any] = {"strategy": self.strategy}
        return settings if self.value is None else settings | {"value": self.value}

    def state_dict(self) -> dict[str, Any]:
        """Return ``filling``; strings as bytes and lengths."""
        self._check_fitted()
        if self.filling.dtype.kind != "U":
            return {"filling": self.filling.copy()}
        content, lengths = pack_strings(self.filling.ravel().tolist())
        return {"filling.bytes": content, "filling.lengths": lengths.reshape(self.filling.shape)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load ``filling``.

        Raises:
            ValueError: for a state that does not fit; nothing is changed then.
        """
        filling: NDArray[Any]
        if "filling" in state:
            check_keys("Impute", state, {"filling"})
            filling = np.array(state["filling"], dtype=np.float64)
        else:
            check_keys("Impute", state, {"filling.bytes", "filling.lengths"})
            lengths = np.asarray(state["filling.lengths"])
            strings = unpack_strings(state["filling.bytes"], lengths.ravel())
            filling = np.array(strings, dtype=np.str_).reshape(lengths.shape)
        self.filling, self._is_fitted = filling, True

    def __repr__(self) -> str:
        value = f", value={self.value!r}" if self.strategy == "constant" else ""
        return f"Impute({self.strategy!r}{value})"
