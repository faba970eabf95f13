"""Attention, encoder, decoder and transformer models for nn-tensor and nn-layers."""

from nn_transformer._embedding import Embedding as Embedding

__all__ = ["Embedding"]
