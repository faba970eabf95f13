"""Standardization."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._state import check_keys
from nn_data.tabular._fitted import Fitted

__all__ = ["Standardize"]


class Standardize(Fitted):
    r"""Subtract the mean of each feature, and divide by its standard deviation.

    :math:`(x - \mu)/\sigma`, with the statistics of the training data, in float32. NaN is ignored
    in the statistics and stays NaN. A constant feature becomes 0.

    >>> standardize = Standardize().fit([[0.0, 5.0], [4.0, 5.0]])
    >>> standardize([[2.0, 5.0], [6.0, 5.0]])
    array([[0., 0.],
           [2., 0.]], dtype=float32)
    """

    mean: NDArray[np.float64]
    """Of each feature."""

    std: NDArray[np.float64]
    """Of each feature; 1 for a constant one."""

    def _fit(self, x: NDArray[Any]) -> None:
        values = self._numbers(x)
        if np.isinf(values).any():
            raise ValueError("Standardize: infinite values have no mean")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # all of a feature is missing
            mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
            least, most = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        # Of a constant feature, mean and standard deviation may be off by rounding errors.
        varies = least < most
        self.mean = np.where(varies, mean, np.nan_to_num(least))
        self.std = np.where(varies, std, 1.0)

    def _apply(self, x: NDArray[Any]) -> NDArray[np.float32]:
        values = self._numbers(x)
        self._check_features(values, self.mean.shape)
        return ((values - self.mean) / self.std).astype(np.float32)

    def inverse(self, z: Any) -> NDArray[np.float32]:
        """Return standardized values in their former units, such as predictions of a target.

        Raises:
            RuntimeError: before `fit`.
            ValueError: for other features than those that were fitted.
        """
        self._check_fitted()
        values = np.asarray(z, dtype=np.float64)
        self._check_features(values, self.mean.shape)
        return (values * self.std + self.mean).astype(np.float32)

    def _numbers(self, x: NDArray[Any]) -> NDArray[np.float64]:
        if x.dtype.kind not in "biuf":
            raise TypeError(f"Standardize: expected numbers, got {x.dtype}")
        return x.astype(np.float64)

    def state_dict(self) -> dict[str, Any]:
        """Return ``mean`` and ``std``."""
        self._check_fitted()
        return {"mean": self.mean.copy(), "std": self.std.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load ``mean`` and ``std``.

        Raises:
            ValueError: for a state that does not fit; nothing is changed then.
        """
        check_keys("Standardize", state, {"mean", "std"})
        mean, std = (np.array(state[key], dtype=np.float64) for key in ("mean", "std"))
        if mean.shape != std.shape or not (std > 0).all():
            raise ValueError("Standardize: the state is not a mean and a standard deviation")
        self.mean, self.std, self._is_fitted = mean, std, True

    def __repr__(self) -> str:
        return f"Standardize({list(self.mean.shape) if self._is_fitted else ''})"
