"""Models that return logits: `Transformer` and `LanguageModel`, exported by `nn_transformer`."""

__all__: list[str] = []
