"""State dicts written by version 0.1 of this package: what their keys are called now."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nn_tensor.extend import METADATA_KEY

__all__ = ["renames_since_0_1"]

_ENCODER_LAYER = {
    "norms.0": "attention_norm",
    "norms.1": "feed_forward_norm",
    "feed_forward.0": "feed_forward.hidden",
    "feed_forward.3": "feed_forward.output",
}
_DECODER_LAYER = {
    **_ENCODER_LAYER,
    "norms.1": "cross_attention_norm",
    "norms.2": "feed_forward_norm",
}
_STACK = {"norm": "final_norm", "segments": "segment_embedding"}

# A part of the model and all above it, the part that version 0.1 named otherwise, the array.
_KEY = re.compile(r"((?:.*\.)?)(norms\.\d|feed_forward\.\d|norm|segments)(\.(?:weights|bias))")


def renames_since_0_1(keys: Iterable[str]) -> dict[str, str]:
    """Map the keys of a state dict of version 0.1 to the current ones.

    The state dict may be that of any layer or model of this package, or of a larger model that
    contains some; keys of other parts, and those that never changed, stay as they are.

    Args:
        keys: a state dict, or its keys, in any order.

    Returns:
        All keys with their new names: what ``nn_io.rename_state`` takes as `names`. Without nn-io,
        load ``{new: state[old] for old, new in renames_since_0_1(state).items()}``.

    >>> from nn_transformer import renames_since_0_1
    >>> renames = renames_since_0_1([
    ...     "embedding.weights", "layers.0.attention.query.weights", "layers.0.norms.0.weights",
    ...     "layers.0.norms.1.weights", "layers.0.feed_forward.0.weights",
    ... ])
    >>> print(*renames.values(), sep="\\n")
    embedding.weights
    layers.0.attention.query.weights
    layers.0.attention_norm.weights
    layers.0.feed_forward_norm.weights
    layers.0.feed_forward.hidden.weights
    """
    names = [key for key in keys if key != METADATA_KEY]
    known = set(names)
    renames = {}
    for name in names:
        renames[name] = name
        if match := _KEY.fullmatch(name):
            path, part, array = match.groups()
            if f"{path}layers.0.attention.query.weights" in known:
                table = _STACK
            elif f"{path}cross_attention.query.weights" in known:
                table = _DECODER_LAYER
            elif f"{path}attention.query.weights" in known:
                table = _ENCODER_LAYER
            else:
                continue
            renames[name] = f"{path}{table.get(part, part)}{array}"
    return renames
