"""Transforms of whole batches, with parameters that are drawn for each sample."""

from nn_data.transforms._affine import RandomAffine as RandomAffine
from nn_data.transforms._color import ColorJitter as ColorJitter
from nn_data.transforms._compose import Compose as Compose
from nn_data.transforms._compose import RandomApply as RandomApply
from nn_data.transforms._crop import RandomCrop as RandomCrop
from nn_data.transforms._cutout import Cutout as Cutout
from nn_data.transforms._flip import RandomFlip as RandomFlip
from nn_data.transforms._mix import CutMix as CutMix
from nn_data.transforms._mix import MixUp as MixUp
from nn_data.transforms._noise import GaussianNoise as GaussianNoise
from nn_data.transforms._normalize import Normalize as Normalize
from nn_data.transforms._transform import Transform as Transform
from nn_data.transforms._transform import per_sample as per_sample

__all__ = [
    "ColorJitter",
    "Compose",
    "CutMix",
    "Cutout",
    "GaussianNoise",
    "MixUp",
    "Normalize",
    "RandomAffine",
    "RandomApply",
    "RandomCrop",
    "RandomFlip",
    "Transform",
    "per_sample",
]


def __dir__() -> list[str]:
    return sorted(__all__)
