"""Scaled dot-product attention on arrays, block by block, forward and backward.

A block holds the scores of some queries and all the keys they may attend to. It fits the
processor's cache, and the next block overwrites it: memory grows linearly with the length. Each row
of a block is complete, so its softmax is exact. The backward pass recomputes the attention weights
of a block from the softmax statistics, as FlashAttention does (Dao, Fu, Ermon, Rudra and Ré, 2022,
algorithm 4), unless the rows are so short that saving the weights is cheaper.

In half precision on CUDA the factors of products are in half precision, and all else, scores,
weights and gradients, in float32.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from nn_tensor.extend import (
    RowKernel,
    apply_dropout,
    dropout_mask,
    kernel,
)

from nn_transformer.modules.attention_products import (
    accumulate_product,
    dtype_of_scores,
    product,
    write_product,
)

__all__ = [
    "AttentionOptions",
    "SoftmaxStatistics",
    "backward",
    "forward",
    "full_dropout_mask",
]

Array = Any

# The number of scores in a block: with their gradients they fit a processor's cache.
_BLOCK_SIZE = 1 << 18
_MIN_ROWS = 32  # fewer make slow matrix products
# Up to this number of keys the attention weights are saved for the backward pass.
_MAX_SAVED_KEYS = 256


class AttentionOptions(NamedTuple):
    """The options of one call of attention."""

    scale: float
    causal: bool
    dropout: float
    seed: int | np.int64
    needs_backward: bool

    def dropout_of(self, block: Block) -> tuple[float, tuple[int, int]]:
        """Return the dropout probability, and the key that the mask of a block follows from."""
        return self.dropout, (int(self.seed), block.number)


class Block(NamedTuple):
    """A part of the batch, a part of its queries, and the number of keys these attend to."""

    number: int
    batch: slice
    queries: slice
    num_keys: int
    shape: tuple[int, ...]  # of its scores

    def query_rows(self, x: Array) -> Array:
        """Return the part of an array ``(batch, ..., targets, d)``."""
        return x[self.batch, ..., self.queries, :]

    def key_rows(self, x: Array) -> Array:
        """Return the part of an array ``(batch, ..., sources, d)``."""
        return x[self.batch, ..., : self.num_keys, :]

    def mask_part(self, x: Array) -> Array:
        """Return the part of an array that broadcasts to the scores."""
        x = x if x.shape[0] == 1 else x[self.batch]
        x = x if x.shape[-2] == 1 else x[..., self.queries, :]
        return x if x.shape[-1] == 1 else x[..., : self.num_keys]


def split_into_blocks(shape: tuple[int, ...], causal: bool) -> Iterator[Block]:
    """Yield the blocks of scores of `shape`: for each part of the batch the last queries first.

    Causal queries are the last positions of the sources and attend to no later ones: the first
    block has all the keys, each block after it fewer.
    """
    batch, inner, targets, sources = shape[0], shape[1:-2], shape[-2], shape[-1]
    # Few causal rows in a block, so that few scores are computed only to be masked.
    width = max(1, sources * (math.prod(inner) if causal else 1))
    rows = max(1, min(targets, max(_MIN_ROWS, _BLOCK_SIZE // width)))
    samples = max(1, _BLOCK_SIZE // max(1, rows * sources * math.prod(inner)))
    number = 0
    for start in range(0, batch, samples):
        for stop in range(targets, 0, -rows):
            num_keys = min(sources, max(0, sources - targets + stop)) if causal else sources
            part = slice(start, min(batch, start + samples))
            queries = slice(max(0, stop - rows), stop)
            size = part.stop - start, queries.stop - queries.start
            yield Block(number, part, queries, num_keys, (size[0], *inner, size[1], num_keys))
            number += 1


def full_dropout_mask(
    xp: Any, shape: tuple[int, ...], options: AttentionOptions, like: Array
) -> Array:
    """Return the factors of the weights in one array of `shape`, each block with its own key."""
    mask = xp.zeros(shape, like.dtype)
    for block in split_into_blocks(shape, options.causal):
        part = block.query_rows(mask)[..., : block.num_keys]
        part[...] = dropout_mask(xp, block.shape, like.dtype, *options.dropout_of(block))
    return mask


class _Scores:
    """The scores of all queries and keys, of which one block at a time is computed."""

    def __init__(
        self, xp: Any, query: Array, key: Array, mask: Any, options: AttentionOptions
    ) -> None:
        self.xp, self.query, self.key, self.options = xp, query, key, options
        self.shape = (*query.shape[:-1], key.shape[-2])
        self.dtype = dtype_of_scores(xp, query)
        self.scale = self.dtype.type(options.scale)
        self.blocks = list(split_into_blocks(self.shape, options.causal))
        self.mask = None
        if mask is not True:
            self.mask = mask.reshape((1,) * (len(self.shape) - mask.ndim) + mask.shape)

    def buffer(self) -> Array:
        """Return memory for the scores of any block; the first is the largest."""
        return self.xp.empty(math.prod(self.blocks[0].shape) if self.blocks else 0, self.dtype)

    def exponentials(
        self, block: Block, out: Array, normalize: bool = False
    ) -> tuple[Array, Array, Array]:
        """Return the exponentials of a block's scores, computed in the memory of `out` if possible.

        Then what was subtracted in each row, and the sums of the rows: 1 in place of 0, for a row
        that may attend to nothing. If `normalize` is set, each row is divided by its sum.
        """
        xp = self.xp
        keys = block.key_rows(self.key).swapaxes(-1, -2)
        out = product(xp, block.query_rows(self.query), keys, out, self.scale)
        allowed = None
        if self.mask is not None and self.mask.dtype.kind == "b":
            allowed = block.mask_part(self.mask)
        elif self.mask is not None:
            out += block.mask_part(self.mask)
        diagonal = block.num_keys
        if self.options.causal:
            diagonal = self.shape[-1] - self.shape[-2] + block.queries.start
        return out, *masked_exp(xp, out, allowed, diagonal, normalize)


@functools.cache
def _safe_limit(dtype: np.dtype[Any]) -> float:
    """Return the magnitude of scores up to which their exponentials cannot overflow in a sum."""
    return math.log(np.finfo(dtype).max) / 3


@kernel
def masked_exp(
    xp: Any, scores: Array, allowed: Array | None, diagonal: int, normalize: bool
) -> tuple[Array, Array]:
    """Replace `scores` by the exponentials of scores less a shift, or 0 where not `allowed`.

    `allowed` is boolean, or None. The query in row i may attend to the keys up to `diagonal` + i.
    Where no exponential can overflow and no whole row underflow, the shift is 0: that saves three
    passes. The shift and the sums of the rows are returned, 1 in place of 0. If `normalize` is
    set, each row is divided by its sum.
    """
    if allowed is not None:
        allowed = allowed.astype(scores.dtype)
    if diagonal < scores.shape[-1] - 1:
        triangle = xp.tri(*scores.shape[-2:], diagonal, dtype=scores.dtype)
        allowed = triangle if allowed is None else allowed * triangle
    shift = _exp(xp, scores, allowed)
    row_sum = _row_sums(xp, scores)
    row_sum += row_sum == 0
    if normalize:
        scores /= row_sum
    return shift, row_sum


def _exp(xp: Any, scores: Array, allowed: Array | None) -> Any:
    limit = _safe_limit(scores.dtype)
    if scores.size and scores.min() >= -limit and scores.max() <= limit:
        xp.exp(scores, out=scores)
        if allowed is not None:
            scores *= allowed
        return scores.dtype.type(0)
    if allowed is not None:
        xp.copyto(scores, -np.inf, where=xp.broadcast_to(allowed == 0, scores.shape))
    if scores.shape[-1] == 0:
        return scores.dtype.type(0)
    row_max = scores.max(axis=-1, keepdims=True)
    xp.copyto(row_max, 0, where=row_max == -np.inf)
    scores -= row_max
    xp.exp(scores, out=scores)
    return row_max


_masked_exp_on_cuda = RowKernel(
    "nn_transformer_masked_exp",
    "T *scores, T *shift, T *row_sums, long long queries, long long diagonal, long long normalize",
    """
    scores += row * count;
    const long long stop = min(count, diagonal + row % queries + 1);
    const T lowest = __uint_as_float(0xff800000u);  // minus infinity
    T largest = lowest, sum = 0;
    EACH(j) if (j < stop) largest = larger(largest, scores[j]);
    largest = row_max(largest);
    if (largest == lowest) largest = 0;
    EACH(j) sum += scores[j] = j < stop ? exp(scores[j] - largest) : 0;
    sum = row_sum(sum);
    if (sum == 0) sum = 1;
    if (normalize) EACH(j) scores[j] /= sum;
    if (threadIdx.x == 0) {
        shift[row] = largest;
        row_sums[row] = sum;
    }
    """,
)


@masked_exp.cuda
def _(
    cp: Any, scores: Array, allowed: Array | None, diagonal: int, normalize: bool
) -> tuple[Array, Array]:
    if scores.dtype.itemsize < 4:
        return masked_exp.reference(cp, scores, allowed, diagonal, normalize)
    # the maximum is subtracted in any case, so that nothing waits for the device
    if allowed is not None:
        cp.copyto(scores, -np.inf, where=cp.broadcast_to(~allowed, scores.shape))
    shift, row_sums = (cp.empty((*scores.shape[:-1], 1), scores.dtype) for _ in range(2))
    queries, count = scores.shape[-2:]
    rows = math.prod(scores.shape[:-1])
    options = queries, min(diagonal, count), int(normalize)
    _masked_exp_on_cuda(cp, scores.dtype, rows, count, scores, shift, row_sums, *options)
    return shift, row_sums


def _row_sums(xp: Any, rows: Array) -> Array:
    """Return the sum of each row by a matrix product, which is many times as fast as `sum`."""
    return xp.matmul(rows, xp.ones((rows.shape[-1], 1), rows.dtype))


def _view(buffer: Array, block: Block) -> Array:
    return buffer[: math.prod(block.shape)].reshape(block.shape)


class SoftmaxStatistics(NamedTuple):
    """What recomputes the attention weights of a block: shift and sum of exponentials of rows."""

    shift: Array
    row_sum: Array


@kernel
def forward(
    xp: Any, query: Array, key: Array, value: Array, mask: Any, options: AttentionOptions
) -> tuple[Array, list[Any]]:
    """Return the output, and what the backward pass needs: weights or statistics of each block.

    All operands have the same dtype and the same leading dimensions, at least one. The weights are
    those before dropout. The compiled implementation returns the weights of all blocks in one
    array, or nothing where it computes them again.
    """
    scores = _Scores(xp, query, key, mask, options)
    out = xp.empty_like(query, shape=(*query.shape[:-1], value.shape[-1]))
    half = scores.dtype != out.dtype
    saved: list[Any] = []
    save_weights = options.needs_backward and key.shape[-2] <= _MAX_SAVED_KEYS
    buffer = None if save_weights else scores.buffer()
    for block in scores.blocks:
        weights = xp.empty(block.shape, scores.dtype) if save_weights else _view(buffer, block)
        weights, shift, row_sum = scores.exponentials(block, weights, save_weights)
        if save_weights:
            saved.append(weights)
        elif options.needs_backward:
            saved.append(SoftmaxStatistics(shift, row_sum))
        if options.dropout:
            weights, _ = apply_dropout(xp, weights, *options.dropout_of(block))
        result = block.query_rows(out)
        if half:
            attended = product(xp, weights, block.key_rows(value))
            result[...] = attended if save_weights else attended / row_sum
            continue
        write_product(xp, result, weights, block.key_rows(value))
        if not save_weights:
            result /= row_sum
    return out, saved


forward.cpu("attention")


@kernel
def backward(
    xp: Any,
    grad_output: Array,
    query: Array,
    key: Array,
    value: Array,
    mask: Any,
    saved: list[Any],
    options: AttentionOptions,
) -> tuple[Array, Array, Array]:
    """Return the gradients of query, key and value."""
    scores = _Scores(xp, query, key, mask, options)
    grad_query, grad_key, grad_value = (
        _empty_like(xp, x, scores.dtype) for x in (query, key, value)
    )
    if not query.shape[-2]:
        grad_key[...] = grad_value[...] = 0
    if xp is not np:  # CuPy would copy it for each of the two products with it
        grad_output = xp.ascontiguousarray(grad_output)
    grad_buffer, weights_buffer = scores.buffer(), None
    for block in scores.blocks:
        weights = saved_for(block, scores.blocks, saved)
        if weights is None or isinstance(weights, SoftmaxStatistics):
            weights_buffer = scores.buffer() if weights_buffer is None else weights_buffer
            weights = _recompute_weights(xp, scores, block, weights, _view(weights_buffer, block))
        grad_rows = block.query_rows(grad_output)
        values = block.key_rows(value).swapaxes(-1, -2)
        grad_weights = product(xp, grad_rows, values, _view(grad_buffer, block))
        dropped = weights
        if options.dropout:
            dropped, factors = apply_dropout(xp, weights, *options.dropout_of(block))
            grad_weights *= factors
        first = block.queries.stop == query.shape[-2]
        accumulate_product(
            xp, block.key_rows(grad_value), dropped.swapaxes(-1, -2), grad_rows, first
        )
        matrix = math.prod(block.shape[:-1]), block.num_keys
        softmax_backward(xp, grad_weights.reshape(matrix), weights.reshape(matrix))
        grad_scores = grad_weights
        rows = block.query_rows(grad_query)
        write_product(xp, rows, grad_scores, block.key_rows(key))
        rows *= scores.scale
        queries, keys = block.query_rows(query), block.key_rows(grad_key)
        accumulate_product(xp, keys, grad_scores.swapaxes(-1, -2), queries, first, scores.scale)
    return grad_query, grad_key, grad_value


backward.cpu("attention_gradient")


def _empty_like(xp: Any, x: Array, dtype: np.dtype[Any]) -> Array:
    """Return a new array in the memory layout of `x`, which only a broadcast one does not have."""
    return xp.empty(x.shape, dtype) if 0 in x.strides else xp.empty_like(x, dtype=dtype)


def saved_for(block: Block, blocks: list[Block], saved: list[Any]) -> Any:
    """Return what has been saved for a block, or None."""
    if not saved:
        return None
    if len(saved) == 1 != len(blocks):
        return block.query_rows(saved[0])[..., : block.num_keys]
    return saved[block.number]


def _recompute_weights(
    xp: Any, scores: _Scores, block: Block, statistics: SoftmaxStatistics | None, out: Array
) -> Array:
    """Return the attention weights of a block, computed in the memory of `out`."""
    out, shift, _ = scores.exponentials(block, out, statistics is None)
    if statistics is None:
        return out
    out *= xp.exp(shift - statistics.shift) / statistics.row_sum
    return out


@kernel
def softmax_backward(xp: Any, grad: Array, weights: Array) -> None:
    """Replace the gradient of the softmax `weights` by that of the scores; both are matrices."""
    grad -= xp.einsum("ij,ij->i", grad, weights)[:, None]
    grad *= weights


@softmax_backward.cpu(reassociate=True)
def _(grad, weights):  # type: ignore[no-untyped-def]
    rows, count = grad.shape
    for i in range(rows):
        product = grad.dtype.type(0)
        for j in range(count):
            product += grad[i, j] * weights[i, j]
        for j in range(count):
            grad[i, j] = (grad[i, j] - product) * weights[i, j]


_softmax_backward_on_cuda = RowKernel(
    "nn_transformer_softmax_backward",
    "T *grad, const T *weights",
    """
    grad += row * count; weights += row * count;
    T product = 0;
    EACH(j) product += grad[j] * weights[j];
    product = row_sum(product);
    EACH(j) grad[j] = (grad[j] - product) * weights[j];
    """,
)


@softmax_backward.cuda
def _(cp: Any, grad: Array, weights: Array) -> None:
    if grad.dtype.itemsize < 4:
        softmax_backward.reference(cp, grad, weights)
    else:
        _softmax_backward_on_cuda(cp, grad.dtype, *grad.shape, grad, cp.ascontiguousarray(weights))
