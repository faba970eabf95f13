"""Elementwise calls of NumPy compiled to one function: its bits are NumPy's."""

import ctypes
import functools
from types import SimpleNamespace

import numpy as np
import pytest
from nn_kernels import _ufunc_loops, elementwise
from nn_kernels._ufunc_loops import ufunc_loop
from nn_kernels.elementwise import compile_steps, is_elementwise

SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-40, -1e-40, 1e30, -1e30, 1.0, -1.0, 88.8, -104.0]
LEFT_TO_NUMPY = [
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "cbrt", "ceil", "cos", "cosh",
    "exp", "exp2", "expm1", "floor", "log", "log10", "log1p", "log2", "reciprocal", "rint", "sign",
    "sin", "sinh", "tan", "tanh", "trunc",
]  # fmt: skip
UNARY = ["absolute", "negative", "positive", "sqrt", "square"]
BINARY = ["add", "subtract", "multiply", "true_divide"]
COMPARISONS = ["greater", "less", "greater_equal", "less_equal", "equal", "not_equal"]

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


class Recorder:
    """Calls NumPy and remembers the calls."""

    def __init__(self):
        self.steps = []

    def __call__(self, function, *operands):
        result = function(*operands)
        self.steps.append(
            SimpleNamespace(function=function, operands=operands, options={}, result=result)
        )
        return result


def values(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(dtype)
    x.reshape(-1)[: len(SPECIAL)] = SPECIAL[: x.size]
    return x


def check(steps, outputs):
    assert all(map(is_elementwise, steps))
    arrays, function = compile_steps(steps, outputs)
    found = [np.empty_like(x) for x in outputs]
    function(*arrays, *found)
    for a, b in zip(found, outputs, strict=True):
        np.testing.assert_array_equal(a, b)  # NaN has no sign
        known = ~np.isnan(b)
        assert a[known].tobytes() == b[known].tobytes()
    return arrays


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LEFT_TO_NUMPY)
def test_numpys_own_loops_between_others(name, dtype):
    call, ufunc = Recorder(), getattr(np, name)
    for shape in ((1,), (3, 5), (2, 129), (1000,)):
        call.steps.clear()
        x = values(shape, dtype)
        y = call(ufunc, x)
        z = call(np.multiply, y, x)
        w = call(ufunc, z)
        check(call.steps, [w])
        check(call.steps, [y, z, w])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY + BINARY + COMPARISONS)
def test_loops(name, dtype):
    call, ufunc = Recorder(), getattr(np, name)
    x, y = values((7, 13), dtype), values((7, 13), dtype, 1)[::-1].copy()
    first = call(np.multiply, x, dtype(1.5))
    second = call(ufunc, *(first, y)[: ufunc.nin])
    third = call(np.where, second, x, y) if name in COMPARISONS else call(np.add, second, x)
    check(call.steps, [third])
    check(call.steps, [first, second, third])


def test_results_that_later_stages_use_stand_in_memory_of_their_own():
    """As the logistic function, whose exponential is read twice after it was computed."""
    call, x = Recorder(), values((50,), np.float32)
    small = call(np.exp, call(np.negative, call(np.absolute, x)))
    above = call(np.where, call(np.greater_equal, x, 0.0), 1.0 + 0 * x, small)
    whole = call(np.add, small, 1.0)
    result = call(np.true_divide, above, whole)
    check(call.steps, [result])
    check(call.steps, [small, result])
    # read by a loop of NumPy's and by another call: not written over
    call.steps.clear()
    y = call(np.square, x)
    z = call(np.sin, y)
    call(np.subtract, z, y)
    w = call(np.cos, call(np.sin, z))
    check(call.steps, [call.steps[2].result, w])


def test_results_that_nobody_uses():
    call, x = Recorder(), values((50,), np.float32)
    call(np.exp, call(np.negative, x))
    call(np.square, x)
    check(call.steps, [call(np.tanh, call(np.multiply, x, 2.0))])


def test_arrays_that_are_broadcast():
    call, x, row, column = Recorder(), values((6, 9), np.float32), values(9, np.float32), None
    column = values((6, 1), np.float32)
    y = call(np.add, x, row)
    z = call(np.tanh, y)
    w = call(np.multiply, z, column)
    v = call(np.add, w, values((), np.float32))
    assert len(check(call.steps, [v])) == 4


# Shapes of a result and of what is repeated in it, with 2^16 elements and more.
SHARED = [
    ((131_072,), ()),
    ((17, 3, 2600), (2600,)),
    ((17, 3, 2600), (17, 3, 1)),
    ((17, 3, 2600), (3, 2600)),
    ((17, 3, 2600), (17, 1, 1)),
    ((363, 363), (363, 1)),
    ((363, 363), (1, 363)),
    ((1, 200_001), (1,)),
]
REPEATED_IN_THE_MIDDLE = (4, 64, 513), (1, 64, 1)


@pytest.mark.parametrize(("shape", "repeated"), [*SHARED, REPEATED_IN_THE_MIDDLE])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_arrays(shape, repeated, dtype):
    call, x, y = Recorder(), values(shape, dtype), values(shape, dtype, 1)
    z = call(np.multiply, call(np.add, x, values(repeated, dtype, 2)), 0.5)
    chosen = call(np.where, call(np.greater, y, 0.0), z, y)
    check(call.steps, [chosen])
    check(call.steps, [z, chosen])
    call.steps.clear()
    if (shape, repeated) != REPEATED_IN_THE_MIDDLE:
        check(call.steps, [call(np.add, values(repeated, dtype), x)])


def test_large_arrays_in_another_order():
    call, x = Recorder(), values((300, 500), np.float32)
    check(call.steps, [call(np.add, call(np.add, x, x.copy()), np.asfortranarray(x))])


def test_large_arrays_whose_layout_changes_later():
    call, x = Recorder(), values((300, 500), np.float32)
    y = call(np.add, x, 1.0)
    _, function = compile_steps(call.steps, [y])
    other = values((300, 500), np.float32, 1)
    function(np.asfortranarray(other), y)
    np.testing.assert_array_equal(y, other + np.float32(1))


def test_large_arrays_are_compiled_once_for_all_sizes_and_numbers(monkeypatch):
    texts, compile_job = set(), elementwise.compile_job

    def remember(text):
        texts.add(text)
        return compile_job(text)

    monkeypatch.setattr(elementwise, "compile_job", remember)
    for shape, number in (((300, 500), 0.1), ((301, 500), 3), ((7, 8, 9000), np.float32(-0.0))):
        call, x = Recorder(), values(shape, np.float32)
        check(call.steps, [call(np.multiply, x, number)])
    assert len(texts) == 1


def test_comparisons_of_large_arrays():
    call, x = Recorder(), values((300, 500), np.float32)
    check(call.steps, [call(np.less, call(np.add, x, 1.0), 0.5)])


def test_a_single_call_of_small_arrays_is_left_to_numpy():
    call, x = Recorder(), values((300,), np.float32)
    assert compile_steps(call.steps, [call(np.add, x, 1.0)]) is None


def test_what_is_left_alone():
    x = np.ones((4, 6), np.float32)

    def alone(function, *operands, **options):
        result = function(*operands, **options)
        step = SimpleNamespace(function=function, operands=operands, options=options, result=result)
        return not is_elementwise(step)

    assert not alone(np.exp, x)
    assert alone(np.exp, x.T)  # a result in another order
    assert alone(np.exp, np.ones((4, 12), np.float32)[:, ::2])
    assert alone(np.exp, np.ones((4, 6), np.float16))
    assert alone(np.exp, np.ones((4, 6), int))
    assert alone(np.exp, x, dtype=np.float64)
    assert alone(np.exp, np.ones(1 << 15, np.float32))  # the call is a small part of its time
    assert alone(np.add, x, np.ones((4, 6)))  # two dtypes
    assert alone(np.add, x, np.inf)
    assert alone(np.power, x, x)
    assert alone(np.sum, x, axis=0)
    assert alone(np.exp, np.ones((0, 3), np.float32))
    assert alone(np.exp, np.float32(1))
    assert alone(x.copy)


def test_a_ufunc_with_another_layout_in_memory_is_not_trusted(monkeypatch):
    fresh = ufunc_loop.__wrapped__
    dtype = np.dtype(np.float32)
    assert fresh(np.tanh, dtype)
    shifted = [("before", ctypes.c_int), *_ufunc_loops._Head._fields_]
    other = type("_Shifted", (ctypes.Structure,), {"_fields_": shifted})
    monkeypatch.setattr(_ufunc_loops, "_Head", other)
    assert fresh(np.tanh, dtype) is None


def test_a_loop_with_other_bits_is_not_trusted(monkeypatch):
    """As if NumPy called another loop than that which is in its table."""
    wrong = functools.partial(np.multiply, np.float32(1 + 1e-6))
    monkeypatch.setattr(_ufunc_loops, "_call", lambda f, d, x, out: wrong(x, out=out))
    assert ufunc_loop.__wrapped__(np.tanh, np.dtype(np.float32)) is None


def test_a_loop_with_other_bits_in_place_is_not_trusted(monkeypatch):
    def run(function, data, x, out):
        np.tanh(x, out=out)
        if out is x:
            out *= np.float32(1 + 1e-6)

    monkeypatch.setattr(_ufunc_loops, "_call", run)
    assert ufunc_loop.__wrapped__(np.tanh, np.dtype(np.float32)) is None
