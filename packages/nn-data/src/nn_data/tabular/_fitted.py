"""The base class of preprocessing with statistics of the training data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nn_data._sources import table_array

__all__ = ["Fitted", "is_missing"]


class Fitted(ABC):
    """A function with statistics that it learns from training data.

    A subclass sets its statistics in `_fit` and gives them in `state_dict`.
    """

    _is_fitted = False

    def fit(self, x: Any) -> Self:
        """Learn the statistics of training data, and return the transform itself.

        Args:
            x: samples along the first axis; an array, a series or a data frame.

        Raises:
            ValueError: without samples.
        """
        array = table_array(x, type(self).__name__)
        if not len(array):
            raise ValueError(f"{type(self).__name__}: there are no samples to fit")
        self._fit(array)
        self._is_fitted = True
        return self

    def __call__(self, x: Any) -> NDArray[Any]:
        """Return data transformed with the statistics.

        Raises:
            RuntimeError: before `fit`.
            ValueError: for data with other features than those that were fitted.
        """
        self._check_fitted()
        return self._apply(table_array(x, type(self).__name__))

    @abstractmethod
    def _fit(self, x: NDArray[Any]) -> None: ...

    @abstractmethod
    def _apply(self, x: NDArray[Any]) -> NDArray[Any]: ...

    def settings(self) -> dict[str, Any]:
        """Return the arguments that build another transform like this one, not yet fitted."""
        return {}

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return the statistics, as arrays by name."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load statistics.

        Raises:
            ValueError: for a state that does not fit; nothing is changed then.
        """

    def _check_fitted(self) -> None:
        if not self._is_fitted:
            raise RuntimeError(f"{type(self).__name__}: call fit() with training data first")

    def _check_features(self, x: NDArray[Any], expected: tuple[int, ...]) -> None:
        if x.shape[1:] != expected:
            raise ValueError(
                f"{type(self).__name__}: samples have shape {x.shape[1:]}, fitted were {expected}"
            )


def is_missing(x: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values are missing: NaN among numbers, ``''`` among strings."""
    if x.dtype.kind in "fc":
        return np.isnan(x)
    if x.dtype.kind == "U":
        return x == ""
    return np.zeros(x.shape, np.bool_)
