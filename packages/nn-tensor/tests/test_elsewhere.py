"""Names of PyTorch, Keras and NumPy, and what the errors say to use here."""

import copy
import re

import nn_tensor
import numpy as np
import pytest
from nn_tensor import Tensor, concatenate, ones, softmax, split, stack, std, sum, var
from nn_tensor.extend import keyword_only, missing_name, name_here, names_elsewhere, op


@op
def scaled(xp, x, /, axis=None, scale=1):
    return xp.sum(x, axis) * scale


class Layer:
    @keyword_only
    def __init__(self, size=3, *, epsilon=1e-5, axis=0):
        self.size = size


X = ones(2, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sum(X, dim=1), "'dim' is 'axis' here"),
        (lambda: X.mean(keepdim=True), "'keepdim' is 'keepdims' here"),
        (lambda: softmax(X, dim=1), "'dim' is 'axis' here"),
        (lambda: scaled(X, dim=1), "'dim' is 'axis' here"),
        (
            lambda: var(X, dim=1),
            "dim=1): got an unexpected keyword argument 'dim'; 'dim' is 'axis' here",
        ),
        (lambda: std(X, dim=1), "'dim' is 'axis' here"),
        (lambda: X.var(unbiased=True), "'unbiased' is 'ddof' here"),
        (lambda: concatenate([X], dim=1), "'dim' is 'axis' here"),
        (lambda: stack([X], dim=1), "'dim' is 'axis' here"),
        (lambda: split(X, 2, dim=1), "'dim' is 'axis' here"),
        (lambda: X.split(2, dim=1), "'dim' is 'axis' here"),
        (lambda: Layer(eps=0.1), "Layer has no option 'eps'; 'eps' is 'epsilon' here"),
    ],
)
def test_keyword_of_another_library_names_the_one_here(call, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        call()


def test_keyword_is_only_translated_into_one_that_the_function_has():
    with pytest.raises(TypeError, match="unexpected keyword argument 'keepdim'") as caught:
        scaled(X, keepdim=True)
    assert "here" not in str(caught.value)
    with pytest.raises(TypeError, match="unexpected keyword argument 'learning_rate'"):
        Layer(learning_rate=1)


@pytest.mark.parametrize(
    ("name", "here"),
    [("view", "reshape"), ("unsqueeze", "expand_dims"), ("cuda", "to('cuda')"), ("T_", None)],
)
def test_attribute_of_another_library_names_the_one_here(name, here):
    message = f"'Tensor' object has no attribute '{name}'" + (
        f"; here it is {here}" if here else ""
    )
    with pytest.raises(AttributeError, match=re.escape(message) + "$"):
        getattr(ones(2), name)
    assert not hasattr(ones(2), name)


@pytest.mark.parametrize(("name", "here"), [("cat", "concatenate"), ("mm", "matmul")])
def test_missing_function_names_the_one_here(name, here):
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'; here it is {here}$"):
        getattr(nn_tensor, name)
    with pytest.raises(ImportError, match=f"cannot import name '{name}'.*; here it is {here}$"):
        exec(f"from nn_tensor import {name}")
    assert not hasattr(nn_tensor, name)


def test_unknown_name_is_an_ordinary_error():
    with pytest.raises(AttributeError, match=r"has no attribute 'nonsense'$"):
        nn_tensor.nonsense  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nonsense'"):
        exec("from nn_tensor import nonsense")


def test_own_attributes_win_over_hints():
    @names_elsewhere("weight=weights; cuda=set_device('cuda')")
    class Model:
        pass

    class Child(Model):
        def cuda(self):
            return "moved"

    model = Child()
    model.weight = 3
    assert (model.cuda(), model.weight) == ("moved", 3)
    with pytest.raises(AttributeError, match="'Child' object has no attribute 'weight'; here"):
        Child().weight  # noqa: B018


def test_hints_of_tables_name_what_exists():
    assert name_here("b", "a=x; b=y z; c=w") == "y z"
    assert name_here("d", "a=x") is None
    error = missing_name("m", "d", "a=x")
    assert (type(error), str(error)) == (AttributeError, "module 'm' has no attribute 'd'")
    hints = {n: v.here for n, v in vars(Tensor).items() if type(v).__name__ == "_Elsewhere"}
    assert len(hints) > 15
    for name, here in hints.items():
        first = re.match(r"\w+", here)[0]
        assert first in ("x", "the", "nn_tensor") or hasattr(Tensor, first), (name, here)


def test_plotting_a_result_says_what_to_call():
    with pytest.raises(TypeError, match=r"take \.detach\(\) first, or \.numpy\(\) to plot it"):
        copy.copy(ones(2, requires_grad=True) * 2)


class Frame:
    """As much of a data frame as is converted."""

    def __init__(self, **columns):
        self.data, self.columns = columns, list(columns)

    def __getitem__(self, name):
        return self.data[name]

    def __array__(self, dtype=None, copy=None):
        return np.array([np.asarray(v, object) for v in self.data.values()], dtype).T


@pytest.mark.parametrize("convert", [Tensor, lambda frame: concatenate([frame, ones(1)])])
def test_data_frame_with_text_columns_names_them(convert):
    frame = Frame(height=[1.0, 2.0], city=["Ulm", "Bonn"], age=[3, 4], street=["a", "b"])
    with pytest.raises(TypeError, match="a Frame with something else in the columns 'city', 'st"):
        convert(frame)


def test_data_frame_of_pandas_with_text_columns_names_them():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"height": [1.0, 2.0], "city": ["Ulm", "Bonn"]})
    with pytest.raises(TypeError, match="a DataFrame with something else in the columns 'city'"):
        Tensor(frame)
    assert Tensor(frame[["height"]]).shape == (2, 1)
