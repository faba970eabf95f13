"""Transforms made of transforms."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._callables import takes_rng
from nn_data._checks import check_probability
from nn_data.transforms._layout import Layout, check_layout
from nn_data.transforms._transform import Params, Transform

__all__ = ["Compose", "RandomApply"]


class Compose:
    """Transforms in sequence.

    Args:
        transforms: functions of a batch; those with a parameter called ``rng`` get the generator.
        layout: the layout of the batch, for all transforms; by default each keeps its own.

    Raises:
        TypeError: for a value that is not callable.

    >>> from nn_data.transforms import Normalize, RandomCrop, RandomFlip
    >>> parts = RandomCrop(32, padding=4), RandomFlip(), Normalize(128, 64)
    >>> augment = Compose(*parts, layout="nhwc")
    >>> augment(np.zeros((8, 32, 32, 3), np.uint8), rng=np.random.default_rng(0)).shape
    (8, 32, 32, 3)
    """

    def __init__(self, *transforms: Callable[..., Any], layout: Layout | None = None) -> None:
        for i, transform in enumerate(transforms):
            if not callable(transform):
                raise TypeError(f"transforms[{i}]: expected a callable, got {transform!r}")
        if layout is not None:
            transforms = tuple(with_layout(t, check_layout(layout)) for t in transforms)
        self.transforms = transforms
        self._random = [takes_rng(transform) for transform in transforms]

    def __call__(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        """Return the transformed batch.

        Args:
            x: the batch.
            rng: the generator of the parameters of all transforms.
        """
        for transform, random in zip(self.transforms, self._random, strict=True):
            x = transform(x, rng=rng) if random else transform(x)
        return x

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


def with_layout(transform: Any, layout: Layout) -> Any:
    """Return a copy of a transform for another layout; what has none is returned as it is."""
    if isinstance(transform, Compose):
        return Compose(*transform.transforms, layout=layout)
    if not hasattr(transform, "layout"):
        return transform
    transform = copy.copy(transform)
    transform.layout = layout
    if isinstance(transform, RandomApply):
        transform.transform = with_layout(transform.transform, layout)
    return transform


class RandomApply(Transform):
    """Apply a transform to each sample with a given probability.

    The transform must keep shape and dtype.

    Args:
        transform: the transform.
        p: the probability.

    >>> from nn_data.transforms import GaussianNoise
    >>> noisy = RandomApply(GaussianNoise(0.1), 0.3)
    """

    def __init__(self, transform: Transform, p: float = 0.5) -> None:
        if not isinstance(transform, Transform):
            raise TypeError(f"transform: expected a Transform, got {transform!r}")
        super().__init__(layout=transform.layout)
        self.transform = transform
        self.p: float = check_probability("p", p)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Return which samples are transformed, and the parameters of the transform."""
        chosen = rng.random(shape[0]) < self.p
        return {"apply": chosen, **self.transform.draw(rng, shape)}

    def apply(self, x: NDArray[Any], params: Params) -> NDArray[Any]:
        """Return the batch with the chosen samples transformed."""
        chosen = np.flatnonzero(params["apply"])
        own = {key: values[chosen] for key, values in params.items() if key != "apply"}
        out = x.copy()
        if len(chosen):
            changed = self.transform.apply(x[chosen], own)
            if changed.shape[1:] != x.shape[1:]:
                raise ValueError(
                    f"RandomApply: {self.transform!r} changed the shape {x.shape[1:]} of a sample "
                    f"to {changed.shape[1:]}"
                )
            out[chosen] = changed
        return out
