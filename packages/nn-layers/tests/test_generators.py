"""The generators of a model: each once, by path."""

import random

import numpy as np
from nn_layers import BaseModel, Dense, Dropout, Sequential


class Model(BaseModel):
    def __init__(self, rng):
        self.blocks = [
            Dropout(0.5, rng=rng),
            Sequential(Dropout(0.1, rng=1), Dropout(0.1, rng=rng)),
        ]
        self.noise = {"old": random.Random(0), "older": np.random.RandomState(0)}
        self.first = rng
        self.again = self.blocks

    def forward(self, x):
        return x


def test_each_generator_is_listed_once_by_its_path():
    rng = np.random.default_rng(0)
    model = Model(rng)
    found = dict(model.named_generators())
    assert set(found) == {"noise.old", "noise.older", "first", "blocks.1.0.rng"}
    assert found["first"] is rng
    assert found["noise.old"] is model.noise["old"]


def test_a_layer_without_random_numbers_has_none():
    assert Dense(2, 3, rng=0).named_generators() == []


def test_the_state_dict_keeps_its_keys():
    assert list(Sequential(Dropout(0.5), Dense(2, 3)).state_dict()) == [
        "1.weights",
        "1.bias",
        "__metadata__",
    ]
