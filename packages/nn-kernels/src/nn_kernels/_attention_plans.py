"""Where the operands of attention lie in memory, and how its heads are divided into parts.

All of it follows from shapes and strides, and is computed once for each.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nn_kernels._vectors import LANES

__all__ = [
    "ADDED",
    "CAUSAL",
    "COLUMNS",
    "HEADS",
    "KEYS",
    "MASK",
    "MASK_STEPS",
    "NO_MASK",
    "QUERIES",
    "ROWS_OF",
    "SCALE",
    "STARTS",
    "TERMS",
    "TOGETHER",
    "Layout",
    "Plan",
    "keys_of",
    "plan_of",
    "rounded",
]

# The numbers that a job reads, and their places.
SCALE, HEADS, TOGETHER, QUERIES, KEYS, TERMS, COLUMNS, CAUSAL, MASK = range(9)
MASK_STEPS, ROWS_OF, STARTS = 9, 11, 18  # distances in a mask, of rows of up to 7 operands; starts

NO_MASK, ALLOWED, ADDED = range(3)
_MOST_SCORES = 1 << 24  # of a head, up to which it has been measured
_MOST_SAVED_KEYS = 256  # beyond which attention weights are computed again, as in the reference
_PART = 5_000  # nanoseconds

Shape = tuple[int, ...]


class Layout(NamedTuple):
    """The axes of an array in the order of its memory, and what undoes that order."""

    order: Shape
    inverse: Shape
    shape: Shape  # in the order of the memory

    def empty(self) -> Any:
        """Return a new array, and its view in the order of the axes of the operand."""
        x = np.empty(self.shape, np.float32)
        return x, x.transpose(self.inverse)


class Plan(NamedTuple):
    """What a job is called with."""

    numbers: Any
    layouts: tuple[Layout, ...]  # of operands and results
    weights: Shape | None  # the shape of the attention weights in memory, if they are saved
    parts: int
    memory: int
    work: int


def rounded(n: int) -> int:
    """Return the next multiple of the number of lanes."""
    return -(-n // LANES) * LANES


def keys_of(stop: int, queries: int, keys: int, causal: int) -> int:
    """Return how many keys the queries before `stop` may attend to."""
    return max(0, min(keys, keys - queries + stop)) if causal else keys


def _layout(shape: Shape, strides: Shape) -> Layout:
    """Return the layout of a new array like one with these strides, which keeps its rows whole."""
    axes = range(len(shape) - 1)
    is_broadcast = any(n > 1 and step == 0 for n, step in zip(shape, strides, strict=True))
    outer = axes if is_broadcast else sorted(axes, key=lambda i: -strides[i])
    order = *outer, len(shape) - 1
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return Layout(order, tuple(inverse), tuple(shape[i] for i in order))


def _strides(layout: Layout) -> Shape:
    """Return the strides of a new array, in bytes."""
    steps = [4 * math.prod(layout.shape[i + 1 :]) for i in range(len(layout.shape))]
    return tuple(steps[i] for i in layout.inverse)


def _fits(shapes: tuple[Shape, ...]) -> bool:
    query, key, value = shapes
    if not len(query) == len(key) == len(value) >= 2:
        return False
    (queries, terms), keys = query[-2:], key[-2]
    return (
        key == (*query[:-2], keys, terms)
        and value[:-1] == key[:-1]
        and 0 < queries * keys <= _MOST_SCORES
        and 0 not in (*query, *value)
    )


def _is_readable(shape: Shape, strides: Shape) -> bool:
    """Return whether rows are each in one run of memory, with elements of 4 bytes."""
    steps = [step for n, step in zip(shape, strides, strict=True) if n > 1]
    whole = all(step >= 0 and step % 4 == 0 for step in steps)
    return whole and (shape[-1] == 1 or strides[-1] == 4)


def _mask_steps(mask: tuple[bool, Shape, Shape] | None, scores: Shape) -> Shape | None:
    """Return the distances of elements of a mask that is broadcast to the scores, or None."""
    if mask is None:
        return (0,) * len(scores)
    is_boolean, shape, strides = mask
    size, missing = (1 if is_boolean else 4), len(scores) - len(shape)
    if missing < 0 or any(step % size or step < 0 for step in strides):
        return None
    if any(n not in (1, m) for n, m in zip(shape, scores[missing:], strict=True)):
        return None
    steps = [0 if n == 1 else step // size for n, step in zip(shape, strides, strict=True)]
    return *(0,) * missing, *steps


def _starts(stack: Shape, steps: Sequence[int]) -> Any:
    """Return where each matrix of a stack begins."""
    starts = np.zeros(stack, np.int64)
    for axis, (length, step) in enumerate(zip(stack, steps, strict=True)):
        starts += (np.arange(length) * step).reshape(-1, *(1,) * (len(stack) - axis - 1))
    return starts.reshape(-1)


@functools.lru_cache(64)
def plan_of(
    shapes: tuple[Shape, Shape, Shape],
    strides: tuple[Shape, ...],
    mask: tuple[bool, Shape, Shape] | None,
    scale: float,
    causal: bool,
    saves: bool,
) -> Any:
    """Return the plan of a call, NotImplemented, or None if operands have to be copied before.

    Args:
        shapes: the shapes of query, key and value.
        strides: the strides of these, and backward of grad_output.
        mask: whether it is boolean, its shape and its strides.
        scale: the factor of the scores.
        causal: whether a query may attend only to its own position and earlier ones.
        saves: whether the gradient will be needed.
    """
    if not _fits(shapes):
        return NotImplemented
    query, _, value = shapes
    *stack, queries, terms = query
    keys, columns = value[-2:]
    mask_steps = _mask_steps(mask, (*stack, queries, keys))
    if mask_steps is None:
        return NotImplemented
    output = (*query[:-1], columns)
    backward = len(strides) == 4
    operands = (*shapes, output) if backward else shapes
    if not all(map(_is_readable, operands, strides)):
        return None
    layouts = [_layout(*pair) for pair in zip(operands, strides, strict=True)]
    results = layouts[:3] if backward else [_layout(output, strides[0])]
    weights = (*stack, keys, queries) if saves and keys <= _MOST_SAVED_KEYS else None
    # about how long a head takes, in nanoseconds: a vector of one key and 16 queries at a time
    stops = range(queries, 0, -LANES)
    vectors = sum(keys_of(stop, queries, keys, causal) for stop in stops)
    forward, gradient = terms + rounded(columns) + 20, 2 * rounded(terms) + rounded(columns) + 10
    per_key = forward if not backward else gradient + columns + (0 if weights else forward)
    work = 150 * len(stops) + vectors * per_key // 3
    heads = math.prod(stack)
    together = max(1, min(-(-heads // 2), _PART // work))
    all_strides = [*strides, *map(_strides, results)]
    kind = NO_MASK if mask is None else (ALLOWED if mask[0] else ADDED)
    bits = int(np.float32(scale).view(np.int32))
    sizes = [bits, heads, together, queries, keys, terms, columns, int(causal), kind]
    sizes += [*mask_steps[-2:], *(steps[-2] // 4 for steps in all_strides)]
    sizes += [0] * (STARTS - len(sizes))
    starts = [_starts(tuple(stack), [step // 4 for step in s[:-2]]) for s in all_strides]
    masked = _starts(tuple(stack), mask_steps[:-2])
    numbers = np.concatenate([np.array(sizes, np.int64), masked, *starts])
    memory = LANES * (rounded(max(terms, columns)) + (2 if backward else 1) * keys)
    parts = -(-heads // together)
    return Plan(numbers, (*layouts, *results), weights, parts, memory, work * heads)
