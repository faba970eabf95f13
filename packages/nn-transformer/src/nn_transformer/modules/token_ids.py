"""Token ids: integers from 0 to the vocabulary size less 1, as in `nn_layers.Embedding`."""

from nn_layers.layers.token_ids import (
    as_token_ids,
    check_ids,
    check_padding_idx,
    check_token_ids,
)

__all__ = ["as_token_ids", "check_ids", "check_padding_idx", "check_token_ids"]
