"""`generate`: tokens after tokens, the best or drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from nn_tensor import Tensor, random_generator

from nn_transformer._decoding import Decoding, Model, evaluating, read_request
from nn_transformer._inputs import positive
from nn_transformer._sampling import draw, probabilities, read_temperature, read_top_p

__all__ = ["generate"]


def generate(
    model: Model,
    prompt: Any,
    max_new_tokens: int,
    *,
    source: Any = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_tokens: Any = (),
    use_cache: bool = True,
    rng: np.random.Generator | int | None = None,
    on_token: Callable[[int, int], object] | None = None,
) -> list[list[int]]:
    r"""Continue each prompt by the tokens that the model finds likely.

    At temperature 0 each is the one with the largest score :math:`s` (of equal ones the first),
    otherwise it is drawn with the probabilities

    .. math:: p_i \propto \exp(s_i / T)

    of those tokens that the filters leave: first the `top_k` most probable (Fan, Lewis and Dauphin,
    "Hierarchical Neural Story Generation", 2018, section 5.1), then the fewest of these that
    together have the probability `top_p` (Holtzman et al., "The Curious Case of Neural Text
    Degeneration", 2020, section 3.1).

    The model computes in eval mode and without recording; its modes are restored afterwards. Random
    numbers are drawn on the host, one for each row and step: what a row becomes does not depend on
    when others end.

    Args:
        model: a `LanguageModel` or a `Transformer`.
        prompt: the tokens to continue, for a `Transformer` those of the target: lists, one for each
            row, of any lengths; an array or Tensor ``(rows, length)``; or the tokens of one row.
        max_new_tokens: how many tokens each row gets at most.
        source: for a `Transformer`, its source tokens, as many rows as `prompt` has; shorter lists
            are filled up with the model's `padding_idx`.
        temperature: :math:`T`; 0 for the best token.
        top_k: how many tokens there are to draw from.
        top_p: the probability that the tokens to draw from have together.
        stop_tokens: one token or several, at which a row ends.
        use_cache: whether each position is computed once. Without, all are computed again at each
            step, for the same tokens.
        rng: a NumPy generator, a seed, or None for unpredictable numbers.
        on_token: called as ``on_token(row, token)`` for each new token as soon as there is one.

    Returns:
        The new tokens of each row, without the stop token: a list of lists, for one row too.

    Raises:
        ValueError: for an empty prompt, more positions than `max_seq_len`, settings out of range, a
            source that is missing, not wanted, or of another number of rows.
        IndexError: for a token that is not in the vocabulary.
        TypeError: for another model, or tokens that are not integers.

    >>> from nn_transformer import LanguageModel, generate
    >>> model = LanguageModel(10, d_model=8, num_heads=2, num_layers=1, max_seq_len=32, rng=0)
    >>> rows = generate(model, [[3, 1, 4], [1, 5]], 6, temperature=0.8, top_k=5, rng=0)
    >>> [len(row) for row in rows]
    [6, 6]
    """
    temperature, top_p = read_temperature(temperature), read_top_p(top_p)
    if top_k is not None:
        top_k = positive("top_k", top_k)
    rng = random_generator(rng)
    request = read_request(model, prompt, max_new_tokens, source, stop_tokens)

    def choose(scores: Tensor, live: np.ndarray) -> np.ndarray:
        if temperature == 0:
            return scores.argmax(-1).numpy()
        uniform = rng.random(len(results))[live]
        return draw(probabilities(scores.numpy(), temperature, top_k, top_p), uniform)

    results: list[list[int]] = [[] for _ in request.tokens]
    live = np.arange(len(results))
    with evaluating(model):
        decoding = Decoding(model, request, use_cache)
        new = request.tokens
        for _ in range(request.count):
            chosen = choose(decoding.step(new), live)
            kept = np.flatnonzero(~np.isin(chosen, request.stops))
            if len(kept) < len(live):
                live, chosen = live[kept], chosen[kept]
                if not len(live):
                    break
                decoding.select(kept)
            for row, token in zip(live.tolist(), chosen.tolist(), strict=True):
                results[row].append(token)
                if on_token is not None:
                    on_token(row, token)
            new = chosen[:, None]
    return results
