"""Making a batch of a list of samples: stacked where they are alike, padded where they are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_choice, check_integer, check_value, keyword_only
from nn_data._structure import like

__all__ = ["Collate", "Pad", "Padded", "stack"]

Collate: TypeAlias = Callable[[Sequence[Any]], Any]
"""What makes a batch of a list of samples."""


class Padded(NamedTuple):
    """A padded batch: one array, and a mask that is True at the real values."""

    values: NDArray[Any]
    """The padded samples, ``(n, longest, ...)``."""

    mask: NDArray[np.bool_]
    """True at values and False at padding, ``(n, longest)``."""


def _transpose(samples: Sequence[Any], collate: Collate) -> Any:
    """Collate each part of samples that are all tuples, or all dicts, with the same parts."""
    first = samples[0]
    if isinstance(first, tuple):
        sizes = {len(s) if isinstance(s, tuple) else None for s in samples}
        if len(sizes) > 1:
            raise ValueError(f"samples have different structures: {_shown(samples, _kind)}")
        return like(first, [collate(part) for part in zip(*samples, strict=True)])
    if any(not isinstance(s, Mapping) or s.keys() != first.keys() for s in samples):
        raise ValueError(f"samples have different structures: {_shown(samples, _kind)}")
    return {name: collate([sample[name] for sample in samples]) for name in first}


def _kind(sample: Any) -> str:
    if isinstance(sample, Mapping):
        return f"dict of {', '.join(map(str, sample))}"
    return f"tuple of {len(sample)}" if isinstance(sample, tuple) else type(sample).__name__


def _shown(samples: Sequence[Any], describe: Callable[[Any], str], limit: int = 4) -> str:
    kinds = list(dict.fromkeys(map(describe, samples)))
    return ", ".join(kinds[:limit]) + (", ..." if len(kinds) > limit else "")


def stack(samples: Sequence[Any]) -> Any:
    """Stack samples along a new first axis, part by part where they are tuples or dicts.

    Numbers and arrays become an array, strings and bytes stay a list.

    Args:
        samples: the samples, at least one.

    Returns:
        a batch of the structure of the samples.

    Raises:
        TypeError: for samples that are neither numbers, arrays nor strings.
        ValueError: for arrays of different shapes.

    >>> stack([(np.zeros(3), 7), (np.ones(3), 8)])
    (array([[0., 0., 0.],
           [1., 1., 1.]]), array([7, 8]))
    """
    first = samples[0]
    if isinstance(first, (tuple, Mapping)):
        return _transpose(samples, stack)
    if isinstance(first, (str, bytes)):
        return list(samples)
    arrays = [_as_array(sample) for sample in samples]
    shapes = dict.fromkeys(array.shape for array in arrays)
    if len(shapes) > 1:
        listed = ", ".join(map(str, list(shapes)[:4])) + (", ..." if len(shapes) > 4 else "")
        raise ValueError(f"samples have different shapes: {listed}; collate=Pad() pads sequences")
    return np.stack(arrays)


def _as_array(sample: Any) -> NDArray[Any]:
    try:
        array = np.asarray(sample)
    except ValueError as error:
        raise ValueError(f"a sample cannot be an array: {error}") from error
    if array.dtype == object:
        raise TypeError(
            f"a sample of type {type(sample).__name__} makes an object array; expected numbers, "
            "arrays, strings, or tuples and dicts of these"
        )
    return array


class Pad:
    """Pad sequences of unequal lengths to one array, and return a mask of the real values.

    Use it as ``Loader(..., collate=Pad())``, or call it with a list of samples. Where samples are
    tuples or dicts, each part is collated by itself: sequences are padded, numbers stacked, strings
    listed.

    Args:
        value: the padding value.
        side: the side of the padding, ``'right'`` or ``'left'``.
        multiple: the padded length is a multiple of this number, so that arrays of fewer different
            sizes are allocated.

    Raises:
        ValueError: if `side` is not one of these, or `multiple` is less than 1.

    >>> values, mask = Pad(value=-1)([[5, 6, 7], [8]])
    >>> values
    array([[ 5,  6,  7],
           [ 8, -1, -1]])
    >>> mask
    array([[ True,  True,  True],
           [ True, False, False]])
    """

    @keyword_only
    def __init__(
        self, value: float = 0, *, side: Literal["right", "left"] = "right", multiple: int = 1
    ) -> None:
        self.value = value
        self.side: str = check_choice("side", side, ("right", "left"))
        self.multiple: int = check_integer("multiple", multiple, minimum=1)

    def __call__(self, samples: Sequence[Any]) -> Any:
        """Return a `Padded` in place of each part that is a sequence, all else stacked.

        Raises:
            TypeError: for samples that are neither numbers, arrays nor strings.
            ValueError: for sequences that differ in more than their lengths; without samples.
        """
        if not len(samples):
            raise ValueError("Pad: there are no samples")
        first = samples[0]
        if isinstance(first, (tuple, Mapping)):
            return _transpose(samples, self)
        if isinstance(first, (str, bytes)):
            return list(samples)
        arrays = [_as_array(sample) for sample in samples]
        if {array.ndim for array in arrays} == {0}:
            return np.stack(arrays)
        return self._pad(arrays)

    def _pad(self, arrays: list[NDArray[Any]]) -> Padded:
        rest = arrays[0].shape[1:]
        if any(array.ndim == 0 or array.shape[1:] != rest for array in arrays):
            shapes = _shown(arrays, lambda array: str(array.shape))
            raise ValueError(f"sequences differ in more than their lengths: their shapes {shapes}")
        # An empty list is an array of floats; it says nothing about the others.
        dtypes = [array.dtype for array in arrays if len(array)] or [arrays[0].dtype]
        dtype = np.result_type(*dtypes)
        longest = max(len(array) for array in arrays)
        longest += -longest % self.multiple
        filling = check_value("value", self.value, dtype)
        values = np.full((len(arrays), longest, *rest), filling, dtype)
        mask = np.zeros((len(arrays), longest), np.bool_)
        for row, real, array in zip(values, mask, arrays, strict=True):
            span = slice(len(array)) if self.side == "right" else slice(longest - len(array), None)
            row[span] = array
            real[span] = True
        return Padded(values, mask)

    def __repr__(self) -> str:
        return f"Pad(value={self.value!r}, side={self.side!r}, multiple={self.multiple})"
