"""MixUp and CutMix: images that are mixed in pairs, and targets as probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_integer, check_number, keyword_only
from nn_data.transforms._cutout import boxes
from nn_data.transforms._layout import Layout, axes_of, check_layout
from nn_data.transforms._transform import Params, params_for, per_sample

__all__ = ["CutMix", "MixUp"]


class _Mix(ABC):
    """Mix each sample of a batch of (inputs, targets) with another one of the same batch."""

    def __init__(self, num_classes: int, alpha: float, layout: str) -> None:
        self.num_classes: int = check_integer("num_classes", num_classes, minimum=1)
        self.alpha: float = check_number("alpha", alpha, minimum=0)
        if self.alpha == 0:
            raise ValueError("alpha: expected a finite number > 0, got 0")
        self.layout: Layout = check_layout(layout)

    @abstractmethod
    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Return parameters for each sample of a batch with inputs of this shape."""

    @abstractmethod
    def mix(self, x: NDArray[Any], params: Params) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the mixed inputs, and the weight of each sample in its mixture."""

    def __call__(
        self,
        batch: Any,
        rng: np.random.Generator | None = None,
        *,
        params: Mapping[str, Any] | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Return mixed inputs and targets.

        Args:
            batch: a tuple of inputs and targets: classes ``(n,)``, or probabilities ``(n,
                num_classes)``.
            rng: the generator of the parameters.
            params: the parameters to use in place of drawn ones.

        Returns:
            the inputs, and probabilities ``(n, num_classes)`` in float32.

        Raises:
            TypeError: if the batch is not such a tuple, or unless exactly one of `rng` and `params`
                is given.
            ValueError: for classes out of range.
        """
        name = type(self).__name__
        if not isinstance(batch, tuple) or len(batch) != 2:
            raise TypeError(f"{name}: expected a batch of (inputs, targets)")
        x = np.asarray(batch[0])
        targets = _probabilities(np.asarray(batch[1]), len(x), self.num_classes, name)
        own = params_for(self, x.shape, rng, params)
        partner = own["partner"]
        mixed, kept = self.mix(x, own)
        kept = kept.astype(np.float32)[:, None]
        return mixed, kept * targets + (1 - kept) * targets.take(partner, 0)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_classes}, alpha={self.alpha:g})"


def _probabilities(
    targets: NDArray[Any], n: int, num_classes: int, name: str
) -> NDArray[np.float32]:
    if targets.shape == (n, num_classes) and targets.dtype.kind == "f":
        return targets.astype(np.float32)
    if targets.shape != (n,) or targets.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: expected integer classes ({n},) or probabilities ({n}, {num_classes}), got "
            f"{targets.dtype} of shape {targets.shape}"
        )
    if n and not 0 <= targets.min() <= targets.max() < num_classes:
        wrong = targets[(targets < 0) | (targets >= num_classes)][0]
        raise ValueError(f"{name}: class {wrong} is out of range for {num_classes} classes")
    one_hot = np.zeros((n, num_classes), np.float32)
    one_hot[np.arange(n), targets] = 1
    return one_hot


class MixUp(_Mix):
    r"""Mix each sample and its target with another one of the batch (mixup).

    :math:`\tilde x_i = \lambda_i x_i + (1 - \lambda_i) x_{j}` with :math:`\lambda_i \sim
    \mathrm{Beta}(\alpha, \alpha)` for each sample (Zhang, Cisse, Dauphin and Lopez-Paz, "mixup:
    Beyond empirical risk minimization", 2018). Takes inputs of any shape; uint8 and other integers
    become float32.

    Args:
        num_classes: the number of classes.
        alpha: the parameter of the Beta distribution; the smaller, the closer each mixture is to
            one of its two samples.

    Raises:
        ValueError: for an `alpha` that is not positive.

    >>> mix = MixUp(2)
    >>> batch = np.array([[0.0], [1.0]]), np.array([0, 1])
    >>> mix(batch, params={"lambda": [0.75, 1.0], "partner": [1, 0]})
    (array([[0.25],
           [1.  ]]), array([[0.75, 0.25],
           [0.  , 1.  ]], dtype=float32))
    """

    @keyword_only
    def __init__(self, num_classes: int, *, alpha: float = 0.2) -> None:
        super().__init__(num_classes, alpha, "nchw")

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Return the weight of each sample in its mixture, and the index of its partner."""
        kept = rng.beta(self.alpha, self.alpha, shape[0])
        return {"lambda": kept, "partner": rng.permutation(shape[0])}

    def mix(self, x: NDArray[Any], params: Params) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the weighted means."""
        kept = params["lambda"]
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
        weight = per_sample(kept.astype(dtype), x.ndim)
        return weight * x + (1 - weight) * x.take(params["partner"], 0), kept


class CutMix(_Mix):
    r"""Replace a box of each image by that of another one, and mix their targets (CutMix).

    The box has the fraction :math:`1 - \lambda` of the area, its center is anywhere in the image,
    and what lies outside is cut off; the targets are mixed by the area that remains (Yun et al.,
    "CutMix: Regularization strategy to train strong classifiers with localizable features", 2019).

    Args:
        num_classes: the number of classes.
        alpha: :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)` for each image.
        layout: ``'nchw'``, ``'nhwc'`` or ``'nhw'``.

    Raises:
        ValueError: for an `alpha` that is not positive.

    >>> mix = CutMix(2, layout="nhw")
    >>> batch = np.array([[[1, 1]], [[2, 2]]]), np.array([0, 1])
    >>> box = {"top": [0, 0], "left": [0, 0], "bottom": [1, 0], "right": [1, 0]}
    >>> images, targets = mix(batch, params={"partner": [1, 0], **box})
    >>> images.tolist(), targets.tolist()
    ([[[2, 1]], [[2, 2]]], [[0.5, 0.5], [0.0, 1.0]])
    """

    @keyword_only
    def __init__(self, num_classes: int, *, alpha: float = 1.0, layout: Layout = "nchw") -> None:
        super().__init__(num_classes, alpha, layout)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Return the box of each image, to before `bottom` and `right`, and its partner."""
        axes = axes_of(self.layout, shape, "CutMix")
        n, height, width = shape[0], shape[axes.height], shape[axes.width]
        side = np.sqrt(1 - rng.beta(self.alpha, self.alpha, n))
        half_height, half_width = (side * height / 2).astype(int), (side * width / 2).astype(int)
        row, column = rng.integers(0, height, n), rng.integers(0, width, n)
        return {
            "partner": rng.permutation(n),
            "top": np.maximum(row - half_height, 0),
            "left": np.maximum(column - half_width, 0),
            "bottom": np.minimum(row + half_height, height),
            "right": np.minimum(column + half_width, width),
        }

    def mix(self, x: NDArray[Any], params: Params) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the images with the boxes of others."""
        edges = [params[name] for name in ("top", "left", "bottom", "right")]
        out = x.copy()
        replaced = np.zeros(len(x))
        for box in boxes(x.shape, self.layout, *edges):
            image = box[0]
            out[box] = x[(params["partner"][image], *box[1:])]
            replaced[image] = out[box].size
        return out, 1 - replaced / max(x[:1].size, 1)
