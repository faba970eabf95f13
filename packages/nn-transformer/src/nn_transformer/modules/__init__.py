"""The parts of transformers: attention, positions, embedding, layers, and the stacks of layers.

Their public names are exported by `nn_transformer`.
"""

__all__: list[str] = []
