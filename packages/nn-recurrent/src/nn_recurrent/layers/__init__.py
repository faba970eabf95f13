"""The layers: cells, which hold the weights, and stacks of them over whole sequences."""

__all__: list[str] = []
