"""`Embedding`, which is a layer of nn-layers, under the name that it has always had here."""

from nn_layers import Embedding
from nn_layers.ops.embedding import embedding_lookup

__all__ = ["Embedding", "embedding_lookup"]
