"""Pretrained weights: the maps from the names of PyTorch, BERT and GPT-2 to the names here.

Their public names are exported by `nn_transformer`.
"""

__all__: list[str] = []
