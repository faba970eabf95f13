"""Pretrained weights: the maps from PyTorch, BERT and GPT-2, and what applies them.

Their public names are exported by `nn_transformer`.
"""

__all__: list[str] = []
