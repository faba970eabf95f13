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

__all__ = ["Setting", "all_shares", "backward", "forward", "leading_axes"]

Array = Any

# How many scores a block has: with their gradients they fit into the cache of a processor.
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
    rows = max(1, min(targets, max(_LEAST_ROWS, _BLOCK // max(1, sources))))
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


def kept_share(xp: Any, block: Block, setting: Setting, like: Array) -> Array:
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
        part[...] = kept_share(xp, block, setting, like)
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
        self.factor = self.term = None
        if mask is not True:
            mask = mask.reshape((1,) * (len(self.shape) - mask.ndim) + mask.shape)
            if mask.dtype.kind == "b":
                self.factor = mask.astype(self.dtype)
            else:
                self.term = mask

    def full(self, x: Array) -> Array:
        """Return `x` with all axes."""
        if x.shape[:-2] == self.lead:
            return x
        return self.xp.broadcast_to(x, self.lead + x.shape[-2:])

    def __iter__(self) -> Iterator[Block]:
        return blocks(self.shape, self.setting.causal)

    def exponentials(self, block: Block, out: Array) -> Array:
        """Write the exponentials of a block's scores; return what was subtracted in each row."""
        xp = self.xp
        query = block.rows(self.query) * self.dtype.type(self.setting.scale)
        xp.matmul(query, block.columns(self.key).swapaxes(-1, -2), out=out)
        if self.term is not None:
            out += block.cut(self.term)
        factor = None if self.factor is None else block.cut(self.factor)
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


def forward(
    xp: Any, query: Array, key: Array, value: Array, mask: Any, setting: Setting
) -> tuple[Array, Array | None, list[Array] | None]:
    """Return the output, the logarithms of the rows' sums, or the blocks' weights if they are few.

    The logarithm of an empty row is inf, which makes its weights 0 when they are computed again.
    """
    work = Blocks(xp, query, key, value, mask, setting)
    shape = (*work.shape[:-1], value.shape[-1])
    out = xp.empty_like(work.query, shape=shape, dtype=work.dtype)
    short = work.shape[-1] <= _SHORT
    kept: list[Array] = []
    logs = None if short else xp.empty((*shape[:-1], 1), work.dtype)
    memory = None if short else _Memory(xp, work)
    for block in work:
        if memory is None:
            weights = xp.empty(block.shape, work.dtype)
            kept.append(weights)
        else:
            weights = memory.take(block.shape)
        shift = work.exponentials(block, weights)
        total = _row_sums(xp, weights)
        empty = total == 0
        total += empty
        if logs is None:
            weights /= total
        else:
            block.rows(logs)[...] = xp.where(empty, np.inf, xp.log(total) + shift)
        if setting.dropout:
            weights = weights * kept_share(xp, block, setting, weights)
        target = block.rows(out)
        xp.matmul(weights, block.columns(work.value), out=target)
        if logs is not None:
            target /= total
    return out, logs, kept if short else None


class _Memory:
    """What every block writes its scores into."""

    def __init__(self, xp: Any, work: Blocks) -> None:
        self.xp, self.dtype = xp, work.dtype
        self.size = max((math.prod(block.shape) for block in work), default=0)
        self.flat: Array = None

    def take(self, shape: tuple[int, ...]) -> Array:
        """Return the memory as an array of `shape`."""
        if self.flat is None:
            self.flat = self.xp.empty(self.size, self.dtype)
        return self.flat[: math.prod(shape)].reshape(shape)


def backward(
    xp: Any,
    g: Array,
    query: Array,
    key: Array,
    value: Array,
    mask: Any,
    logs: Array | None,
    kept: list[Array] | None,
    setting: Setting,
) -> tuple[Array, Array, Array]:
    """Return the gradients of query, key and value, with all axes."""
    work = Blocks(xp, query, key, value, mask, setting)
    slope = work.full(g)
    scale = work.dtype.type(setting.scale)
    for_query, for_key, for_value = (
        xp.empty_like(x, dtype=work.dtype) for x in (work.query, work.key, work.value)
    )
    if not work.shape[-2]:
        for_key[...] = for_value[...] = 0
    again, change = _Memory(xp, work), _Memory(xp, work)
    for block in work:
        if kept is not None:
            weights = kept[block.number]
        else:
            weights = again.take(block.shape)
            shift = work.exponentials(block, weights)
            weights *= xp.exp(shift - block.rows(logs))
        up = block.rows(slope)
        pull = change.take(block.shape)
        xp.matmul(up, block.columns(work.value).swapaxes(-1, -2), out=pull)
        used = weights
        if setting.dropout:
            share = kept_share(xp, block, setting, weights)
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
