"""`beam_search`: the most probable continuation, looked for along several paths at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_module, device_scope

from nn_transformer._decoding import Decoding, Model, Request, evaluating, read_request
from nn_transformer._inputs import positive

__all__ = ["beam_search"]


def beam_search(
    model: Model,
    prompt: Any,
    max_new_tokens: int,
    *,
    source: Any = None,
    num_beams: int = 4,
    length_penalty: float = 0.6,
    stop_tokens: Any = (),
    use_cache: bool = True,
) -> list[list[int]]:
    r"""Continue each prompt by the most probable tokens that a beam search finds.

    At each step the `num_beams` most probable continuations of each row go on. One that ends, with
    a stop token or at `max_new_tokens`, is worth

    .. math:: \frac{\sum_t \log p(y_t)}{((5 + |y|) / 6)^\alpha}

    with its stop token counted (Wu et al., "Google's Neural Machine Translation System", 2016,
    equation 14, without the coverage penalty). The best of them is the result. A row is done as
    soon as none of its beams can become better than that, however it goes on.

    All rows and beams are computed together; the source is encoded once. With one beam and
    :math:`\alpha` = 0 the result is that of `generate`.

    Args:
        model: a `LanguageModel` or a `Transformer`.
        prompt: the tokens to continue, as for `generate`.
        max_new_tokens: how many tokens each row gets at most.
        source: for a `Transformer`, its source tokens, as for `generate`.
        num_beams: how many continuations of each row are followed.
        length_penalty: :math:`\alpha`; the larger, the more a long continuation is worth.
        stop_tokens: one token or several, at which a row ends.
        use_cache: whether each position is computed once.

    Returns:
        The new tokens of each row, without the stop token: a list of lists, for one row too.

    Raises:
        ValueError: for an empty prompt, more positions than `max_seq_len`, settings out of range, a
            source that is missing, not wanted, or of another number of rows.
        IndexError: for a token that is not in the vocabulary.
        TypeError: for another model, or tokens that are not integers.

    >>> from nn_transformer import Transformer, beam_search
    >>> model = Transformer(10, 12, d_model=8, num_heads=2, num_layers=1, padding_idx=0, rng=0)
    >>> rows = beam_search(model, [[1], [1]], 5, source=[[3, 1, 4], [1, 5]], num_beams=3)
    >>> [len(row) for row in rows]
    [5, 5]
    """
    beams, alpha = positive("num_beams", num_beams), float(length_penalty)
    if not math.isfinite(alpha):
        raise ValueError(f"length_penalty: expected a finite number, got {length_penalty!r}")
    request = read_request(model, prompt, max_new_tokens, source, stop_tokens)
    with evaluating(model):
        return _search(Decoding(model, request, use_cache), request, beams, alpha)


def _search(decoding: Decoding, request: Request, beams: int, alpha: float) -> list[list[int]]:
    stops, total = request.stops, request.count
    best = _Best(len(request.tokens))
    live = np.arange(len(request.tokens))  # the rows that are not done
    sums = np.zeros((len(live), 1))  # of the log-probabilities of each beam, best first
    paths = np.empty((len(live), 1, 0), np.int64)
    new = request.tokens
    for length in range(1, total + 1):
        # No beam has more than so many among the best `beams` that go on, and those before them.
        tokens, logs = most_probable(decoding.step(new), beams + len(stops))
        rows, width = sums.shape
        each = tokens.shape[-1]
        candidates = (sums[:, :, None] + logs.reshape(rows, width, each)).reshape(rows, -1)
        order = np.argsort(-candidates, axis=-1, kind="stable")
        candidates = np.take_along_axis(candidates, order, -1)
        parents = order // each
        tokens = np.take_along_axis(tokens.reshape(rows, -1), order, -1)
        ended = np.isin(tokens, stops)

        # Of those that end at the same length the first is the best.
        ending = ended[:, :beams]
        here = np.flatnonzero(ending.any(axis=-1))
        first = ending[here].argmax(axis=-1)
        worth = candidates[here, first] / _norm(length, alpha)
        best.offer(live[here], worth, paths[here, parents[here, first]])

        # The others first, in their order; a stop token among them is there for want of others.
        chosen = np.argsort(ended, axis=-1, kind="stable")[:, :beams]
        sums = np.take_along_axis(np.where(ended, -np.inf, candidates), chosen, -1)
        parents = np.take_along_axis(parents, chosen, -1)
        tokens = np.take_along_axis(tokens, chosen, -1)
        paths = np.concatenate([paths[np.arange(rows)[:, None], parents], tokens[..., None]], -1)
        if length == total:
            best.offer(live, sums[:, 0] / _norm(total, alpha), paths[:, 0])
            break

        # A sum only falls, so this is the most that a beam can become worth.
        most = sums[:, 0] / max(_norm(length + 1, alpha), _norm(total, alpha))
        kept = np.flatnonzero(most > best.worth[live])
        if not len(kept):
            break
        same = len(kept) == rows and parents.shape[1] == width
        before = (np.arange(rows)[:, None] * width + parents)[kept].reshape(-1)
        live, sums, paths = live[kept], sums[kept], paths[kept]
        new = tokens[kept].reshape(-1, 1)
        decoding.select(before, same_sources=same)
    return best.paths


class _Best:
    """For each row the best continuation that ended, and what it is worth."""

    def __init__(self, rows: int) -> None:
        self.worth = np.full(rows, -np.inf)
        self.paths: list[list[int]] = [[] for _ in range(rows)]

    def offer(self, rows: np.ndarray, worth: np.ndarray, paths: np.ndarray) -> None:
        """Take those that are better than what was."""
        for i in np.flatnonzero(worth > self.worth[rows]):
            self.worth[rows[i]] = worth[i]
            self.paths[rows[i]] = paths[i].tolist()


def _norm(length: int, alpha: float) -> float:
    return float(((5 + length) / 6) ** alpha)


def most_probable(scores: Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` most probable tokens of each row, and their log-probabilities.

    Of equal ones the first come first. A bound is found among the largest of groups of tokens, so
    that few are left to be sorted.

    Args:
        scores: ``(rows, vocab_size)``.
        count: how many; all if there are fewer.
    """
    values = scores.data
    xp = array_module(values)
    rows, n = values.shape
    count = min(count, n)
    with device_scope(values), np.errstate(invalid="ignore"):  # what is no number is found below
        values = values.astype(xp.promote_types(values.dtype, xp.float32), copy=False)
        top = values.max(axis=-1, keepdims=True)
        total = xp.log(xp.exp(values - top).sum(axis=-1))
        groups = min(n, max(8 * count, n // 16))
        heads = values[:, : n // groups * groups].reshape(rows, -1, groups).max(axis=1)
        bound = xp.partition(heads, groups - count, axis=-1)[:, groups - count, None]
        row, token = xp.divmod(xp.flatnonzero(values >= bound), n)
        found = values[row, token] - top[row, 0] - total[row]
    row, token, logs = (Tensor(x).numpy() for x in (row, token, found))
    enough = np.bincount(row, minlength=rows).min(initial=n) >= count
    order = np.lexsort((token, -logs, row))
    starts = np.searchsorted(row, np.arange(rows))
    if not enough or not np.isfinite(logs[order[starts]]).all():
        raise ValueError("scores: the model's are infinite or not numbers")
    chosen = order[starts[:, None] + np.arange(count)]
    return token[chosen], np.minimum(logs[chosen], 0).astype(np.float64)
