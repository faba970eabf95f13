"""The argument checks that all packages share: what passes, what is refused, and the message."""

from __future__ import annotations

import inspect
import math
import pickle
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypedDict, Unpack

import nn_tensor as nn
import numpy as np
import pytest
from nn_tensor.extend import (
    check_bool,
    check_choice,
    check_floating_dtype,
    check_integer,
    check_number,
    check_probability,
    check_shape,
    keyword_only,
)

HUGE = 10**400  # beyond the range of float


class Index:
    """An integer of another library."""

    def __index__(self) -> int:
        return 3

    def __repr__(self) -> str:  # the id of a test must be the same in every process
        return "Index()"


INTEGER_TYPES = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
NOT_INTEGERS = (1.0, 1.5, np.float32(1), np.array(1.0), math.nan, math.inf, Fraction(1), Decimal(1))
BOOLEANS = (True, False, np.True_, np.False_, np.array(True))
OTHERS = ("1", b"1", None, [1], (1,), {}, int, object)
FLOAT_TYPES = (np.float16, np.float32, np.float64, np.longdouble)


# --- check_integer ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, value) for value in (3, 0, -3, HUGE)),
        *((value, 3) for value in (Index(), np.array(3), *(kind(3) for kind in INTEGER_TYPES))),
    ],
    ids=repr,
)
def test_check_integer_returns_an_int(value: Any, expected: int) -> None:
    found = check_integer("n", value)
    assert found == expected
    assert type(found) is int


@pytest.mark.parametrize(
    "value",
    [*NOT_INTEGERS, *BOOLEANS, *OTHERS, np.array([1])],
    ids=repr,
)
def test_check_integer_refuses_other_types(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        check_integer("n", value)
    assert str(caught.value) == f"n: expected an integer, got {value!r}"


@pytest.mark.parametrize(
    ("value", "bounds", "expected"),
    [
        (0, {"minimum": 1}, "n: expected an integer >= 1, got 0"),
        (-HUGE, {"minimum": 0}, f"n: expected an integer >= 0, got {-HUGE}"),
        (4, {"maximum": 3}, "n: expected an integer <= 3, got 4"),
        (4, {"minimum": 1, "maximum": 3}, "n: expected an integer >= 1 and <= 3, got 4"),
        (np.int8(-1), {"minimum": 0}, "n: expected an integer >= 0, got np.int8(-1)"),
        (np.uint64(2**63), {"maximum": 5}, f"n: expected an integer <= 5, got np.uint64({2**63})"),
    ],
    ids=str,
)
def test_check_integer_refuses_values_out_of_range(
    value: Any, bounds: dict[str, int], expected: str
) -> None:
    with pytest.raises(ValueError, match="n: expected") as caught:
        check_integer("n", value, **bounds)
    assert str(caught.value) == expected


def test_check_integer_includes_its_bounds() -> None:
    assert [check_integer("n", n, 1, 3) for n in (1, 2, 3)] == [1, 2, 3]
    assert check_integer("n", -1, maximum=-1) == check_integer("n", -1, minimum=-1) == -1


def test_check_integer_names_the_range_for_a_wrong_type() -> None:
    with pytest.raises(TypeError, match=r"^kernel_size: expected an integer >= 1, got 2\.0$"):
        check_integer("kernel_size", 2.0, 1)


# --- check_number and check_probability ---------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, value) for value in (3, 0.5, -0.0, 5e-324, Fraction(1, 2))),
        *((kind(3), 3.0) for kind in INTEGER_TYPES),
        *((kind(0.5), 0.5) for kind in FLOAT_TYPES),
    ],
    ids=repr,
)
def test_check_number_returns_a_float(value: Any, expected: float) -> None:
    found = check_number("lr", value)
    assert found == expected
    assert type(found) is float


@pytest.mark.parametrize(
    "value",
    [*BOOLEANS, *OTHERS, 1j, np.complex64(1), Decimal("0.5"), np.array([0.5])],
    ids=repr,
)
def test_check_number_refuses_other_types(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        check_number("lr", value)
    assert str(caught.value) == f"lr: expected a finite number, got {value!r}"


NOT_FINITE = [math.inf, -math.inf, np.float16(np.inf), np.float32(-np.inf), HUGE, -HUGE]
NAN = [math.nan, np.float16(np.nan), np.float32(np.nan), np.float64(np.nan), np.longdouble("nan")]


@pytest.mark.parametrize(
    "value", NOT_FINITE + NAN + [Fraction(HUGE), np.longdouble("inf")], ids=str
)
def test_check_number_refuses_what_is_not_finite(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^lr: expected a finite number >= 0, got "):
        check_number("lr", value, 0)


@pytest.mark.parametrize("value", NAN, ids=repr)
def test_check_number_refuses_nan_even_where_infinity_is_allowed(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^clip: expected a number, got "):
        check_number("clip", value, allow_infinite=True)


def test_check_number_allows_infinity_where_it_is_in_the_range() -> None:
    assert check_number("clip", math.inf, 0, allow_infinite=True) == math.inf
    assert check_number("clip", np.float32(np.inf), above=0, allow_infinite=True) == math.inf
    assert check_number("clip", -math.inf, maximum=0, allow_infinite=True) == -math.inf
    with pytest.raises(ValueError, match=r"^clip: expected a number >= 0, got -inf$"):
        check_number("clip", -math.inf, 0, allow_infinite=True)
    with pytest.raises(ValueError, match=r"^clip: expected a number < 1, got inf$"):
        check_number("clip", math.inf, below=1, allow_infinite=True)


@pytest.mark.parametrize("value", NAN, ids=repr)
def test_check_number_allows_nan_where_it_is_asked_to(value: Any) -> None:
    found = check_number("x", value, 0, 1, allow_nan=True)
    assert type(found) is float
    assert math.isnan(found)
    for wrong in (2, -1, math.inf):
        message = "x: expected a finite number >= 0 and <= 1 or NaN, got "
        with pytest.raises(ValueError, match=f"^{message}{wrong}$"):
            check_number("x", wrong, 0, 1, allow_nan=True)


BOUNDS: list[tuple[dict[str, float], list[float], list[float], str]] = [
    ({"minimum": 0}, [0, 1e300], [-5e-324, -1], "a finite number >= 0"),
    ({"maximum": 1}, [1, -1e300], [1 + 1e-15, 2], "a finite number <= 1"),
    ({"above": 0}, [5e-324, 1], [0, -0.0, -1], "a finite number > 0"),
    ({"below": 1}, [1 - 1e-15, -1], [1, 2], "a finite number < 1"),
    ({"minimum": 0, "below": 1}, [0, 0.5], [-1, 1], "a finite number >= 0 and < 1"),
    ({"above": 0, "maximum": 1}, [0.5, 1], [0, 2], "a finite number > 0 and <= 1"),
    ({"minimum": 0.5, "maximum": 1.5}, [0.5, 1.5], [0, 2], "a finite number >= 0.5 and <= 1.5"),
]


@pytest.mark.parametrize(("bounds", "inside", "outside", "expected"), BOUNDS, ids=lambda x: str(x))
def test_check_number_bounds(
    bounds: dict[str, float], inside: list[float], outside: list[float], expected: str
) -> None:
    for value in inside:
        assert check_number("x", value, **bounds) == value
    for value in outside:
        with pytest.raises(ValueError, match=r"^x: expected") as caught:
            check_number("x", value, **bounds)
        assert str(caught.value) == f"x: expected {expected}, got {value!r}"


@pytest.mark.parametrize(
    "value", [0, 1, 0.5, 0.0, 1.0, np.float32(0.5), np.int64(1), -0.0], ids=repr
)
def test_check_probability_accepts_0_to_1(value: Any) -> None:
    found = check_probability("p", value)
    assert type(found) is float
    assert found == float(value)


@pytest.mark.parametrize("value", [-5e-324, 1 + 1e-15, 2, -1, math.nan, math.inf, HUGE], ids=str)
def test_check_probability_refuses_values_outside(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^p: expected a finite number >= 0 and <= 1, got "):
        check_probability("p", value)


@pytest.mark.parametrize("value", [True, np.False_, "0.5", None, [0.5], 0.5j], ids=repr)
def test_check_probability_refuses_other_types(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^p: expected a finite number >= 0 and <= 1, got "):
        check_probability("p", value)


# --- check_bool and check_choice ----------------------------------------------------------------


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_], ids=repr)
def test_check_bool_returns_a_bool(value: Any) -> None:
    found = check_bool("bias", value)
    assert type(found) is bool
    assert found == value


@pytest.mark.parametrize(
    "value",
    [0, 1, 1.0, np.int64(1), "True", None, [], [True], np.array([True]), math.nan],
    ids=repr,
)
def test_check_bool_refuses_other_types(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        check_bool("bias", value)
    assert str(caught.value) == f"bias: expected True or False, got {value!r}"


@pytest.mark.parametrize("choices", [("mean", "sum"), ["mean", "sum"], {"mean": 1, "sum": 2}])
def test_check_choice_takes_any_collection(choices: Any) -> None:
    assert check_choice("reduction", "sum", choices) == "sum"
    assert check_choice("reduction", "sum", iter(choices)) == "sum"
    with pytest.raises(ValueError, match=r"^reduction: expected one of 'mean', 'sum', got 'max'$"):
        check_choice("reduction", "max", iter(choices))


@pytest.mark.parametrize(
    "value",
    ["Mean", "mean ", "", "m", b"mean", None, 0, True, math.nan, ["mean"], np.array(["mean"])],
    ids=repr,
)
def test_check_choice_refuses_everything_else(value: Any) -> None:
    with pytest.raises(ValueError, match="reduction") as caught:
        check_choice("reduction", value, ("mean", "sum"))
    assert str(caught.value) == f"reduction: expected one of 'mean', 'sum', got {value!r}"


# --- check_shape --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, (3,)),
        ((), ()),
        ([], ()),
        ((2, 3), (2, 3)),
        ([2, 3], (2, 3)),
        (np.int64(3), (3,)),
        ((np.uint8(2), Index()), (2, 3)),
        (np.zeros((4, 0)).shape, (4, 0)),
        (0, (0,)),
    ],
    ids=repr,
)
def test_check_shape_returns_a_tuple_of_ints(value: Any, expected: tuple[int, ...]) -> None:
    found = check_shape("shape", value)
    assert found == expected
    assert type(found) is tuple
    assert all(type(size) is int for size in found)


@pytest.mark.parametrize(
    "value",
    [*NOT_INTEGERS, *((size,) for size in NOT_INTEGERS), *BOOLEANS, (2, True), (2, np.True_)],
    ids=repr,
)
def test_check_shape_refuses_sizes_that_are_not_integers(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        check_shape("shape", value)
    expected = f"shape: expected sizes >= 0, one or a tuple of them, got {value!r}"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    "value",
    ["23", None, {2, 3}, {}, (2, None), [[2]], ((2,),), ("2",), int, np.array([2, 3])],
    ids=repr,
)
def test_check_shape_refuses_other_types(value: Any) -> None:
    with pytest.raises(
        TypeError, match=r"^shape: expected sizes >= 0, one or a tuple of them, got "
    ):
        check_shape("shape", value)


@pytest.mark.parametrize("value", [-1, (2, -1), [0, -(2**70)]], ids=repr)
def test_check_shape_refuses_negative_sizes(value: Any) -> None:
    with pytest.raises(ValueError, match="shape") as caught:
        check_shape("shape", value)
    expected = f"shape: expected sizes >= 0, one or a tuple of them, got {value!r}"
    assert str(caught.value) == expected


def test_check_shape_minimum() -> None:
    assert check_shape("kernel_size", (1, 2), 1) == (1, 2)
    with pytest.raises(ValueError, match=r"^kernel_size: expected sizes >= 1, .* got \(0, 2\)$"):
        check_shape("kernel_size", (0, 2), 1)


# --- check_floating_dtype -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float, np.float32),
        (np.float16, np.float16),
        ("float64", np.float64),
        ("np.float32", np.float32),
        ("<class 'numpy.float64'>", np.float64),
        (np.dtype(">f4"), np.float32),
        ("f2", np.float16),
    ],
    ids=str,
)
def test_check_floating_dtype_returns_a_native_dtype(value: Any, expected: Any) -> None:
    found = check_floating_dtype("dtype", value)
    assert found == np.dtype(expected)
    assert found.isnative


@pytest.mark.parametrize("value", [int, bool, np.int64, "int8", "uint8", "bool", complex, "c8"])
def test_check_floating_dtype_refuses_other_dtypes(value: Any) -> None:
    expected = f"^dtype: expected a floating dtype, got {np.dtype(value)}$"
    with pytest.raises(TypeError, match=expected):
        check_floating_dtype("dtype", value)


@pytest.mark.parametrize(
    "value", [None, "float31", "", object, str, "U5", "M8[s]", 3, math.nan, [1]]
)
def test_check_floating_dtype_refuses_what_is_not_a_dtype(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^dtype: expected "):
        check_floating_dtype("dtype", value)


def test_check_floating_dtype_names_the_argument() -> None:
    for value in ("int8", "float31", None, object):
        with pytest.raises(TypeError, match=r"^state_dtype: expected "):
            check_floating_dtype("state_dtype", value)


# --- keyword_only -------------------------------------------------------------------------------


class Layer:
    """A class with a constructor, a method and functions whose options are keyword-only."""

    @keyword_only
    def __init__(self, size: int, stride: int = 1, *, bias: bool = True, name: str = "a") -> None:
        """Make one."""
        self.values = (size, stride, bias, name)

    @keyword_only
    def resize(self, size: int, *, mode: str = "nearest") -> tuple[int, str]:
        """Return the arguments."""
        return size, mode

    @classmethod
    @keyword_only
    def build(cls, size: int, *, bias: bool = True) -> Layer:
        """Make one by another way."""
        return cls(size, bias=bias)

    @staticmethod
    @keyword_only
    def parse(text: str, *, strict: bool = True) -> tuple[str, bool]:
        """Return the arguments."""
        return text, strict


class Derived(Layer):
    """A class that inherits the constructor."""


@keyword_only
def scale(x: float, /, factor: float = 2.0, *, offset: float = 0.0, power: float = 1.0) -> float:
    """Return a function of `x`."""
    return (x * factor + offset) ** power


@keyword_only
def options_alone(*, mode: str = "a") -> str:
    """Return the option."""
    return mode


@keyword_only
def variadic(*values: int, total: bool = False) -> Any:
    """Return the arguments."""
    return values, total


def test_keyword_only_leaves_right_calls_alone() -> None:
    assert Layer(3).values == (3, 1, True, "a")
    assert Layer(3, 2, bias=False).values == (3, 2, False, "a")
    assert Layer(size=3, stride=4, name="b").values == (3, 4, True, "b")
    assert Derived(5).values == (5, 1, True, "a")
    assert Layer(1).resize(2, mode="linear") == (2, "linear")
    assert Layer.build(4, bias=False).values == (4, 1, False, "a")
    assert Layer.parse("x", strict=False) == ("x", False)
    assert scale(3.0, 1.0, offset=1.0) == 4.0
    assert options_alone(mode="b") == "b"
    assert variadic(1, 2, 3, total=True) == ((1, 2, 3), True)


SURPLUS: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: Layer(3, 1, False),  # type: ignore[misc]
        "Layer takes 2 positional arguments (size, stride): give bias=False by name",
    ),
    (
        lambda: Layer(3, 1, False, "b"),  # type: ignore[misc]
        "Layer takes 2 positional arguments (size, stride): give bias=False, name='b' by name",
    ),
    (
        lambda: Layer(3, 1, "b", bias=True),  # type: ignore[misc]
        "Layer takes 2 positional arguments (size, stride): give name='b' by name",
    ),
    (
        lambda: Layer(3, 1, False, "b", 5),  # type: ignore[misc]
        "Layer takes 2 positional arguments (size, stride), got 5",
    ),
    (
        lambda: Derived(3, 1, False),  # type: ignore[misc]
        "Derived takes 2 positional arguments (size, stride): give bias=False by name",
    ),
    (
        lambda: Layer(1).resize(2, "linear"),  # type: ignore[misc]
        "Layer.resize takes 1 positional argument (size): give mode='linear' by name",
    ),
    (
        lambda: Derived(1).resize(2, "linear"),  # type: ignore[misc]
        "Derived.resize takes 1 positional argument (size): give mode='linear' by name",
    ),
    (
        lambda: Layer.build(4, False),  # type: ignore[misc]
        "Layer.build takes 1 positional argument (size): give bias=False by name",
    ),
    (
        lambda: Derived.build(4, False),  # type: ignore[misc]
        "Derived.build takes 1 positional argument (size): give bias=False by name",
    ),
    (
        lambda: Layer.parse("x", False),  # type: ignore[misc]
        "parse takes 1 positional argument (text): give strict=False by name",
    ),
    (
        lambda: scale(3.0, 1.0, 5.0),  # type: ignore[misc]
        "scale takes 2 positional arguments (x, factor): give offset=5.0 by name",
    ),
    (
        lambda: options_alone("b"),  # type: ignore[misc]
        "options_alone takes 0 positional arguments: give mode='b' by name",
    ),
    (
        lambda: options_alone(np.zeros((3, 4))),  # type: ignore[misc]
        "options_alone takes 0 positional arguments: give mode=float64 (3, 4) by name",
    ),
]


@pytest.mark.parametrize(("call", "expected"), SURPLUS, ids=[message for _, message in SURPLUS])
def test_keyword_only_names_the_option_that_was_meant(
    call: Callable[[], Any], expected: str
) -> None:
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == expected


def test_keyword_only_leaves_other_mistakes_to_python() -> None:
    with pytest.raises(TypeError, match=r"Layer.__init__\(\) missing 1 required .*'size'"):
        Layer()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'biased'"):
        Layer(3, biased=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"multiple values for argument 'size'"):
        Layer(3, size=3)  # type: ignore[misc]
    with pytest.raises(TypeError, match="positional-only"):
        scale(x=3.0)  # type: ignore[call-arg]


def test_keyword_only_does_not_call_the_function_of_a_wrong_call() -> None:
    calls: list[int] = []

    @keyword_only
    def function(x: int, *, y: int = 0) -> None:
        calls.append(x)

    with pytest.raises(TypeError, match="give y=2 by name"):
        function(1, 2)  # type: ignore[misc]
    assert calls == []
    function(1)
    assert calls == [1]


def test_keyword_only_keeps_signature_and_documentation() -> None:
    assert list(inspect.signature(Layer).parameters) == ["size", "stride", "bias", "name"]
    signature = inspect.signature(scale)
    assert str(signature.replace(return_annotation=signature.empty)).startswith("(x: 'float', /,")
    assert signature.parameters["offset"].kind is inspect.Parameter.KEYWORD_ONLY
    assert scale.__doc__ == "Return a function of `x`."
    assert scale.__name__ == "scale"
    assert Layer.__init__.__qualname__ == "Layer.__init__"
    assert Layer.resize.__module__ == __name__
    assert scale.__annotations__["factor"] == "float"


def test_keyword_only_passes_errors_of_the_function_on() -> None:
    @keyword_only
    def function(x: int, *, y: int = 0) -> None:
        raise TypeError("its own")

    with pytest.raises(TypeError, match=r"^its own$"):
        function(1)


def test_checked_values_are_plain() -> None:
    values = [
        check_integer("n", np.int64(2)),
        check_number("x", np.float32(2)),
        check_bool("b", True),
    ]
    assert pickle.loads(pickle.dumps(values)) == [2, 2.0, True]
    assert b"numpy" not in pickle.dumps(values)


def test_checks_refuse_tensors() -> None:
    for check in (check_number, check_bool, check_integer):
        with pytest.raises(TypeError, match=r"^x: expected "):
            check("x", nn.Tensor([0.5]))


class Options(TypedDict, total=False):
    """Options that several classes share."""

    dropout: float
    bias: bool


class Block(Layer):
    """A class with options of its own and shared ones."""

    @keyword_only
    def __init__(self, size: int, *, name: str = "", **options: Unpack[Options]) -> None:
        """Make one."""
        self.arguments = size, name, options


@keyword_only
def anything(size: int, **options: Any) -> dict[str, Any]:
    """Return the options, whatever they are called."""
    return options


def test_keyword_only_leaves_right_options_of_a_typed_dict_alone() -> None:
    assert Block(3, name="a", dropout=0.5).arguments == (3, "a", {"dropout": 0.5})
    assert Block(size=3).arguments == (3, "", {})
    assert anything(1, a=2) == {"a": 2}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Block(3, 0.5),
            "Block takes 1 positional argument (size): give dropout=0.5 by name",
        ),
        (
            lambda: Block(3, 0.5, False),
            "Block takes 1 positional argument (size): give dropout=0.5, bias=False by name",
        ),
        (lambda: Block(3, dropuot=0.1), "Block has no option 'dropuot', did you mean 'dropout'?"),
        (lambda: Block(3, quux=1), "Block has no option 'quux'"),
        (lambda: anything(1, 2), "anything takes 1 positional argument (size), got 2"),
    ],
)
def test_keyword_only_names_options_of_a_typed_dict(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == message
