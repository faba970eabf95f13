"""Products of matrices and of arrays with any number of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nn_tensor._convert import array_module, shape_of
from nn_tensor._dtype import accumulation_dtype, is_bfloat16
from nn_tensor._half_products import half_product
from nn_tensor._matrix_product import matrix_product
from nn_tensor._numpy_options import refuse
from nn_tensor._op import op
from nn_tensor._op_type import function
from nn_tensor.ops.arithmetic import multiply
from nn_tensor.ops.shape import expand_dims, reshape, squeeze, swapaxes, transpose

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

__all__ = ["dot", "einsum", "matmul", "outer", "tensordot"]


@op(precision="low")
def _matmul(xp: Any, x: Any, y: Any, /) -> Any:
    if y.ndim == 2 and x.ndim > 2:  # one large product instead of many small ones
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        return matrix_product(rows, y).reshape(*x.shape[:-1], y.shape[1])
    stacks = x.ndim > 2 or y.ndim > 2
    if stacks and is_bfloat16(x.dtype) and x.dtype == y.dtype:  # which CuPy cannot multiply
        return half_product(xp, x, y).astype(x.dtype)
    return matrix_product(x, y)


@_matmul.gradient("x")
def _(g: Any, y: Any) -> Any:
    return _matmul(g, swapaxes(y, -1, -2))


@_matmul.gradient("y")
def _(g: Any, x: Any, y_shape: tuple[int, ...]) -> Any:
    if len(y_shape) == 2 and x.ndim > 2:
        x = reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
        g = reshape(g, (math.prod(g.shape[:-1]), g.shape[-1]))
    return _matmul(swapaxes(x, -1, -2), g)


@function
def matmul(x: Any, y: Any, /) -> Tensor:
    """Return the matrix product ``x @ y``, over the last two axes; the others broadcast.

    A vector (one axis) counts as a row on the left and as a column on the right, and its axis is
    gone from the result.

    Raises:
        ValueError: if an operand has no axes, or the inner dimensions differ.

    >>> from nn_tensor import Tensor, matmul
    >>> matmul(Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([1.0, 10.0]))
    Tensor([21., 43.])
    """
    first, second = shape_of(x), shape_of(y)
    if not first or not second:
        raise ValueError(f"matmul: both operands need axes, got shapes {first} and {second}")
    inner = second[-2] if len(second) > 1 else second[0]
    if first[-1] != inner:
        raise ValueError(
            f"matmul: the inner dimensions differ, {first[-1]} and {inner} in shapes {first} and "
            f"{second}"
        )
    if len(first) > 1 and len(second) > 1:
        return _matmul(x, y)
    result = _matmul(
        expand_dims(x, 0) if len(first) == 1 else x, expand_dims(y, 1) if len(second) == 1 else y
    )
    gone = tuple(axis for axis, shape in ((-2, first), (-1, second)) if len(shape) == 1)
    return squeeze(result, gone)


@function
def dot(a: Any, b: Any, /, out: None = None) -> Tensor:
    """Return the product of `numpy.dot`: over the last axis of `a` and the last but one of `b`.

    >>> from nn_tensor import Tensor, dot
    >>> dot(Tensor([1.0, 2.0]), Tensor([3.0, 4.0]))
    Tensor(11.)
    """
    refuse("dot", out=out)
    first, second = shape_of(a), shape_of(b)
    if not first or not second:
        return multiply(a, b)
    if len(second) <= 2:
        return matmul(a, b)
    return tensordot(a, b, ([len(first) - 1], [len(second) - 2]))


@function
def outer(a: Any, b: Any, /, out: None = None) -> Tensor:
    """Return ``a[i] * b[j]`` for all `i` and `j`, of the flattened operands.

    >>> from nn_tensor import Tensor, outer
    >>> outer(Tensor([1.0, 2.0]), Tensor([3.0, 4.0]))
    Tensor([[3., 4.],
            [6., 8.]])
    """
    refuse("outer", out=out)
    return multiply(reshape(a, (-1, 1)), reshape(b, (1, -1)))


@function
def tensordot(a: Any, b: Any, /, axes: int | Sequence[Any] = 2) -> Tensor:
    """Return the sum of products over chosen axes of both operands.

    Args:
        axes: a number N for the last N axes of `a` and the first N of `b`, or a pair of axes or
            sequences of axes.

    Raises:
        ValueError: if the axes do not exist or have different sizes.

    >>> from nn_tensor import ones, tensordot
    >>> tensordot(ones((2, 3, 4)), ones((4, 3, 5)), ([1, 2], [1, 0])).shape
    (2, 5)
    """
    first, second = shape_of(a), shape_of(b)
    if isinstance(axes, int):
        if not 0 <= axes <= min(len(first), len(second)):
            raise ValueError(
                f"tensordot: axes={axes} is not a number of axes of shapes {first} and {second}"
            )
        left, right = list(range(len(first) - axes, len(first))), list(range(axes))
    else:
        left, right = ([i] if isinstance(i, int) else list(i) for i in axes)
    lengths = []
    for shape, chosen in ((first, left), (second, right)):
        if any(not -len(shape) <= axis < len(shape) for axis in chosen):
            raise ValueError(f"tensordot: axes={axes} do not exist in shapes {first} and {second}")
        lengths.append([shape[axis] for axis in chosen])
    if lengths[0] != lengths[1]:
        raise ValueError(
            f"tensordot: axes={axes} have lengths {lengths[0]} and {lengths[1]} in shapes {first} "
            f"and {second}"
        )
    left = [axis % len(first) for axis in left]
    right = [axis % len(second) for axis in right]
    rest_a = [axis for axis in range(len(first)) if axis not in left]
    rest_b = [axis for axis in range(len(second)) if axis not in right]
    inner = math.prod(lengths[0])
    rows = reshape(transpose(a, (*rest_a, *left)), (math.prod(first[i] for i in rest_a), inner))
    columns = reshape(
        transpose(b, (*right, *rest_b)), (inner, math.prod(second[i] for i in rest_b))
    )
    shape = (*(first[i] for i in rest_a), *(second[i] for i in rest_b))
    return reshape(_matmul(rows, columns), shape)


@op(precision="low")
def _einsum(xp: Any, *xs: Any, terms: tuple[str, ...], result: str, optimize: Any = True) -> Any:
    dtype = np.result_type(*xs)
    if accumulation_dtype(dtype) is not None:
        xs = tuple(x.astype(np.float32) for x in map(xp.asarray, xs))
    out = xp.einsum(
        f"{','.join(terms)}->{result}", *xs, optimize=optimize if len(xs) > 1 else False
    )
    return out.astype(dtype, copy=False)


@_einsum.gradient("xs")
def _(
    g: Any, xs: tuple[Any, ...], terms: tuple[str, ...], result: str, wanted: tuple[bool, ...]
) -> tuple[Any, ...]:
    return tuple(
        _einsum_gradient(g, i, xs, terms, result) if needed else None
        for i, needed in enumerate(wanted)
    )


def _einsum_gradient(
    g: Any, position: int, xs: tuple[Any, ...], terms: tuple[str, ...], result: str
) -> Any:
    term, shape = terms[position], xs[position].shape
    others = [(t, x) for i, (t, x) in enumerate(zip(terms, xs, strict=True)) if i != position]
    operands = [(result, g), *others]
    # a label that stands twice in the term is a diagonal: spread it with an identity matrix
    unused = iter(sorted(set(_LABELS) - set("".join(terms))))
    seen: set[str] = set()
    spread = ""
    for label, length in zip(term, shape, strict=True):
        if label in seen:
            fresh = next(unused)
            eye = array_module(xs[position]).eye(length, dtype=xs[position].dtype)
            operands.append((label + fresh, eye))
            label = fresh
        seen.add(label)
        spread += label
    # a label that stands nowhere else was summed away: its gradient is the same all along it
    found = set("".join(t for t, _ in operands))
    present = "".join(label for label in spread if label in found)
    gradient = _einsum(
        *(x for _, x in operands), terms=tuple(t for t, _ in operands), result=present
    )
    missing = tuple(axis for axis, label in enumerate(spread) if label not in found)
    return expand_dims(gradient, missing) if missing else gradient


_LABELS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@function
def einsum(subscripts: str, /, *operands: Any, out: None = None, optimize: Any = True) -> Tensor:
    """Return the sum of products that `subscripts` describe, as `numpy.einsum`.

    Args:
        subscripts: such as ``"bij,bjk->bik"``; ``...`` stands for further axes, and without
            ``->`` the labels that stand once are kept in alphabetical order.
        optimize: the order of the products, as for `numpy.einsum`: True to search for one, False
            for none, or the name of an algorithm.

    Raises:
        ValueError: if the subscripts do not fit the operands.

    >>> from nn_tensor import Tensor, einsum
    >>> einsum("ij,j->i", Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([1.0, 10.0]))
    Tensor([21., 43.])
    """
    refuse("einsum", out=out)
    terms, result = _explicit(subscripts, [shape_of(x) for x in operands])
    return _einsum(*operands, terms=terms, result=result, optimize=optimize)


def _explicit(subscripts: str, shapes: list[tuple[int, ...]]) -> tuple[tuple[str, ...], str]:
    """Return the terms and the result of `subscripts` with every axis labeled by a letter."""

    def wrong(reason: str) -> ValueError:
        return ValueError(f"einsum: subscripts {subscripts!r}: {reason}; shapes {shapes}")

    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: subscripts: expected a string, got {subscripts!r}")
    text = subscripts.replace(" ", "")
    left, arrow, result = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise wrong(f"{len(terms)} terms for {len(shapes)} operands")
    letters = set(text) - set(",.->")
    if not letters <= set(_LABELS) or text.replace("...", "").count("."):
        raise wrong("labels must be letters or '...'")
    spare = [label for label in _LABELS if label not in letters]
    widest = 0
    expanded = []
    for term, shape in zip(terms, shapes, strict=True):
        extra = len(shape) - len(term.replace("...", ""))
        if extra < 0 or (extra and "..." not in term):
            raise wrong(f"term {term!r} does not label {len(shape)} axes")
        if "..." in term:
            widest = max(widest, extra)
            term = term.replace("...", "".join(spare[:extra][::-1]))
        expanded.append(term)
    ellipsis = "".join(spare[:widest][::-1])
    if arrow:
        result = result.replace("...", ellipsis)
    else:
        every = "".join(expanded)
        once = sorted(label for label in letters if every.count(label) == 1)
        result = ellipsis + "".join(once)
    if set(result) - set("".join(expanded)) or len(set(result)) != len(result):
        raise wrong(f"the result {result!r} repeats or invents labels")
    return _broadcast_free(tuple(expanded), shapes, wrong), result


def _broadcast_free(terms: tuple[str, ...], shapes: Any, wrong: Any) -> tuple[str, ...]:
    """Check that each label has one length, where a length of 1 may be stretched."""
    lengths: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for label, length in zip(term, shape, strict=True):
            before = lengths.setdefault(label, length)
            if 1 in (before, length):
                lengths[label] = max(before, length) if 0 not in (before, length) else 0
            elif before != length:
                raise wrong(f"label {label!r} has lengths {before} and {length}")
    return terms
