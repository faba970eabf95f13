"""`DecodingSession`: the state of a batch while `generate` or `beam_search` decodes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from nn_tensor import Tensor, no_grad
from nn_tensor.extend import device_of, put

from nn_transformer.decoding.prompts import GenerativeModel, Prompts
from nn_transformer.models.transformer import Transformer
from nn_transformer.modules.kv_cache import DecoderCache

__all__ = ["DecodingSession", "inference_mode"]


@contextlib.contextmanager
def inference_mode(model: GenerativeModel) -> Iterator[None]:
    """Put the model in eval mode and record no gradients; afterwards restore the modes."""
    modes = [(module, module.training) for module in model.modules]
    try:
        model.eval()
        with no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


class DecodingSession:
    """A batch that is being decoded: it takes the next tokens and returns the logits after them.

    It is the same for both kinds of models, with and without a KV cache.
    """

    def __init__(self, model: GenerativeModel, prompts: Prompts, use_cache: bool) -> None:
        self._model = model
        self._padding = prompts.padding
        self._memory = self._memory_mask = None
        if prompts.source is not None and isinstance(model, Transformer):
            source = Tensor(prompts.source, device=model.device)
            self._memory_mask = model.source_mask(source)
            self._memory = model.encode(source, self._memory_mask)
        self._cache = self._new_cache() if use_cache else None
        self._past = prompts.tokens[:, :0]  # the tokens to recompute where there is no cache

    def _new_cache(self) -> DecoderCache:
        return self._model.new_cache(self._padding.tolist())

    def step(self, tokens: np.ndarray) -> Tensor:
        """Return the logits ``(rows, vocab_size)`` of the token after ``(rows, new)`` tokens."""
        cache = self._cache
        if cache is None:
            tokens = self._past = np.concatenate([self._past, tokens], axis=1)
            cache = self._new_cache()
        ids = Tensor(tokens, device=self._model.device)
        if isinstance(self._model, Transformer):
            assert self._memory is not None
            logits = self._model.decode(ids, self._memory, None, self._memory_mask, cache)
        else:
            logits = self._model(ids, cache=cache)
        return logits[:, -1]

    def select(self, rows: np.ndarray, same_sources: bool = False) -> None:
        """Keep these rows, in this order.

        Args:
            rows: the indices of the rows; a row may be repeated.
            same_sources: whether each new row has the same source as the row that it replaces.
        """
        self._padding = self._padding[rows]
        if self._cache is None:
            self._past = self._past[rows]
        else:
            self._cache.select(rows, memory=not same_sources)
        if self._memory is not None and not same_sources:
            indices = put(rows, device_of(self._memory.data))
            self._memory = self._memory[indices]
            if self._memory_mask is not None:
                self._memory_mask = self._memory_mask[indices]
