"""`Decoder`: a vector for each target token, causal, with cross-attention to an encoder."""

from __future__ import annotations

from typing import Any

from nn_tensor import Tensor

from nn_transformer.modules.decoder_layer import DecoderLayer
from nn_transformer.modules.kv_cache import DecoderCache
from nn_transformer.modules.token_ids import as_token_ids
from nn_transformer.modules.transformer_stack import TransformerStack

__all__ = ["Decoder"]


class Decoder(TransformerStack):
    """The decoder of a transformer: a stack of causal layers with cross-attention.

    Shapes: tokens ``(batch, targets)`` of any integer dtype and the encoder's output ``(batch,
    sources, d_model)`` to ``(batch, targets, d_model)``. A position attends to itself and to
    earlier ones, and to all positions of the encoder's output.

    Vaswani et al., "Attention Is All You Need", 2017, sections 3.1 to 3.5; the defaults are those
    of its base model.

    Args:
        vocab_size: the vocabulary size.
        d_model: the model dimension.
        num_heads: the number of attention heads; it divides `d_model`.
        num_layers: the number of layers.
        d_ff: the hidden dimension of the feed-forward networks, by default four times `d_model`.
        **options: `StackOptions`, by name.

    Raises:
        ValueError: for sizes that do not fit, or an option out of range; when called, for a
            sequence longer than `max_seq_len`.
        IndexError: when called, for a token that is not in the vocabulary.

    >>> from nn_tensor import ones
    >>> from nn_transformer import Decoder
    >>> decoder = Decoder(vocab_size=100, d_model=16, num_heads=4, num_layers=2)
    >>> decoder([[5, 7, 9]], ones(1, 4, 16)).shape
    (1, 3, 16)
    """

    _layer = DecoderLayer

    def forward(
        self,
        tokens: Any,
        memory: Tensor,
        mask: Any = None,
        memory_mask: Any = None,
        cache: DecoderCache | None = None,
    ) -> Tensor:
        """Return the output for `tokens`, ``(batch, targets, d_model)``.

        Args:
            tokens: integers ``(batch, targets)``.
            memory: the encoder's output, ``(batch, sources, d_model)``.
            mask: the mask of the self-attention, which replaces the causal mask and the padding
                mask.
            memory_mask: the mask of the cross-attention, such as the `padding_mask` of the source.
            cache: the KV cache of the tokens before, see `new_cache`; it also determines what is
                padding.
        """
        tokens = as_token_ids(tokens, self.device)
        x, rotation = self._embed(tokens, cache)
        if memory.shape[0] not in (1, x.shape[0]):
            raise ValueError(f"memory: has {memory.shape[0]} rows, tokens {x.shape[0]}")
        options: dict[str, Any] = {"causal": mask is None, "rotation": rotation, "cache": cache}
        mask = self._padding_mask(tokens, cache) if mask is None else mask
        return self.run(x, memory, mask, memory_mask, **options)

    def new_cache(self, padding: Any = None) -> DecoderCache:
        """Return an empty cache, with which a sequence is decoded in parts.

        Args:
            padding: the number of padding tokens at the beginning of each row of the batch:
                nothing attends to them, and positions are counted from there.
        """
        return DecoderCache(len(self.layers), self.max_seq_len, padding)
