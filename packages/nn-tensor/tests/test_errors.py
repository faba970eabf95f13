"""Wrong calls: each is refused with a message that names the culprit and what it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nn_tensor as nn
import numpy as np
import pytest
from nn_tensor import Tensor
from nn_tensor.extend import op
from nn_tensor.testing import gradcheck

X = Tensor(np.ones((2, 3), np.float32))
R = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
INTS = Tensor([[0, 1, 2]])


def set_attribute(x: Tensor, name: str, value: Any) -> None:
    setattr(x, name, value)


def doubled(rule: Callable[..., Any]) -> Tensor:
    """Return the result of an operation of one's own that has a wrong rule."""

    @op
    def double(xp: Any, x: Any, /) -> Any:
        return x * 2

    double.gradient("x")(rule)
    return double(R)


Call = Callable[[], Any]

# A call, the type of what it raises, and fragments that the message must hold.
WRONG: list[tuple[str, Call, type[Exception], list[str]]] = [
    # shapes
    ("add", lambda: X + Tensor(np.ones((4, 3))), ValueError, ["add", "(2, 3)", "(4, 3)"]),
    ("multiply array", lambda: X * np.ones(2), ValueError, ["multiply", "(2, 3)", "(2,)"]),
    ("radd", lambda: np.ones(2) - X, ValueError, ["subtract", "(2, 3)", "(2,)"]),
    ("equal", lambda: np.ones(4) == X, ValueError, ["equal", "(2, 3)", "(4,)"]),
    ("maximum", lambda: nn.maximum(X, np.ones(4)), ValueError, ["maximum", "(4,)"]),
    ("where", lambda: nn.where(X > 0, X, np.ones(4)), ValueError, ["where", "(2, 3)", "(4,)"]),
    ("matmul", lambda: X @ X, ValueError, ["matmul", "(2, 3)", "3 and 2"]),
    ("matmul 0-d", lambda: X @ 2.0, ValueError, ["matmul", "(2, 3)", "()"]),
    ("matmul stacks", lambda: Tensor(np.ones((2, 3, 3))) @ np.ones((4, 3, 3)), ValueError,
     ["matmul", "(2, 3, 3)", "(4, 3, 3)"]),
    ("dot", lambda: nn.dot(X, X), ValueError, ["(2, 3)", "3 and 2"]),
    ("tensordot lengths", lambda: nn.tensordot(X, X, ([0], [1])), ValueError, ["tensordot", "2"]),
    ("tensordot count", lambda: nn.tensordot(X, X, 3), ValueError, ["tensordot", "axes=3"]),
    ("tensordot axes", lambda: nn.tensordot(X, X, ([5], [0])), ValueError, ["tensordot", "5"]),
    ("einsum terms", lambda: nn.einsum("ij,jk->ik", X), ValueError, ["einsum", "ij,jk->ik", "2"]),
    ("einsum axes", lambda: nn.einsum("ijk->i", X), ValueError, ["einsum", "'ijk'", "(2, 3)"]),
    ("einsum lengths", lambda: nn.einsum("ij,ij->i", X, X.T), ValueError, ["einsum", "'i'", "2"]),
    ("einsum result", lambda: nn.einsum("ij->ik", X), ValueError, ["einsum", "'ik'"]),
    ("einsum label", lambda: nn.einsum("i1->i", X), ValueError, ["einsum", "i1->i"]),
    ("exp out", lambda: nn.exp(X, out=X), TypeError, ["exp(x: float32 (2, 3)", "out", "x[...]"]),
    ("add where", lambda: nn.add(X, X, where=X), TypeError, ["add(x: float32 (2, 3)", "where"]),
    ("einsum type", lambda: nn.einsum(X, X), TypeError, ["einsum", "subscripts"]),
    ("reshape", lambda: X.reshape(4, 2), ValueError, ["reshape", "(4, 2)", "(2, 3)"]),
    ("reshape unknown", lambda: X.reshape(-1, -1), ValueError, ["reshape", "(-1, -1)"]),
    ("reshape type", lambda: X.reshape("a"), TypeError, ["reshape", "'a'"]),
    ("broadcast_to", lambda: X.broadcast_to((3, 3)), ValueError, ["broadcast_to", "(3, 3)"]),
    ("concatenate", lambda: nn.concatenate([X, np.ones((2, 4))], axis=0), ValueError,
     ["concatenate", "(2, 4)"]),
    ("concatenate nothing", lambda: nn.concatenate([]), ValueError, ["concatenate", "[]"]),
    ("concatenate a Tensor", lambda: nn.concatenate(X), ValueError, ["concatenate", "list"]),
    ("stack", lambda: nn.stack([X, np.ones((2, 4))]), ValueError, ["stack", "(2, 4)"]),
    ("squeeze", lambda: X.squeeze(0), ValueError, ["squeeze", "axis=0", "(2, 3)"]),
    ("split", lambda: X.split(2, axis=1), ValueError, ["split", "indices_or_sections=2", "3"]),
    ("split none", lambda: X.split(0), ValueError, ["split", "indices_or_sections=0"]),
    ("backward", lambda: (R * 2).backward(), ValueError, ["backward", "(2, 3)"]),
    ("backward shape", lambda: (R * 2).backward(np.ones(4)), ValueError, ["gradient", "(4,)"]),
    ("grad setter", lambda: set_attribute(R, "grad", np.ones(4)), ValueError, ["grad", "(4,)"]),
    ("pad2d", lambda: nn.pad2d(Tensor([1.0]), 1), ValueError, ["pad2d", "(1,)"]),
    ("unbroadcast", lambda: nn.unbroadcast_grad(X, (5,)), ValueError, ["shape", "(5,)", "(2, 3)"]),
    ("gather", lambda: X.gather(Tensor([0])), ValueError, ["gather", "(1,)", "(2, 3)"]),
    ("gather longer", lambda: X.gather(Tensor(np.zeros((3, 1), int))), ValueError,
     ["gather", "(3, 1)", "(2, 3)"]),
    ("scatter_add", lambda: X.scatter_add(INTS, np.ones(7)), ValueError, ["scatter_add", "7"]),
    ("zeros", lambda: nn.zeros(2, -1), ValueError, ["shape", "-1"]),
    ("ones", lambda: nn.ones(2.5), TypeError, ["shape", "2.5"]),
    ("rand", lambda: nn.rand("a"), TypeError, ["shape", "a"]),
    ("eye", lambda: nn.eye(-2), ValueError, ["-2"]),
    # axes
    ("sum", lambda: X.sum(axis=2), ValueError, ["sum", "axis=2", "(2, 3)"]),
    ("sum twice", lambda: X.sum(axis=(0, 0)), ValueError, ["sum", "(0, 0)"]),
    ("mean", lambda: X.mean(axis=-3), ValueError, ["mean", "-3"]),
    ("var", lambda: X.var(axis=5), ValueError, ["axis", "5"]),
    ("var of 0-d", lambda: X[0, 0].var(axis=1, ddof=1), ValueError, ["axis 1 is out of bounds"]),
    ("var ddof", lambda: X.var(ddof=6), ValueError, ["var", "ddof=6"]),
    ("max", lambda: X.max(axis=4), ValueError, ["max", "axis=4"]),
    ("max of nothing", lambda: Tensor([]).max(), ValueError, ["max", "(0,)"]),
    ("argmax", lambda: X.argmax(axis=3), ValueError, ["argmax", "axis=3"]),
    ("sum axis type", lambda: X.sum(axis="rows"), TypeError, ["sum", "'rows'"]),
    ("sum axis float", lambda: X.sum(axis=1.0), TypeError, ["sum", "1.0"]),
    ("cumsum", lambda: X.cumsum(axis=2), ValueError, ["cumsum", "axis=2"]),
    ("softmax", lambda: X.softmax(axis=2), ValueError, ["softmax", "axis=2"]),
    ("logsumexp", lambda: X.logsumexp(axis=(0, 7)), ValueError, ["logsumexp", "7"]),
    ("transpose", lambda: X.transpose(0, 2), ValueError, ["transpose", "(0, 2)"]),
    ("transpose few", lambda: X.transpose(0), ValueError, ["transpose", "0", "(2, 3)"]),
    ("swapaxes", lambda: X.swapaxes(0, 2), ValueError, ["swapaxes", "axis2=2"]),
    ("moveaxis", lambda: nn.moveaxis(X, 0, 3), ValueError, ["moveaxis", "3"]),
    ("expand_dims", lambda: X.expand_dims(4), ValueError, ["expand_dims", "4"]),
    ("flip", lambda: X.flip(2), ValueError, ["flip", "axis=2"]),
    ("flatten", lambda: X.flatten(2), ValueError, ["flatten", "start_axis=2"]),
    ("split axis", lambda: X.split(1, axis=5), ValueError, ["split", "axis=5"]),
    ("repeat axis", lambda: X.repeat(2, axis=3), ValueError, ["repeat", "axis=3"]),
    ("concatenate axis", lambda: nn.concatenate([X, X], axis=2), ValueError, ["concatenate", "2"]),
    ("stack axis", lambda: nn.stack([X, X], axis=5), ValueError, ["5"]),
    ("gather axis", lambda: X.gather(INTS, axis=2), ValueError, ["gather", "axis=2"]),
    ("take axis", lambda: X.take(0, axis=2), ValueError, ["take", "axis=2"]),
    # indices
    ("index", lambda: X[5], IndexError, ["index=5", "(2, 3)"]),
    ("index many", lambda: X[0, 0, 0], IndexError, ["(0, 0, 0)", "(2, 3)"]),
    ("index float", lambda: X[1.5], IndexError, ["1.5"]),
    ("index name", lambda: X["a"], IndexError, ["'a'"]),
    ("index floats", lambda: X[Tensor([0.0])], TypeError, ["index", "float32"]),
    ("index mask", lambda: X[np.ones(5, bool)], IndexError, ["5", "(2, 3)"]),
    ("assignment", lambda: X.__setitem__(7, 1.0), IndexError, ["item assignment", "7", "(2, 3)"]),
    ("assignment shape", lambda: X.__setitem__(0, [1.0, 2.0]), ValueError,
     ["item assignment", "(2,)", "(2, 3)"]),
    ("assignment type", lambda: Tensor([1, 2]).__setitem__(0, np.float32(1.5)), TypeError,
     ["item assignment", "float32", "int64"]),
    ("take", lambda: X.take(9), IndexError, ["take", "9"]),
    ("take floats", lambda: X.take([0.5]), TypeError, ["take", "indices", "float32"]),
    ("gather floats", lambda: X.gather(X), TypeError, ["gather", "indices", "float32"]),
    ("gather range", lambda: X.gather(INTS + 3), IndexError, ["gather", "3"]),
    ("scatter_add type", lambda: nn.scatter_add(INTS, INTS, X[:1]), TypeError,
     ["values", "float32"]),
    ("one_hot", lambda: nn.one_hot(INTS, 2), IndexError, ["one_hot", "2"]),
    ("one_hot negative", lambda: nn.one_hot([-1]), IndexError, ["one_hot", "-1"]),
    ("one_hot floats", lambda: nn.one_hot(X, 2), TypeError, ["one_hot", "float32"]),
    ("one_hot count", lambda: nn.one_hot([], -1), ValueError, ["one_hot", "num_classes", "-1"]),
    ("one_hot type", lambda: nn.one_hot(INTS, 2.5), TypeError, ["one_hot", "num_classes", "2.5"]),
    # data types
    ("data text", lambda: Tensor("abc"), TypeError, ["data", "'abc'"]),
    ("data none", lambda: Tensor(None), TypeError, ["data", "None"]),
    ("data ragged", lambda: Tensor([[1], [1, 2]]), ValueError, ["data", "regular"]),
    ("data objects", lambda: Tensor(np.array([None])), TypeError, ["data", "object"]),
    ("data dict", lambda: Tensor({"a": 1}), TypeError, ["data", "{'a': 1}"]),
    ("dtype", lambda: Tensor([1.0], dtype="flaot32"), TypeError, ["dtype", "flaot32"]),
    ("dtype text", lambda: X.astype(str), TypeError, ["dtype", "str"]),
    ("requires_grad", lambda: Tensor([1], dtype=int, requires_grad=True), TypeError,
     ["dtype", "int64"]),
    ("requires_grad later", lambda: set_attribute(INTS, "requires_grad", True), TypeError,
     ["requires_grad", "int64"]),
    ("requires_grad cleared", lambda: set_attribute(R * 2, "requires_grad", False), RuntimeError,
     ["requires_grad", "detach"]),
    ("data setter", lambda: set_attribute(X, "data", [1.0]), TypeError, ["data", "[1.0]"]),
    ("data of a result", lambda: set_attribute(R * 2, "data", np.ones(2)), RuntimeError, ["data"]),
    ("set_dtype", lambda: R.set_dtype(int), TypeError, ["int64"]),
    ("operand none", lambda: X + None, TypeError, ["add", "None"]),
    ("operand text", lambda: "a" * X, TypeError, ["multiply", "'a'"]),
    ("bitwise", lambda: X & X, TypeError, ["bitwise_and", "float32"]),
    ("invert", lambda: ~X, TypeError, ["invert", "float32"]),
    ("integer power", lambda: INTS ** -1, ValueError, ["power", "-1"]),
    ("exp of text", lambda: nn.exp("a"), TypeError, ["exp", "'a'"]),
    ("rand of integers", lambda: nn.rand(2, dtype=int), TypeError, ["dtype", "int64"]),
    ("backward of integers", lambda: INTS.backward(), RuntimeError, ["backward"]),
    # devices
    ("device", lambda: Tensor([1.0], device="gpu"), ValueError, ["device", "'gpu'"]),
    ("to dtype", lambda: X.to("float32"), ValueError, ["device", "'float32'"]),
    ("zeros device", lambda: nn.zeros(2, device=3), TypeError, ["device", "3"]),
    # arguments
    ("exp nothing", lambda: nn.exp(), TypeError, ["exp", "x"]),
    ("add one", lambda: nn.add(X), TypeError, ["add", "y"]),
    ("exp two", lambda: nn.exp(X, X), TypeError, ["exp"]),
    ("sum unknown", lambda: nn.sum(X, axes=0), TypeError, ["sum", "'axes'"]),
    ("sum many", lambda: nn.sum(X, 0, None, None, True, None, None, 5), TypeError, ["sum", "8"]),
    ("sum twice given", lambda: nn.sum(X, 0, axis=0), TypeError, ["'axis'", "multiple"]),
    ("softmax nothing", lambda: nn.softmax(), TypeError, ["softmax", "'x'"]),
    ("reshape nothing", lambda: nn.reshape(X), TypeError, ["reshape", "'shape'"]),
    ("clip nothing", lambda: X.clip(), ValueError, ["clip", "a_min"]),
    ("clip crossed", lambda: X.clip(2, 1), ValueError, ["clip", "a_min=2", "a_max=1"]),
    ("clip by Tensor", lambda: X.clip(X, None), TypeError, ["clip", "a_min"]),
    ("pad", lambda: nn.pad(X, -1), ValueError, ["pad", "pad_width", "-1"]),
    ("pad mode", lambda: nn.pad(X, 1, "mean"), ValueError, ["pad", "mode", "'mean'"]),
    ("pad2d negative", lambda: nn.pad2d(X, -1), ValueError, ["pad2d", "padding", "-1"]),
    ("pad2d form", lambda: nn.pad2d(X, (1, 2, 3)), ValueError, ["pad2d", "(1, 2, 3)"]),
    ("repeat", lambda: X.repeat(-1), ValueError, ["repeat", "-1"]),
    ("tile", lambda: nn.tile(X, -1), ValueError, ["tile", "-1"]),
    ("item", lambda: X.item(), ValueError, ["item", "(2, 3)"]),
    ("float", lambda: float(X), ValueError, ["(2, 3)"]),
    ("bool", lambda: bool(X), ValueError, ["bool", "(2, 3)"]),
    ("len", lambda: len(Tensor(1.0)), TypeError, ["len"]),
    ("iter", lambda: iter(Tensor(1.0)), TypeError, ["iteration"]),
    ("slice by float", lambda: [1, 2][Tensor(1.0)], TypeError, ["index", "float32"]),
    ("format", lambda: f"{X:.2f}", ValueError, ["format", "(2, 3)"]),
    ("arange", lambda: nn.arange(0, 1, 0), ValueError, ["step", "0"]),
    ("arange text", lambda: nn.arange("a"), TypeError, ["arange", "'a'"]),
    ("linspace", lambda: nn.linspace(0, 1, -1), ValueError, ["num", "-1"]),
    ("linspace float", lambda: nn.linspace(0, 1, 2.5), TypeError, ["num", "2.5"]),
    ("randint", lambda: nn.randint(3, 3), ValueError, ["high", "3"]),
    ("randint float", lambda: nn.randint(0.5, 3), TypeError, ["low", "0.5"]),
    ("rng", lambda: nn.rand(2, rng="a"), TypeError, ["rng", "'a'"]),
    ("seed", lambda: nn.rand(2, rng=-1), ValueError, ["rng", "-1"]),
    ("from_dlpack", lambda: nn.from_dlpack([1.0]), TypeError, ["__dlpack__", "[1.0]"]),
    ("hook", lambda: R.register_hook(3), TypeError, ["hook", "3"]),
    ("hook without", lambda: X.register_hook(print), RuntimeError, ["register_hook"]),
    ("grad inputs", lambda: nn.grad(R.sum(), [1.0]), TypeError, ["inputs[0]", "1.0"]),
    ("grad input", lambda: nn.grad(R.sum(), 5), TypeError, ["inputs", "5"]),
    ("grad outputs", lambda: nn.grad(5, R), TypeError, ["outputs", "5"]),
    ("grad constant", lambda: nn.grad(R.sum(), X), RuntimeError, ["inputs[0]"]),
    ("grad seeds", lambda: nn.grad([R.sum(), R.mean()], R, [1.0]), ValueError, ["gradient", "2"]),
    ("grad array", lambda: nn.grad([R.sum()], R, np.ones(2)), ValueError, ["gradient", "1", "2"]),
    ("kernels", lambda: nn.use_kernels("fast"), ValueError, ["choice", "'fast'"]),
    ("attribute", lambda: nn.sofmax, AttributeError, ["sofmax"]),
    # declarations
    ("op without inputs", lambda: op(lambda xp: 1), TypeError, ["op", "inputs"]),
    ("rule for nobody", lambda: op(lambda xp, x, /: x).gradient("y")(lambda g: g), ValueError,
     ["y"]),
    ("rule asks", lambda: op(lambda xp, x, /: x).gradient("x")(lambda g, z: g), TypeError, ["'z'"]),
    ("rule for nothing", lambda: op(lambda xp, x, /: x).joint_gradient()(lambda g: g), ValueError,
     ["gradient", "['x']"]),
    ("rule without brackets", lambda: op(lambda xp, x, /: x).gradient(len), ValueError, ["len"]),
    ("rule without gradient", lambda: op(lambda xp, x, /: x).gradient("x")(lambda: 0), TypeError,
     ["'x'", "gradient"]),
    ("rule by no function", lambda: op(lambda xp, x, /: x).gradient("x")(len), TypeError, ["len"]),
    ("op with any options", lambda: op(lambda xp, x, /, **more: x), TypeError, ["'**'"]),
    ("op keeps text", lambda: op(keeps="mask")(lambda xp, x, /: (x, x)), TypeError, ["'mask'"]),
    ("op keeps input", lambda: op(keeps=("x",))(lambda xp, x, /: (x, x)), TypeError, ["'x'"]),
    ("option out", lambda: op(lambda xp, x, /, out: x), TypeError, ["'out'"]),
    ("input wanted", lambda: op(lambda xp, *wanted: xp), TypeError, ["'wanted'"]),
    ("forward without result", lambda: op(lambda xp, x, /: None)(X), TypeError,
     ["forward", "None"]),
    ("forward of two", lambda: op(lambda xp, x, y, /, n=1: (x, y))(X, X), TypeError, ["forward"]),
    ("forward keeps nothing", lambda: op(keeps=("m",))(lambda xp, x, /: x)(X), TypeError,
     ["forward", "('m',)", "float32 (2, 3)"]),
    ("forward keeps two", lambda: op(keeps=("m",))(lambda xp, x, /: (x, x, x))(X), TypeError,
     ["forward", "('m',)"]),
    ("rule gives None", lambda: doubled(lambda g: None).backward(X), TypeError,
     ["double", "'x'", "None"]),
    ("rule gives list", lambda: doubled(lambda g: [1]).backward(X), TypeError, ["double", "[1]"]),
    ("rule gives number", lambda: doubled(lambda g: 0.0).backward(X), TypeError, ["double", "0.0"]),
    ("rule gives shape", lambda: doubled(lambda g: g[:, :2]).backward(X), ValueError,
     ["double", "'x'", "(2, 2)", "(2, 3)"]),
    ("rule on arrays only", lambda: doubled(lambda g: g.data).backward(X, create_graph=True),
     TypeError, ["double", "'x'", "array"]),
    ("list of recorded", lambda: X * [[R.sum(), 1.0, 2.0]], TypeError, ["multiply", "stack"]),
    # checks
    ("gradcheck order", lambda: gradcheck(nn.exp, [1.0], 0), ValueError, ["order", "0"]),
    ("gradcheck inputs", lambda: gradcheck(nn.exp, [1]), ValueError, ["inputs", "int64"]),
    ("gradcheck wrt", lambda: gradcheck(nn.add, [1.0, 1], wrt=[1]), TypeError, ["inputs[1]"]),
    ("gradcheck output", lambda: gradcheck(nn.argmax, [[1.0]]), TypeError, ["output 0", "int64"]),
]  # fmt: skip

NAMES = [row[0] for row in WRONG]


@pytest.mark.parametrize("row", WRONG, ids=NAMES)
def test_wrong_call(row: tuple[str, Call, type[Exception], list[str]]) -> None:
    _, call, kind, fragments = row
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert [f for f in fragments if f not in message] == [], message
    assert "operands could not be broadcast" not in message


def test_rows_have_names_of_their_own() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 60


def test_nothing_was_changed() -> None:
    """Wrong calls leave the Tensors that they were made with alone."""
    assert (X.numpy() == 1).all()
    assert not R.has_grad
    assert INTS.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("left", [None, "a"])
def test_nothing_equals_what_is_not_a_number(left: Any) -> None:
    assert (left == X) is False
    assert (left != X) is True
