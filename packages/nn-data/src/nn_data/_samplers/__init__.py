"""Samplers: which samples make an epoch, and which of them a batch."""

from nn_data._samplers._by_length import ByLength as ByLength
from nn_data._samplers._sampler import BatchSampler as BatchSampler
from nn_data._samplers._sampler import Sampler as Sampler
from nn_data._samplers._weighted import Balanced as Balanced
from nn_data._samplers._weighted import Weighted as Weighted

__all__ = ["Balanced", "BatchSampler", "ByLength", "Sampler", "Weighted"]
