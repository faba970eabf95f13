"""Autoregressive decoding: `generate` and `beam_search`, exported by `nn_transformer`."""

__all__: list[str] = []
