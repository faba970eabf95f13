"""`generate`: greedy decoding and sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from nn_tensor import Tensor, random_generator, stack
from nn_tensor.extend import array_of, check_integer, check_number

from nn_transformer.decoding.prompts import GenerativeModel, read_prompts
from nn_transformer.decoding.recorded_session import check_jit, new_session
from nn_transformer.decoding.sampling import check_largest, next_token_probabilities, sample
from nn_transformer.decoding.session import inference_mode

__all__ = ["generate"]

_NO_ROWS = np.zeros(1, bool)


def _greedy(logits: Tensor) -> tuple[np.ndarray, list[float]]:
    """Return the token with the largest logit of each row, and that logit."""
    if logits.device == "cpu":
        values = array_of(logits)
        tokens = values.argmax(-1)
        return tokens, [values.item(row, token) for row, token in enumerate(tokens.tolist())]
    # read together: a device is waited for once
    found = stack([x.astype(np.float64) for x in (logits.argmax(-1), logits.max(-1))])
    tokens, largest = found.numpy()
    return tokens.astype(np.int64), largest.tolist()


def generate(
    model: GenerativeModel,
    prompt: Any,
    max_new_tokens: int,
    *,
    source: Any = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_tokens: Any = (),
    use_cache: bool = True,
    jit: bool = False,
    rng: np.random.Generator | int | None = None,
    on_token: Callable[[int, int], object] | None = None,
) -> list[list[int]]:
    r"""Continue each prompt by greedy decoding or sampling.

    At temperature 0 each token is the one with the largest logit :math:`z` (of equal ones the
    first), otherwise it is sampled with the probabilities

    .. math:: p_i \propto \exp(z_i / T)

    restricted first to the `top_k` most probable tokens (Fan, Lewis and Dauphin, "Hierarchical
    Neural Story Generation", 2018, section 5.1), then to the smallest set of these with a total
    probability of at least `top_p` (nucleus sampling: Holtzman et al., "The Curious Case of Neural
    Text Degeneration", 2020, section 3.1).

    The model computes in eval mode without recording gradients; its modes are restored afterwards.
    Random numbers are drawn on the host, one for each row and step: what is sampled for a row does
    not depend on when other rows end.

    Args:
        model: a `LanguageModel` or a `Transformer`.
        prompt: the tokens to continue, for a `Transformer` those of the target: lists, one for each
            row, of any lengths; an array or Tensor ``(rows, length)``; or the tokens of one row.
        max_new_tokens: the maximum number of new tokens of each row.
        source: the source tokens of a `Transformer`, with as many rows as `prompt`; shorter lists
            are padded with the model's `padding_idx`.
        temperature: :math:`T`; 0 for greedy decoding.
        top_k: the number of tokens to sample from.
        top_p: the total probability of the tokens to sample from.
        stop_tokens: one token or several, at which a row ends.
        use_cache: whether to use a KV cache. Without it all positions are recomputed at each step;
            the tokens are the same.
        jit: whether the step of one token is recorded and then replayed by nn-jit, which has to be
            installed; see the page "Recording and replaying". It pays after some hundred tokens.
            Inside `autocast` nothing is recorded.
        rng: a NumPy generator, a seed, or None for unpredictable numbers.
        on_token: a function that is called as ``on_token(row, token)`` for each new token, as soon
            as it is known.

    Returns:
        The new tokens of each row, without the stop token: a list of lists, for one row too.

    Raises:
        ValueError: for an empty prompt, more positions than `max_seq_len`, an option out of range,
            logits that are NaN or whose largest is infinite, or a source that is missing, not
            expected, or has another number of rows.
        IndexError: for a token that is not in the vocabulary.
        TypeError: if `model` is neither, or for tokens that are not integers.
        ModuleNotFoundError: for `jit` without nn-jit.

    >>> from nn_transformer import LanguageModel, generate
    >>> model = LanguageModel(10, d_model=8, num_heads=2, num_layers=1, max_seq_len=32, rng=0)
    >>> rows = generate(model, [[3, 1, 4], [1, 5]], 6, temperature=0.8, top_k=5, rng=0)
    >>> [len(row) for row in rows]
    [6, 6]
    """
    temperature = check_number("temperature", temperature, 0)
    if top_k is not None:
        top_k = check_integer("top_k", top_k, 1)
    if top_p is not None:
        top_p = check_number("top_p", top_p, maximum=1, above=0)
    check_jit(jit, use_cache)
    rng = random_generator(rng)
    prompts = read_prompts(model, prompt, max_new_tokens, source, stop_tokens)

    def choose(logits: Tensor, active: np.ndarray) -> np.ndarray:
        if temperature == 0:
            tokens, largest = _greedy(logits)
            check_largest(largest)
            return tokens
        uniform = rng.random(len(results))[active]
        return sample(next_token_probabilities(logits.numpy(), temperature, top_k, top_p), uniform)

    results: list[list[int]] = [[] for _ in prompts.tokens]
    active = np.arange(len(results))  # the rows that have not ended
    with inference_mode(model):
        session = new_session(model, prompts, use_cache, jit)
        new = prompts.tokens
        for _ in range(prompts.max_new_tokens):
            chosen = choose(session.step(new), active)
            ended = np.isin(chosen, prompts.stop_tokens) if len(prompts.stop_tokens) else _NO_ROWS
            if ended.any():
                remaining = np.flatnonzero(~ended)
                active, chosen = active[remaining], chosen[remaining]
                if not len(active):
                    break
                session.select(remaining)
            for row, token in zip(active.tolist(), chosen.tolist(), strict=True):
                results[row].append(token)
                if on_token is not None:
                    on_token(row, token)
            new = chosen[:, None]
    return results
