"""Attention on arrays, block by block, forward and backward.

The scores of some queries to all the keys they may attend to are a block, which stays in the cache
and which the next one overwrites: memory grows linearly with the length. Each row of a block is
whole, so its softmax is exact. The backward computes a block's weights again, as FlashAttention
does (Dao, Fu, Ermon, Rudra and Ré, 2022, algorithm 4), unless there are so few that keeping them is
cheaper.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from nn_tensor.extend import device_of, kernel, put

__all__ = ["Setting", "Sums", "all_shares", "backward", "forward", "leading_axes"]

Array = Any

# About how many scores a block has: with their gradients they fit into a processor's cache.
_BLOCK = 1 << 18
_LEAST_ROWS = 32  # fewer make slow products
# Up to so many keys the weights are kept for the backward.
_SHORT = 256


class Setting(NamedTuple):
    """The options of attention."""

    scale: float
    causal: bool
    dropout: float
    seed: int
    recorded: bool  # whether there will be a backward


class Block(NamedTuple):
    """A part of the batch, a part of its queries, and the number of keys that these attend to."""

    number: int
    batch: slice
    queries: slice
    keys: int
    shape: tuple[int, ...]  # of its scores

    def rows(self, x: Array) -> Array:
        """Return the part of an array ``(batch, ..., targets, d)``."""
        return x[self.batch, ..., self.queries, :]

    def columns(self, x: Array) -> Array:
        """Return the part of an array ``(batch, ..., sources, d)``."""
        return x[self.batch, ..., : self.keys, :]

    def cut(self, x: Array) -> Array:
        """Return the part of an array that broadcasts to the scores."""
        x = x if x.shape[0] == 1 else x[self.batch]
        x = x if x.shape[-2] == 1 else x[..., self.queries, :]
        return x if x.shape[-1] == 1 else x[..., : self.keys]


def blocks(shape: tuple[int, ...], causal: bool) -> Iterator[Block]:
    """Yield the blocks of scores of `shape`: of each part of the batch the last queries first.

    Causal queries are the last positions of the sources, and attend to nothing behind them: the
    first block has all the keys, each one after it fewer.
    """
    batch, inner, targets, sources = shape[0], shape[1:-2], shape[-2], shape[-1]
    # Causal rows are kept few, so that little of what they may not attend to is computed.
    width = max(1, sources * (math.prod(inner) if causal else 1))
    rows = max(1, min(targets, max(_LEAST_ROWS, _BLOCK // width)))
    part = max(1, _BLOCK // max(1, rows * sources * math.prod(inner)))
    index = 0
    for start in range(0, batch, part):
        for stop in range(targets, 0, -rows):
            keys = min(sources, max(0, sources - targets + stop)) if causal else sources
            samples = slice(start, min(batch, start + part))
            queries = slice(max(0, stop - rows), stop)
            count = samples.stop - start, queries.stop - queries.start
            yield Block(index, samples, queries, keys, (count[0], *inner, count[1], keys))
            index += 1


def kept_share(block: Block, setting: Setting, like: Array) -> Array:
    """Return what the weights of a block are multiplied with: 0 for those that are dropped."""
    rng = np.random.default_rng([setting.seed, block.number])
    kept = rng.random(block.shape, np.float32) >= setting.dropout
    share = 1 / (1 - setting.dropout) if setting.dropout < 1 else 0
    return put(np.multiply(kept, share, dtype=like.dtype), device_of(like))


def all_shares(xp: Any, shape: tuple[int, ...], setting: Setting, like: Array) -> Array:
    """Return `kept_share` of all blocks in one array of `shape`."""
    full = shape if len(shape) > 2 else (1, *shape)
    shares = xp.zeros(full, like.dtype)
    for block in blocks(full, setting.causal):
        part = block.rows(shares)[..., : block.keys]
        part[...] = kept_share(block, setting, like)
    return shares.reshape(shape)


def leading_axes(query: Array, key: Array, value: Array) -> tuple[int, ...]:
    """Return the axes before the last two, broadcast."""
    lead: tuple[int, ...] = query.shape[:-2]
    if key.shape[:-2] != lead or value.shape[:-2] != lead:
        lead = np.broadcast_shapes(lead, key.shape[:-2], value.shape[:-2])
    return lead


class Blocks:
    """The operands, with one batch axis at least, and the blocks of their scores."""

    def __init__(
        self, xp: Any, query: Array, key: Array, value: Array, mask: Any, setting: Setting
    ) -> None:
        self.xp, self.setting = xp, setting
        self.lead = leading_axes(query, key, value) or (1,)
        self.query, self.key, self.value = map(self.full, (query, key, value))
        self.shape = (*self.query.shape[:-1], self.key.shape[-2])
        self.dtype = np.result_type(query, key, value)
        self.mask = None
        if mask is not True:
            self.mask = mask.reshape((1,) * (len(self.shape) - mask.ndim) + mask.shape)

    def full(self, x: Array) -> Array:
        """Return `x` with all axes."""
        if x.shape[:-2] == self.lead:
            return x
        return self.xp.broadcast_to(x, self.lead + x.shape[-2:])

    def empty(self, like: Array, *, last: int | None = None) -> Array:
        """Return memory for an array with all axes, laid out as an operand if that had them all."""
        shape = (*self.lead, like.shape[-2], like.shape[-1] if last is None else last)
        if like.shape[:-2] != self.lead:
            return self.xp.empty(shape, self.dtype)
        return self.xp.empty_like(like, shape=shape, dtype=self.dtype)

    def __iter__(self) -> Iterator[Block]:
        return blocks(self.shape, self.setting.causal)

    def exponentials(self, block: Block, out: Array) -> Array:
        """Write the exponentials of a block's scores; return what was subtracted in each row."""
        xp = self.xp
        query = block.rows(self.query) * self.dtype.type(self.setting.scale)
        xp.matmul(query, block.columns(self.key).swapaxes(-1, -2), out=out)
        factor = None
        if self.mask is not None and self.mask.dtype.kind == "b":
            factor = block.cut(self.mask).astype(self.dtype)
        elif self.mask is not None:
            out += block.cut(self.mask)
        if self.setting.causal:
            behind = self.shape[-1] - self.shape[-2] + block.queries.start
            if behind < block.keys - 1:
                triangle = xp.tri(*out.shape[-2:], behind, dtype=self.dtype)
                factor = triangle if factor is None else factor * triangle
        return exponentials(xp, out, factor)


@functools.cache
def _far(dtype: np.dtype[Any]) -> float:
    """Return the size up to which exponentials are far from overflow, and sums of them too."""
    return math.log(np.finfo(dtype).max) / 3


@kernel
def exponentials(xp: Any, scores: Array, factor: Array | None) -> Any:
    """Put the exponentials of `scores`, less a number in each row, times `factor` in their place.

    The factor is 0 where attention is not allowed and 1 elsewhere. Where no exponential can
    overflow nor all of a row become 0, the number is 0: that saves three passes.
    """
    far = _far(scores.dtype)
    if scores.size and scores.min() >= -far and scores.max() <= far:
        xp.exp(scores, out=scores)
        if factor is not None:
            scores *= factor
        return scores.dtype.type(0)
    return _shifted(xp, scores, factor)


@exponentials.cuda
def _shifted(xp: Any, scores: Array, factor: Array | None) -> Any:
    """Subtract the largest of each row, whatever it is: no answer of a device is waited for."""
    if factor is not None:
        xp.copyto(scores, -np.inf, where=xp.broadcast_to(factor == 0, scores.shape))
    if scores.shape[-1] == 0:
        return scores.dtype.type(0)
    largest = scores.max(axis=-1, keepdims=True)
    largest[largest == -np.inf] = 0
    scores -= largest
    xp.exp(scores, out=scores)
    return largest


def _row_sums(xp: Any, rows: Array) -> Array:
    """Return the sum of each row, as a product: many times as quick as `sum`."""
    return xp.matmul(rows, xp.ones((rows.shape[-1], 1), rows.dtype))


class Sums(NamedTuple):
    """What makes the weights of long rows again: what was subtracted, and the sums."""

    shifts: Array
    totals: Array


def forward(
    xp: Any, query: Array, key: Array, value: Array, mask: Any, setting: Setting
) -> tuple[Array, Sums | None, list[Array] | None]:
    """Return the output, and for the backward either `Sums` or, if they are few, all weights."""
    work = Blocks(xp, query, key, value, mask, setting)
    out = work.empty(query, last=value.shape[-1])
    kept: list[Array] | None = None
    sums = memory = None
    if setting.recorded and work.shape[-1] <= _SHORT:
        kept = []
    else:
        memory = _Memory(xp, work)
        if setting.recorded:
            rows = (*work.shape[:-1], 1)
            sums = Sums(xp.empty(rows, work.dtype), xp.empty(rows, work.dtype))
    for block in work:
        weights = xp.empty(block.shape, work.dtype) if memory is None else memory.take(block.shape)
        shift = work.exponentials(block, weights)
        total = _row_sums(xp, weights)
        if sums is not None:
            block.rows(sums.shifts)[...] = shift
            block.rows(sums.totals)[...] = total
        total += total == 0  # an empty row: its weights are 0
        if kept is not None:
            weights /= total
            kept.append(weights)
        if setting.dropout:
            weights = weights * kept_share(block, setting, weights)
        target = block.rows(out)
        xp.matmul(weights, block.columns(work.value), out=target)
        if kept is None:
            target /= total
    return out, sums, kept


class _Memory:
    """What every block writes its scores into: the first one is the largest."""

    def __init__(self, xp: Any, work: Blocks) -> None:
        shape = next((block.shape for block in work), (0,))
        self.flat = xp.empty(math.prod(shape), work.dtype)

    def take(self, shape: tuple[int, ...]) -> Array:
        """Return the memory as an array of `shape`."""
        return self.flat[: math.prod(shape)].reshape(shape)


def backward(
    xp: Any,
    g: Array,
    query: Array,
    key: Array,
    value: Array,
    mask: Any,
    sums: Sums | None,
    kept: list[Array] | None,
    setting: Setting,
) -> tuple[Array, Array, Array]:
    """Return the gradients of query, key and value, with all axes."""
    work = Blocks(xp, query, key, value, mask, setting)
    slope = work.full(g)
    scale = work.dtype.type(setting.scale)
    for_query, for_key, for_value = map(work.empty, (query, key, value))
    if not work.shape[-2]:
        for_key[...] = for_value[...] = 0
    change = _Memory(xp, work)
    again = _Memory(xp, work) if kept is None else None
    for block in work:
        if kept is not None:
            weights = kept[block.number]
        else:
            weights = again.take(block.shape)  # type: ignore[union-attr]
            _weights_again(xp, work, block, sums, weights)
        up = block.rows(slope)
        pull = change.take(block.shape)
        xp.matmul(up, block.columns(work.value).swapaxes(-1, -2), out=pull)
        used = weights
        if setting.dropout:
            share = kept_share(block, setting, weights)
            used = weights * share
            pull *= share
        first = block.queries.stop == work.shape[-2]
        _add_product(xp, block.columns(for_value), used.swapaxes(-1, -2), up, first)
        matrix = math.prod(block.shape[:-1]), block.keys
        through_softmax(xp, pull.reshape(matrix), weights.reshape(matrix))
        rows = block.rows(for_query)
        xp.matmul(pull, block.columns(work.key), out=rows)
        rows *= scale
        scaled = block.rows(work.query) * scale
        _add_product(xp, block.columns(for_key), pull.swapaxes(-1, -2), scaled, first)
    return for_query, for_key, for_value


def _weights_again(xp: Any, work: Blocks, block: Block, sums: Any, out: Array) -> None:
    """Write the weights of a block, from the sums of its rows."""
    shift = work.exponentials(block, out)
    total = block.rows(sums.totals)
    out *= xp.exp(shift - block.rows(sums.shifts)) / (total + (total == 0))


@kernel
def through_softmax(xp: Any, pull: Array, weights: Array) -> None:
    """Put the gradients of scores in the place of those of their softmax, `pull`; both are rows."""
    pull -= xp.einsum("ij,ij->i", pull, weights)[:, None]
    pull *= weights


@through_softmax.cpu(reassociate=True)
def _(pull, weights):  # type: ignore[no-untyped-def]
    rows, count = pull.shape
    for i in range(rows):
        along = pull.dtype.type(0)
        for j in range(count):
            along += pull[i, j] * weights[i, j]
        for j in range(count):
            pull[i, j] = (pull[i, j] - along) * weights[i, j]


def _add_product(xp: Any, target: Array, x: Array, y: Array, first: bool) -> None:
    """Write a product into `target`, or add it to what earlier blocks wrote there."""
    if first:
        xp.matmul(x, y, out=target)
    else:
        target += xp.matmul(x, y)
