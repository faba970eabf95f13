"""Errors of a layer name its path inside the model."""

import pickle

import numpy as np
import pytest
from nn_layers import Base_Layer, BaseModel, Dense, ReLU, Sequential
from nn_tensor import ones


def message(model, *inputs, kind=ValueError):
    with pytest.raises(kind) as info:
        model(*inputs)
    assert type(info.value) is kind
    return str(info.value)


WRONG = "Dense(64→10): input has 128 features, expected 64 (its shape is (2, 128))"
X = ones(2, 128)


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.blocks = {"main": [Sequential(ReLU(), Dense(64, 10))]}

    def forward(self, x):
        return self.blocks["main"][0](x)


def test_a_layer_alone():
    assert message(Dense(64, 10), X) == WRONG


def test_in_a_sequential():
    assert message(Sequential(ReLU(), ReLU(), Dense(64, 10)), X) == f"Sequential[2] {WRONG}"


def test_through_models_lists_and_dicts():
    assert message(Model(), X) == f"Model.blocks.main[0][1] {WRONG}"
    assert message(Sequential(Model()), X) == f"Sequential[0].blocks.main[0][1] {WRONG}"


def test_the_name_is_shown():
    model = Sequential(Dense(64, 10, name="head"))
    assert message(model, X).startswith("Sequential[0] Dense(64→10, name='head'): input has")


def test_a_model_that_overrides_call():
    class Siamese(Model):
        def __call__(self, x, y):
            return self.forward(x) + self.forward(y)

    class Outer(BaseModel):
        def __init__(self):
            self.siamese = Siamese()

        def forward(self, x):
            return self.siamese(x, x)

    x = ones(2, 64)
    assert Siamese()(x, x).shape == (2, 10)
    assert message(Siamese(), X, X) == f"Sequential[1] {WRONG}"
    assert message(Outer(), X) == f"Outer.siamese.blocks.main[0][1] {WRONG}"


def test_an_error_of_the_model_itself():
    class Broken(BaseModel):
        def forward(self, x):
            return x + ones(3)

    assert message(Sequential(Broken()), X) == (
        "Sequential[0] Broken: add(x: float32 (2, 128), y: float32 (3,)): "
        "the shapes (2, 128) and (3,) do not broadcast together"
    )


def test_a_shared_block_is_named_where_it_was_called():
    block = Sequential(Dense(64, 10))
    model = BaseModel()
    model.first, model.second = Sequential(block), Sequential(ReLU(), block)
    model.forward = lambda x: model.second(x)
    assert message(model, X) == f"BaseModel.second[1][0] {WRONG}"


def test_a_layer_that_is_not_an_attribute_has_no_path():
    layer = Dense(64, 10)

    class Borrower(BaseModel):
        def forward(self, x):
            return layer(x)

    assert message(Borrower(), X) == WRONG
    assert message(Sequential(Borrower()), X) == f"Sequential[0] {WRONG}"
    layer = Sequential(ReLU(), layer)
    assert message(Borrower(), X) == f"Sequential[1] {WRONG}"
    assert message(Sequential(Borrower()), X) == f"Sequential[0] Sequential[1] {WRONG}"


def test_a_model_may_catch_an_error_and_raise_another():
    class Careful(Model):
        def forward(self, x):
            try:
                return super().forward(x)
            except ValueError as error:
                raise KeyError("fallback") from error

    assert message(Sequential(Careful()), X, kind=KeyError) == "'Sequential[0] Careful: fallback'"


class Raising(Base_Layer):
    def __init__(self, error):
        self.error = error

    def forward(self, x):
        raise self.error


class OwnError(Exception):
    def __init__(self, code, detail):
        super().__init__(code, detail)


@pytest.mark.parametrize(
    "error", [OSError(2, "no such file"), OwnError(1, "x"), AssertionError(), ValueError(7)]
)
def test_an_error_that_is_more_than_a_text_gets_a_note(error):
    arguments = error.args
    with pytest.raises(type(error)) as info:
        Sequential(Sequential(Raising(error)))(X)
    assert info.value is error
    assert error.args == arguments
    assert error.__notes__ == ["in Sequential[0][0] Raising"]


def test_a_description_that_fails_does_not_hide_the_error():
    class Mute(Raising):
        def extra_repr(self):
            raise RuntimeError

    assert message(Mute(IndexError("why")), X, kind=IndexError) == "Mute: why"


def test_an_error_travels_without_its_model():
    with pytest.raises(ValueError, match="features") as info:
        Sequential(Dense(64, 10))(X)
    pickled = pickle.dumps(info.value)
    assert len(pickled) < 400
    again = Raising(pickle.loads(pickled))
    assert message(again, X) == f"Raising: Sequential[0] {WRONG}"


def test_wrong_arguments_are_explained():
    assert "Dense(64→10): " in message(Sequential(Dense(64, 10)), "text", kind=TypeError)
    assert "missing" in message(Dense(2, 2), kind=TypeError)
    assert message(Dense(2, 2), np.float32(1)) == (
        "Dense(2→2): input has no dimensions, expected 2 (its shape is ())"
    )
