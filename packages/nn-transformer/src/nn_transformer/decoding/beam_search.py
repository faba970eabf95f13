"""`beam_search`: the most probable continuation among several hypotheses."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_module, check_integer, check_number, device_scope

from nn_transformer.decoding.prompts import GenerativeModel, Prompts, read_prompts
from nn_transformer.decoding.recorded_session import check_jit, new_session
from nn_transformer.decoding.session import DecodingSession, inference_mode

__all__ = ["beam_search", "top_log_probabilities"]


def beam_search(
    model: GenerativeModel,
    prompt: Any,
    max_new_tokens: int,
    *,
    source: Any = None,
    num_beams: int = 4,
    length_penalty: float = 0.6,
    stop_tokens: Any = (),
    use_cache: bool = True,
    jit: bool = False,
) -> list[list[int]]:
    r"""Continue each prompt by beam search, with the most probable hypothesis found.

    At each step the `num_beams` most probable hypotheses of each row are kept. One that ends, with
    a stop token or at `max_new_tokens`, has the score

    .. math:: \frac{\sum_t \log p(y_t)}{((5 + |y|) / 6)^\alpha}

    with its stop token counted (Wu et al., "Google's Neural Machine Translation System", 2016,
    equation 14, without the coverage penalty). The one with the best score is the result. A row is
    done as soon as none of its hypotheses can reach a better score.

    All rows and beams are computed together; the source is encoded once. With one beam and
    :math:`\alpha` = 0 the result is that of greedy decoding with `generate`.

    Args:
        model: a `LanguageModel` or a `Transformer`.
        prompt: the tokens to continue, as for `generate`.
        max_new_tokens: the maximum number of new tokens of each row.
        source: the source tokens of a `Transformer`, as for `generate`.
        num_beams: the number of hypotheses of each row.
        length_penalty: :math:`\alpha`; the larger, the better the score of long hypotheses.
        stop_tokens: one token or several, at which a row ends.
        use_cache: whether to use a KV cache.
        jit: as for `generate`.

    Returns:
        The new tokens of each row, without the stop token: a list of lists, for one row too.

    Raises:
        ValueError: for an empty prompt, more positions than `max_seq_len`, an option out of range,
            or a source that is missing, not expected, or has another number of rows.
        IndexError: for a token that is not in the vocabulary.
        TypeError: if `model` is neither, or for tokens that are not integers.
        ModuleNotFoundError: for `jit` without nn-jit.

    >>> from nn_transformer import Transformer, beam_search
    >>> model = Transformer(10, 12, d_model=8, num_heads=2, num_layers=1, padding_idx=0, rng=0)
    >>> rows = beam_search(model, [[1], [1]], 5, source=[[3, 1, 4], [1, 5]], num_beams=3)
    >>> [len(row) for row in rows]
    [5, 5]
    """
    num_beams = check_integer("num_beams", num_beams, 1)
    alpha = check_number("length_penalty", length_penalty)
    check_jit(jit, use_cache)
    prompts = read_prompts(model, prompt, max_new_tokens, source, stop_tokens)
    with inference_mode(model):
        session = new_session(model, prompts, use_cache, jit)
        return _search(session, prompts, num_beams, alpha)


def _search(
    session: DecodingSession, prompts: Prompts, num_beams: int, alpha: float
) -> list[list[int]]:
    stops, max_length = prompts.stop_tokens, prompts.max_new_tokens
    best = _BestHypotheses(len(prompts.tokens))
    active = np.arange(len(prompts.tokens))  # the rows that are not done
    beam_scores = np.zeros((len(active), 1))  # the log-probability of each hypothesis, best first
    hypotheses = np.empty((len(active), 1, 0), np.int64)
    new = prompts.tokens
    for length in range(1, max_length + 1):
        # No hypothesis needs more: `num_beams` tokens that continue it, after all the stop tokens.
        tokens, log_probs = top_log_probabilities(session.step(new), num_beams + len(stops))
        rows, width = beam_scores.shape
        count = tokens.shape[-1]
        candidates = beam_scores[:, :, None] + log_probs.reshape(rows, width, count)
        candidates = candidates.reshape(rows, -1)
        order = np.argsort(-candidates, axis=-1, kind="stable")
        candidates = np.take_along_axis(candidates, order, -1)
        parents = order // count
        tokens = np.take_along_axis(tokens.reshape(rows, -1), order, -1)
        ended = np.isin(tokens, stops)

        # Of those that end at the same length the first is the best.
        ending = ended[:, :num_beams]
        ending_rows = np.flatnonzero(ending.any(axis=-1))
        first = ending[ending_rows].argmax(axis=-1)
        scores = candidates[ending_rows, first] / _length_penalty(length, alpha)
        best.update(
            active[ending_rows], scores, hypotheses[ending_rows, parents[ending_rows, first]]
        )

        # Those that continue come first, in their order; an ended one only where there are too few.
        chosen = np.argsort(ended, axis=-1, kind="stable")[:, :num_beams]
        beam_scores = np.take_along_axis(np.where(ended, -np.inf, candidates), chosen, -1)
        parents = np.take_along_axis(parents, chosen, -1)
        tokens = np.take_along_axis(tokens, chosen, -1)
        hypotheses = hypotheses[np.arange(rows)[:, None], parents]
        hypotheses = np.concatenate([hypotheses, tokens[..., None]], -1)
        if length == max_length:
            scores = beam_scores[:, 0] / _length_penalty(length, alpha)
            best.update(active, scores, hypotheses[:, 0])
            break

        # A log-probability only decreases, so this bounds the score that a row can still reach.
        penalty = max(_length_penalty(length + 1, alpha), _length_penalty(max_length, alpha))
        remaining = np.flatnonzero(beam_scores[:, 0] / penalty > best.scores[active])
        if not len(remaining):
            break
        same_sources = len(remaining) == rows and parents.shape[1] == width
        parent_rows = (np.arange(rows)[:, None] * width + parents)[remaining].reshape(-1)
        active, beam_scores = active[remaining], beam_scores[remaining]
        hypotheses = hypotheses[remaining]
        new = tokens[remaining].reshape(-1, 1)
        session.select(parent_rows, same_sources=same_sources)
    return best.tokens


class _BestHypotheses:
    """For each row the best hypothesis that ended, and its score."""

    def __init__(self, rows: int) -> None:
        self.scores = np.full(rows, -np.inf)
        self.tokens: list[list[int]] = [[] for _ in range(rows)]

    def update(self, rows: np.ndarray, scores: np.ndarray, tokens: np.ndarray) -> None:
        """Replace the hypotheses of these rows where the new scores are better."""
        for i in np.flatnonzero(scores > self.scores[rows]):
            self.scores[rows[i]] = scores[i]
            self.tokens[rows[i]] = tokens[i].tolist()


def _length_penalty(length: int, alpha: float) -> float:
    return float(((5 + length) / 6) ** alpha)


def top_log_probabilities(logits: Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` most probable tokens of each row, and their log-probabilities.

    Of equal ones the first come first. The maxima of groups of tokens give a lower bound, so that
    few tokens remain to be sorted.

    Args:
        logits: ``(rows, vocab_size)``.
        count: the number of tokens; all if there are fewer.
    """
    values = logits.data
    xp = array_module(values)
    rows, n = values.shape
    count = min(count, n)
    with device_scope(values), np.errstate(invalid="ignore"):  # NaN and infinity are found below
        values = values.astype(xp.promote_types(values.dtype, xp.float32), copy=False)
        row_max = values.max(axis=-1, keepdims=True)
        log_sum = xp.log(xp.exp(values - row_max).sum(axis=-1))
        groups = min(n, max(8 * count, n // 16))
        group_max = values[:, : n // groups * groups].reshape(rows, -1, groups).max(axis=1)
        bound = xp.partition(group_max, groups - count, axis=-1)[:, groups - count, None]
        row, token = xp.divmod(xp.flatnonzero(values >= bound), n)
        log_probs = values[row, token] - row_max[row, 0] - log_sum[row]
    row, token, log_probs = (Tensor(x).numpy() for x in (row, token, log_probs))
    has_enough = np.bincount(row, minlength=rows).min(initial=n) >= count
    order = np.lexsort((token, -log_probs, row))
    starts = np.searchsorted(row, np.arange(rows))
    if not has_enough or not np.isfinite(log_probs[order[starts]]).all():
        raise ValueError("logits: the model's are NaN or infinite, expected finite numbers")
    chosen = order[starts[:, None] + np.arange(count)]
    return token[chosen], np.minimum(log_probs[chosen], 0).astype(np.float64)
