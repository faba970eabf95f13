r"""The sublayers of a transformer for one new token of few rows, as text is generated.

A token is multiplied with each matrix once, which takes as long as reading the matrices: those of a
small model from the processor's cache, those of a large one from memory. So a sublayer is one
function here: the norm, the projections :math:`x W + b`, what is between them, and the residual
connection. Its vectors stay in the processor's fastest cache, and each thread reads some heads' or
hidden units' share of the matrices, the same for each token (see `_token_jobs`).

A projection adds up the rows of its matrix, each times an element of the vector, 128 columns at a
time (64 with shorter registers); of several tokens 8 (or 4) at a time, so that the matrix is read
once for all of them. The order of additions depends on the sizes of the matrices alone: a row of a
batch has the result that it has alone, with any number of threads.
"""

from __future__ import annotations

import functools
import math
from array import array
from typing import Any, NamedTuple

import numpy as np

from nn_kernels._products import PER_NANOSECOND
from nn_kernels._threads import WAKES, run
from nn_kernels._token_jobs import ARRAYS, HEADS, HIDDEN, SUM, rooms_of
from nn_kernels.few_queries import has_rows

__all__ = ["attend_token", "feed_forward_token"]

_COLUMNS, _UNITS = 64, 128  # of whose multiples the heads and the hidden units of a part are
_PARTS = 16  # at most
_READ = 6  # elements of a matrix in a nanosecond
# Nanoseconds of a sublayer, from which on it is shared. Measured on two cores of a Xeon, each with
# a second-level cache of 2 MB: matrices of 74,000 elements that are in it take two threads 1 µs
# longer, of 130,000 the same time; where those of all layers are not, 4 and 9 µs less.
_SHARED = 10_000
_FLOAT32, _INT64 = np.dtype(np.float32), np.dtype(np.int64)
_ACTIVATIONS = {"relu": 0, "gelu": 1}


def _are_contiguous(*arrays: Any) -> bool:
    """Return whether all that are not None are contiguous and float32."""
    for a in arrays:  # a generator takes twice the time
        if a is not None and (a.dtype != _FLOAT32 or not a.flags.c_contiguous):
            return False
    return True


def _fit(vectors: tuple[Any, ...], sizes: tuple[int, ...]) -> bool:
    """Return whether biases, and norms, have the sizes of what they are added to."""
    for v, size in zip(vectors, sizes, strict=True):
        if v is not None and (v.ndim != 1 or len(v) != size):  # a shape takes longer to compare
            return False
    return True


class _Plan(NamedTuple):
    """What depends on shapes alone."""

    numbers: array[int]  # the arguments of the jobs after the arrays
    parts: tuple[int, int]
    memory: int
    work: int
    given: tuple[int, int, int]  # the shape of what the parts give
    sizes: tuple[int, ...]  # of biases, and of the norm and its bias


def _plan(
    unused: int, x: tuple[int, int], first: bool, epsilon: float, together: int, count: int,
    numbers: tuple[int, ...], memory: int, elements: int, sizes: tuple[int, ...],
) -> _Plan:  # fmt: skip
    """Return a plan.

    Args:
        unused: the number of places for arrays that stay empty.
        x: the shape of the rows.
        first: see `attend_token`.
        epsilon: see `attend_token`.
        together: the number of units, or heads, of a part.
        count: that of all parts.
        numbers: further arguments of the first job.
        memory: the number of elements of its workspace, beside those for the rows.
        elements: the number of elements of the matrices.
        sizes: those of the biases but the last.
    """
    (rows, size), parts = x, -(-count // together)
    rooms, bits = rooms_of(rows), int(np.float32(epsilon).view(np.int32))
    shared = *(0,) * unused, bits, int(first), rows, size, parts, together, count
    work = max(elements // _READ, rooms * elements // PER_NANOSECOND)
    if work >= _SHARED:  # other sublayers follow, for which the workers will be awake
        work = max(work, WAKES)
    return _Plan(
        array("q", [*shared, *numbers]), (parts, rows), memory + (rooms + 1) * size, work,
        (parts, rooms, size), (*sizes, size, size, size),
    )  # fmt: skip


def _together(count: int, block: int) -> int:
    """Return how many heads, or units, belong to a part: whole blocks of them."""
    return min(count, -(-count // (_PARTS * block)) * block)


@functools.lru_cache(256)
def _attention_plan(
    x: tuple[int, int], first: bool, epsilon: float, query: Any, key: Any, value: Any, output: Any,
    keys: Any, values: Any, of_keys: Any, of_values: Any, angles: Any, of_angles: int, mask: Any,
) -> _Plan | None:  # fmt: skip
    """Return the plan for arrays of these shapes, and strides, or None if they do not fit."""
    (rows, size), (batch, heads, room, width), features = x, keys, values[3]
    if values[:3] != keys[:3] or not rows * size * heads * width * features:
        return None
    if batch != rows and (batch > 1 or key is not None):
        return None
    group = query[1] // (heads * width)
    if query != (size, group * heads * width) or output != (group * heads * features, size):
        return None
    if not group or (key and (key != (size, heads * width) or value != (size, heads * features))):
        return None
    if angles and (width % 2 or angles not in ((1, width // 2), (rows, width // 2))):
        return None
    if mask and (mask[0] not in (1, rows)):
        return None
    if any(step % 4 for step in (*of_keys, *of_values)):
        return None
    block = max(_COLUMNS // math.gcd(_COLUMNS, n) for n in (width, features))
    together, rooms = _together(heads, block), rooms_of(rows)
    numbers = (
        group, width, features, of_angles,
        of_keys[0] // 4 if batch > 1 else 0, *(step // 4 for step in of_keys[1:3]),
        of_values[0] // 4 if batch > 1 else 0, *(step // 4 for step in of_values[1:3]),
        mask[1] if mask and mask[0] > 1 else 0, room,
    )  # fmt: skip
    mixed = together * group * features
    memory = room + rooms * together * max(group * width, features) + (rooms + 1) * mixed
    projected = group * heads * width, heads * width, heads * features
    elements = size * (sum(projected) if key else projected[0]) + output[0] * size
    return _plan(0, x, first, epsilon, together, heads, numbers, memory, elements, projected)


@functools.lru_cache(256)
def _feed_forward_plan(
    x: tuple[int, int], first: bool, epsilon: float, hidden: Any, output: Any, activation: str
) -> _Plan | None:
    size, inner = x[1], hidden[1]
    if hidden != (size, inner) or output != (inner, size) or not x[0] * size * inner:
        return None
    together = _together(inner, _UNITS)
    memory, numbers = 2 * rooms_of(x[0]) * together, (_ACTIVATIONS[activation],)
    elements = 2 * size * inner
    rest = inner, numbers, memory, elements, (inner,)
    return _plan(ARRAYS - 9, x, first, epsilon, together, *rest)


def _run(job: Any, plan: _Plan, x: Any, arrays: list[Any], alone: bool) -> Any:
    """Run the jobs of a sublayer and return its result.

    Args:
        job: the first of the jobs.
        plan: its plan.
        x: the rows.
        arrays: the weights of the norm and the output projection, each followed by the bias, and
            those of the first job alone; None where there is none.
        alone: see `run`.
    """
    out, given = np.empty(x.shape, _FLOAT32), np.empty(plan.given, _FLOAT32)
    known = [0 if a is None else a for a in arrays]
    arguments = [x, *known[:4], out, given, *known[4:]]
    run((job, SUM), arguments, plan.parts, plan.memory, plan.work, plan.numbers, alone)
    return out


def attend_token(
    x: Any,
    norm: Any,
    norm_bias: Any,
    epsilon: float,
    first: bool,
    query: Any,
    query_bias: Any,
    key: Any,
    key_bias: Any,
    value: Any,
    value_bias: Any,
    output: Any,
    output_bias: Any,
    cosines: Any,
    sines: Any,
    keys: Any,
    values: Any,
    mask: Any,
    stop: Any,
) -> Any:
    """Return the attention sublayer for one token of each row, its residual connection included.

    Args:
        x: ``(rows, size)``, float32.
        norm: the weights of the layer normalization, ``(size,)``.
        norm_bias: its bias, or None.
        epsilon: added to the variance.
        first: whether the norm comes before the projections, or after the residual connection.
        query: the weights of the projection, ``(size, heads * d)``, with a bias or None.
        query_bias: its bias, or None; so are the other biases.
        key: the weights, of which the result is written to `keys` at ``stop - 1``; None to attend
            to the keys as they are.
        key_bias: its bias, or None.
        value: as `key`, for `values`.
        value_bias: its bias, or None.
        output: the weights of the output projection, ``(heads * e, size)``.
        output_bias: its bias, or None.
        cosines: the rotary embedding of queries and keys, ``(1 or rows, d / 2)``, or None.
        sines: as `cosines`.
        keys: ``(rows, kv_heads, positions, d)``; 1 for all rows if `key` is None.
        values: ``(rows, kv_heads, positions, e)``.
        mask: booleans, ``(1 or rows, at least stop)``, or None; or int64, ``(rows,)``: how many of
            the first positions of each row are left out. Booleans are for all positions where
            `stop` is an array.
        stop: the number of positions to attend to: an integer, or int64 ``(1,)``, which a program
            that is replayed reads anew.
    """
    matrices, biases = (query, key, value, output), (query_bias, key_bias, value_bias, output_bias)
    if not _are_contiguous(x, *matrices, *biases, norm, norm_bias):
        return NotImplemented
    if not x.ndim == query.ndim == output.ndim == 2 or not (has_rows(keys) and has_rows(values)):
        return NotImplemented
    if not keys.dtype == values.dtype == _FLOAT32:
        return NotImplemented
    if not (keys.flags.writeable and values.flags.writeable):
        return NotImplemented
    angles = padding = None
    step = 0
    if cosines is not None:
        if cosines.ndim != 2 or not cosines.dtype == sines.dtype == _FLOAT32:
            return NotImplemented
        if cosines.strides != sines.strides or cosines.strides[1] != 4:
            cosines, sines = np.ascontiguousarray(cosines), np.ascontiguousarray(sines)
        angles = cosines.shape
        if sines.shape != angles or cosines.strides[0] % 4:
            return NotImplemented
        step = cosines.strides[0] // 4 if len(cosines) > 1 else 0
    is_array = isinstance(stop, np.ndarray)
    if is_array and (stop.dtype != _INT64 or stop.shape != (1,)):
        return NotImplemented
    count = int(stop[0]) if is_array else stop
    if not 0 < count <= keys.shape[2]:
        return NotImplemented
    if mask is not None and mask.ndim == 1:
        if mask.dtype != _INT64 or mask.shape != x.shape[:1] or not mask.flags.c_contiguous:
            return NotImplemented
        mask, padding = None, mask
    elif mask is not None:
        most = keys.shape[2] if is_array else count  # that a job which is run again may read
        if mask.dtype != bool or mask.ndim != 2 or mask.shape[1] < most:
            return NotImplemented
        mask = np.ascontiguousarray(mask)
    plan = _attention_plan(
        x.shape, first, epsilon, query.shape, None if key is None else key.shape,
        None if value is None else value.shape, output.shape, keys.shape, values.shape,
        keys.strides, values.strides, angles, step, None if mask is None else mask.shape,
    )  # fmt: skip
    if plan is None or not _fit((*biases, norm, norm_bias), plan.sizes):
        return NotImplemented
    of_heads = query, query_bias, key, key_bias, value, value_bias, cosines, sines, keys, values
    of_keys = mask, padding, *((stop, 0) if is_array else (0, stop))
    arrays = [norm, norm_bias, output, output_bias, *of_heads, *of_keys]
    return _run(HEADS, plan, x, arrays, is_array)


def feed_forward_token(
    x: Any,
    norm: Any,
    norm_bias: Any,
    epsilon: float,
    first: bool,
    hidden: Any,
    hidden_bias: Any,
    output: Any,
    output_bias: Any,
    activation: str,
) -> Any:
    """Return the feed-forward sublayer for few rows, its residual connection included.

    Args:
        x: ``(rows, size)``, float32.
        norm: the weights of the layer normalization, as `norm_bias`, `epsilon` and `first` for
            `attend_token`.
        norm_bias: its bias, or None.
        epsilon: added to the variance.
        first: whether the norm comes first.
        hidden: the weights of the first projection, ``(size, inner)``.
        hidden_bias: its bias, or None.
        output: the weights of the second projection, ``(inner, size)``.
        output_bias: its bias, or None.
        activation: ``"relu"`` or ``"gelu"``; others are left to the reference.
    """
    if not _are_contiguous(x, norm, norm_bias, hidden, hidden_bias, output, output_bias):
        return NotImplemented
    if not x.ndim == hidden.ndim == 2 or activation not in _ACTIVATIONS:
        return NotImplemented
    plan = _feed_forward_plan(x.shape, first, epsilon, hidden.shape, output.shape, activation)
    if plan is None or not _fit((hidden_bias, output_bias, norm, norm_bias), plan.sizes):
        return NotImplemented
    arrays = [norm, norm_bias, output, output_bias, hidden, hidden_bias]
    return _run(HIDDEN, plan, x, arrays, True)
