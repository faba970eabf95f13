"""What a random transform is: parameters for every sample, and a function of these."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_number
from nn_data.transforms._layout import Layout, check_layout

__all__ = ["Params", "Transform", "check_range", "params_for", "per_sample"]

Params: TypeAlias = dict[str, NDArray[Any]]
"""Arrays with an entry for each sample of a batch, by name."""


class Transform(ABC):
    """A function of a batch of images, and of parameters that are drawn for each sample.

    A subclass draws the parameters in `draw` and uses them in `apply`, which is a pure function:
    the same parameters transform an image and its segmentation mask in the same way, and tests can
    choose them. The input is not changed.

    Args:
        layout: ``'nchw'``, ``'nhwc'`` or ``'nhw'``.

    >>> class Invert(Transform):
    ...     def draw(self, rng, shape):
    ...         return {"invert": rng.random(shape[0]) < 0.5}
    ...     def apply(self, x, params):
    ...         return np.where(per_sample(params["invert"], x.ndim), 255 - x, x)
    >>> Invert()(np.zeros((2, 1, 1, 1), np.uint8), params={"invert": [True, False]}).ravel()
    array([255,   0], dtype=uint8)
    """

    def __init__(self, *, layout: Layout = "nchw") -> None:
        self.layout: Layout = check_layout(layout)

    @abstractmethod
    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Return parameters for each sample of a batch of this shape."""

    @abstractmethod
    def apply(self, x: NDArray[Any], params: Params) -> NDArray[Any]:
        """Return the transformed batch."""

    def __call__(
        self,
        x: Any,
        rng: np.random.Generator | None = None,
        *,
        params: Mapping[str, Any] | None = None,
    ) -> NDArray[Any]:
        """Return the transformed batch.

        Args:
            x: the batch.
            rng: the generator of the parameters.
            params: the parameters to use in place of drawn ones.

        Raises:
            TypeError: unless exactly one of `rng` and `params` is given; for parameters of another
                transform.
            ValueError: for a batch of another shape than `layout` says, or parameters that do not
                fit it.
        """
        x = np.asarray(x)
        return self.apply(x, params_for(self, x.shape, rng, params))

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({options})"


class Draws(Protocol):
    """What draws parameters for the samples of a batch."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Return parameters for each sample of a batch of this shape."""
        ...


def params_for(
    transform: Draws,
    shape: tuple[int, ...],
    rng: np.random.Generator | None,
    params: Mapping[str, Any] | None,
) -> Params:
    """Return parameters drawn with `rng`, or those given, if they fit the batch."""
    name = type(transform).__name__
    if (rng is None) == (params is None):
        raise TypeError(f"{name} takes rng, to draw its parameters, or params: one of them")
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"{name}: rng: expected a numpy.random.Generator, got {rng!r}")
    # Also where they are given: what would be drawn says which there are.
    drawn = transform.draw(np.random.default_rng(0) if rng is None else rng, shape)
    if params is None:
        return drawn
    given = {key: np.asarray(value) for key, value in params.items()}
    if given.keys() != drawn.keys():
        raise ValueError(f"{name}: params has {sorted(given)}, expected {sorted(drawn)}")
    for key, array in given.items():
        if array.shape != drawn[key].shape:
            raise ValueError(
                f"{name}: params[{key!r}] has shape {array.shape}, expected {drawn[key].shape}"
            )
        if not np.can_cast(array.dtype, drawn[key].dtype, "same_kind"):
            raise TypeError(
                f"{name}: params[{key!r}] is {array.dtype}, expected {drawn[key].dtype}"
            )
    return given


def per_sample(values: NDArray[Any], ndim: int) -> NDArray[Any]:
    """Return one value for each sample in a shape that broadcasts with a batch of `ndim` axes.

    Args:
        values: ``(n,)``.
        ndim: the number of dimensions of the batch.

    >>> per_sample(np.array([1, 2]), 4).shape
    (2, 1, 1, 1)
    """
    return values.reshape(len(values), *(1,) * (ndim - 1))


def check_range(
    name: str, value: Any, center: float, minimum: float | None = None
) -> tuple[float, float]:
    """Return a range (low, high): the one that is given, or `center` ± a number."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{name}: expected a number or (low, high), got {value!r}")
        low, high = (check_number(name, bound, minimum) for bound in value)
        if low > high:
            raise ValueError(f"{name}: expected low <= high, got {value!r}")
        return low, high
    spread = check_number(name, value, 0)
    low = center - spread
    return low if minimum is None else max(low, minimum), center + spread
