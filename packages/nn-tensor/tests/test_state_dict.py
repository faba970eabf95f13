"""State dicts: a reader that collects all that is wrong before anything is written."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor
from nn_tensor.extend import (
    FORMAT_VERSION,
    METADATA_KEY,
    StateDictReader,
    check_integer,
    check_number,
    write_array,
)

F32 = np.dtype(np.float32)


def problems_of(state: Mapping[Any, Any], *wanted: tuple[str, tuple[int, ...], Any]) -> list[str]:
    """Return the lines of the error for a state of which the arrays `wanted` are read."""
    reader = StateDictReader(state, "Net.load_state_dict")
    for key, shape, dtype in wanted:
        reader.array(key, shape, dtype)
    try:
        reader.finish()
    except ValueError as error:
        head, *lines = str(error).split("\n  ")
        assert head == "Net.load_state_dict: the state does not fit, nothing was changed"
        return lines
    return []


# --- what is read -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
def test_a_reader_takes_any_mapping_and_leaves_it_as_it_is(kind: Callable[[Any], Any]) -> None:
    state = kind({"w": np.ones(2, F32), METADATA_KEY: {"class": "Net", "format_version": 1}})
    reader = StateDictReader(state, "Net")
    assert reader.metadata == {"class": "Net", "format_version": 1}
    np.testing.assert_array_equal(reader.array("w", (2,), F32), [1, 1])
    reader.finish()
    assert list(state) == ["w", METADATA_KEY]


@pytest.mark.parametrize("state", [None, 3, "w", ["w"], [("w", 1)], np.ones(2), Tensor([1.0])])
def test_a_reader_refuses_what_is_not_a_mapping(state: Any) -> None:
    with pytest.raises(TypeError, match=r"^state: expected a dict from key to array, got "):
        StateDictReader(state, "Net")


@pytest.mark.parametrize("metadata", [None, 3, "text", ["format_version"], np.ones(2)])
def test_metadata_that_is_not_a_mapping_reads_as_empty(metadata: Any) -> None:
    reader = StateDictReader({METADATA_KEY: metadata}, "Net")
    assert reader.metadata == {}
    reader.finish()


def test_an_empty_state_fits_when_nothing_is_read() -> None:
    assert problems_of({}) == []
    assert problems_of({METADATA_KEY: {}}) == []


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "given", [np.float16, np.float32, np.float64, np.int8, np.uint64, np.bool_]
)
def test_arrays_convert_to_the_dtype_that_is_asked_for(given: Any, dtype: Any) -> None:
    array = np.array([[0, 1], [1, 0]], given)
    reader = StateDictReader({"w": array}, "Net")
    found = reader.array("w", (2, 2), dtype)
    reader.finish()
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


LAYOUTS: dict[str, Any] = {
    "transposed": np.arange(6, dtype=F32).reshape(3, 2).T,
    "strided": np.arange(12, dtype=F32).reshape(2, 6)[:, ::2],
    "big-endian": np.arange(6, dtype=">f4").reshape(2, 3),
    "read-only": np.broadcast_to(F32.type(1), (2, 3)),
    "nested lists": [[0, 1, 2], [3, 4, 5]],
    "Tensor": Tensor(np.arange(6, dtype=F32).reshape(2, 3)),
    "trained Tensor": Tensor(np.arange(6, dtype=F32).reshape(2, 3), requires_grad=True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_are_contiguous_native_copies(layout: str) -> None:
    value = LAYOUTS[layout]
    reader = StateDictReader({"w": value}, "Net")
    found = reader.array("w", (2, 3), F32)
    reader.finish()
    assert type(found) is np.ndarray
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert found.dtype.isnative
    source = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    assert not np.shares_memory(found, source)
    np.testing.assert_array_equal(found, source)


@pytest.mark.parametrize("value", [2.5, np.float64(2.5), np.array(2.5), Tensor(2.5)], ids=repr)
def test_scalars_are_arrays_without_dimensions(value: Any) -> None:
    reader = StateDictReader({"x": value}, "Net")
    found = reader.array("x", (), F32)
    reader.finish()
    assert found.shape == ()
    assert found == 2.5


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3, 1)])
def test_empty_arrays_fit(shape: tuple[int, ...]) -> None:
    assert problems_of({"w": np.zeros(shape)}, ("w", shape, F32)) == []


def test_arrays_on_a_device_are_read_to_the_host(device: str) -> None:
    weights = Tensor(np.arange(3, dtype=F32), device=device)
    for value in (weights, weights.data):
        reader = StateDictReader({"w": value}, "Net")
        found = reader.array("w", (3,), F32)
        reader.finish()
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, [0, 1, 2])


def test_tensors_of_pytorch_are_read() -> None:
    torch = pytest.importorskip("torch")
    reader = StateDictReader({"w": torch.ones(2, 3), "trained": torch.nn.Linear(2, 1).bias}, "Net")
    np.testing.assert_array_equal(reader.array("w", (2, 3), F32), np.ones((2, 3)))
    reader.array("trained", (1,), F32)
    with pytest.raises(ValueError, match=r"trained: expected numbers, got torch\.float32"):
        reader.finish()


def test_nan_and_infinity_are_values() -> None:
    reader = StateDictReader({"w": np.array([math.nan, math.inf, -math.inf])}, "Net")
    found = reader.array("w", (3,), np.float16)
    reader.finish()
    np.testing.assert_array_equal(found, [math.nan, math.inf, -math.inf])


def test_precision_may_be_lost_but_not_the_range() -> None:
    state = {"w": np.array([1 / 3, 1e-50, 65504])}
    reader = StateDictReader(state, "Net")
    found = reader.array("w", (3,), np.float16)
    reader.finish()
    np.testing.assert_array_equal(found, np.float16(state["w"]))


# --- what is refused ----------------------------------------------------------------------------


def test_missing_keys() -> None:
    assert problems_of({}, ("w", (2, 3), F32), ("b", (), F32)) == [
        "missing: w, shape (2, 3)",
        "missing: b, shape ()",
    ]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("v", np.ones((2, 1)), "unexpected: v, float64 (2, 1)"),
        ("v", 3, "unexpected: v, 3"),
        ("v", None, "unexpected: v, None"),
        ("v", Tensor([1.0]), "unexpected: v, float32 (1,)"),
        (7, np.ones(2), "unexpected: 7, float64 (2,)"),
        (("a", 1), "x" * 99, f"unexpected: ('a', 1), '{'x' * 56}..."),
    ],
    ids=str,
)
def test_unexpected_keys(key: Any, value: Any, expected: str) -> None:
    assert problems_of({"w": np.ones(2), key: value}, ("w", (2,), F32)) == [expected]


def test_unread_keys_are_unexpected_whatever_they_hold() -> None:
    assert problems_of({"a": object, "b": "text"}) == [
        "unexpected: a, <class 'object'>",
        "unexpected: b, 'text'",
    ]


@pytest.mark.parametrize("shape", [(2,), (3, 2), (2, 3, 1), (), (6,), (0,)])
def test_shapes_that_differ(shape: tuple[int, ...]) -> None:
    expected = [f"w: expected shape (2, 3), got {shape}"]
    assert problems_of({"w": np.ones(shape)}, ("w", (2, 3), F32)) == expected


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (None, "None"),
        ("1.0", "'1.0'"),
        (b"1", "b'1'"),
        ({"a": 1}, "{'a': 1}"),
        ([1, "a"], "[1, 'a']"),
        ([[1], [2, 3]], "[[1], [2, 3]]"),
        (2**70, str(2**70)),
        (np.array([None]), "object (1,)"),
        (np.array(["a"]), "<U1 (1,)"),
        (np.array(["2020-01-01"], "M8[D]"), "datetime64[D] (1,)"),
        (np.zeros(1, [("a", "f4")]), "[('a', '<f4')] (1,)"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_values_that_are_not_numeric(value: Any, described: str) -> None:
    assert problems_of({"w": value}, ("w", (1,), F32)) == [f"w: expected numbers, got {described}"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (np.complex64, np.float32),
        (np.complex128, np.float64),
        (np.float32, np.int64),
        (np.float64, np.bool_),
        (np.int64, np.uint64),
        (np.int8, np.bool_),
    ],
    ids=str,
)
def test_dtypes_that_do_not_convert(given: Any, wanted: Any) -> None:
    expected = f"w: expected {np.dtype(wanted)}, got {np.dtype(given)}, which does not convert"
    assert problems_of({"w": np.ones(2, given)}, ("w", (2,), wanted)) == [expected]


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        (np.array([1.0, 1e6]), np.float16, "1000000.0 does not fit into float16"),
        (np.array([-1e39, 1.0]), np.float32, "-1e+39 does not fit into float32"),
        (np.array([1, 70_000]), np.float16, "70000 does not fit into float16"),
        (np.array([1, 300]), np.int8, "300 does not fit into int8"),
        (np.array([1, -(2**40)]), np.int32, f"{-(2**40)} does not fit into int32"),
        (np.array([0, 1e39]), np.complex64, "1e+39 does not fit into complex64"),
    ],
    ids=str,
)
def test_values_that_overflow(value: Any, wanted: Any, expected: str) -> None:
    assert problems_of({"w": value}, ("w", (2,), wanted)) == [f"w: {expected}"]
    single = [f"x: {expected}"]
    assert problems_of({"x": value[np.abs(value).argmax()]}, ("x", (), wanted)) == single


def test_real_values_become_complex() -> None:
    assert problems_of({"w": np.array([0.1, math.inf])}, ("w", (2,), np.complex64)) == []


@pytest.mark.parametrize("version", [FORMAT_VERSION, FORMAT_VERSION - 1, None, "9", 9.5])
def test_known_format_versions(version: Any) -> None:
    assert problems_of({METADATA_KEY: {"format_version": version}}) == []


def test_newer_format_versions() -> None:
    version = FORMAT_VERSION + 1
    expected = f"__metadata__: format version {version} is newer than {FORMAT_VERSION}, update"
    assert problems_of({METADATA_KEY: {"format_version": version}}) == [expected]


# --- renames ------------------------------------------------------------------------------------


def test_the_only_pair_of_a_shape_is_a_rename_whatever_the_names() -> None:
    lines = problems_of({"xyz": np.ones(2)}, ("weight", (2,), F32))
    assert lines == [
        "missing: weight, shape (2,)",
        "unexpected: xyz, float64 (2,)",
        "perhaps renamed: xyz -> weight",
    ]


def test_several_of_a_shape_are_paired_by_the_closest_name() -> None:
    state = {f"encoder.{i}.weight": np.ones(2) for i in range(3)}
    lines = problems_of(state, *((f"encoder.{i}.weights", (2,), F32) for i in (2, 0, 1)))
    assert [line for line in lines if line.startswith("perhaps")] == [
        f"perhaps renamed: encoder.{i}.weight -> encoder.{i}.weights" for i in (2, 0, 1)
    ]


def test_names_that_have_nothing_in_common_are_not_paired() -> None:
    state = {"alpha": np.ones(2), "beta": np.ones(2)}
    lines = problems_of(state, ("x.1", (2,), F32), ("x.2", (2,), F32))
    assert not [line for line in lines if line.startswith("perhaps")]


def test_only_equal_shapes_and_names_of_text_are_paired() -> None:
    lines = problems_of({"weight": np.ones(3), 5: np.ones(2)}, ("weights", (2,), F32))
    assert not [line for line in lines if line.startswith("perhaps")]


def test_a_thousand_missing_keys_are_reported_quickly() -> None:
    state = {f"old.{i}": np.ones(2) for i in range(1000)}
    lines = problems_of(state, *((f"new.{i}", (2,), F32) for i in range(1000)))
    assert len(lines) >= 2000


# --- values -------------------------------------------------------------------------------------


def read_value(value: Any, check: Callable[[Any], Any], default: Any) -> tuple[Any, list[str]]:
    """Return what is read, and what is wrong."""
    reader = StateDictReader({"v": value}, "Net")
    found = reader.value("v", check, default)
    try:
        reader.finish()
    except ValueError as error:
        return found, str(error).split("\n  ")[1:]
    return found, []


@pytest.mark.parametrize("value", [3, np.int8(3), np.array(3), Tensor(np.array(3))], ids=repr)
def test_integers(value: Any) -> None:
    found, problems = read_value(value, lambda n: check_integer("step", n, 0), 0)
    assert (found, problems) == (3, [])
    assert type(found) is int


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array(0.5), Tensor(0.5)], ids=repr)
def test_numbers(value: Any) -> None:
    found, problems = read_value(value, lambda n: check_number("lr", n, 0), 0.0)
    assert (found, problems) == (0.5, [])
    assert type(found) is float


@pytest.mark.parametrize("value", [[1, 2], (1, 2), np.array([1, 2]), np.array([1, 2], ">i2")])
def test_lists(value: Any) -> None:
    found, problems = read_value(value, list, [])
    assert (found, problems) == ([1, 2], [])
    assert all(type(n) is int for n in found)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-1, "v: step: expected an integer >= 0, got -1"),
        (1.5, "v: step: expected an integer >= 0, got 1.5"),
        (True, "v: step: expected an integer >= 0, got True"),
        (math.nan, "v: step: expected an integer >= 0, got nan"),
        ([1], "v: step: expected an integer >= 0, got [1]"),
        (None, "v: expected numbers, got None"),
        ("3", "v: expected numbers, got '3'"),
    ],
    ids=str,
)
def test_values_that_a_check_refuses(value: Any, expected: str) -> None:
    found, problems = read_value(value, lambda n: check_integer("step", n, 0), 7)
    assert found == 7
    assert problems == [expected]


def test_other_errors_of_a_check_pass() -> None:
    def fail(value: Any) -> Any:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        read_value(1, fail, 0)


def test_missing_values() -> None:
    reader = StateDictReader({}, "Net")
    assert reader.value("step", int, 5) == 5
    with pytest.raises(ValueError, match=r"\n  missing: step, shape \(\)$"):
        reader.finish()


# --- all at once --------------------------------------------------------------------------------


def test_everything_is_reported_at_once_and_nothing_is_written() -> None:
    state = {
        "shape": np.ones(3),
        "text": "abc",
        "complex": np.ones(2, np.complex64),
        "large": np.array([1e39, 0.0]),
        "step": -1,
        "old.weight": np.ones(5),
        "fine": np.full(2, 9.0),
        METADATA_KEY: {"format_version": FORMAT_VERSION + 1},
    }
    reader = StateDictReader(state, "Net.load_state_dict")
    for key in ("shape", "text", "complex", "large"):
        assert reader.array(key, (2,), F32) is None
    assert reader.array("new.weight", (5,), F32) is None
    assert reader.array("absent", (4,), F32) is None
    assert reader.value("step", lambda n: check_integer("step", n, 0), 0) == 0
    np.testing.assert_array_equal(reader.array("fine", (2,), F32), [9, 9])
    reader.problems.append("rule: Adam, not SGD")
    before = {key: np.array(value) for key, value in state.items() if key != METADATA_KEY}
    with pytest.raises(ValueError, match="nothing was changed") as caught:
        reader.finish()
    assert str(caught.value).split("\n  ") == [
        "Net.load_state_dict: the state does not fit, nothing was changed",
        "missing: new.weight, shape (5,)",
        "missing: absent, shape (4,)",
        "unexpected: old.weight, float64 (5,)",
        "perhaps renamed: old.weight -> new.weight",
        "__metadata__: format version 2 is newer than 1, update",
        "shape: expected shape (2,), got (3,)",
        "text: expected numbers, got 'abc'",
        "complex: expected float32, got complex64, which does not convert",
        "large: 1e+39 does not fit into float32",
        "step: step: expected an integer >= 0, got -1",
        "rule: Adam, not SGD",
    ]
    for key, value in before.items():
        np.testing.assert_array_equal(state[key], value)


def test_an_array_may_be_read_by_several() -> None:
    reader = StateDictReader({"tied": np.ones(2)}, "Net")
    first, second = reader.array("tied", (2,), F32), reader.array("tied", (2,), np.float64)
    reader.finish()
    first[0] = 5
    assert second[0] == 1


def test_the_caller_is_named() -> None:
    reader = StateDictReader({"w": 1}, "Dense.load_state_dict")
    assert reader.caller == "Dense.load_state_dict"
    with pytest.raises(ValueError, match=r"^Dense\.load_state_dict: the state does not fit"):
        reader.finish()


# --- write_array --------------------------------------------------------------------------------


def test_writing_keeps_memory_dtype_and_device(device: str) -> None:
    tensor = Tensor(np.zeros((2, 3), F32), device=device, requires_grad=True)
    memory = tensor.data
    write_array(tensor, np.arange(6, dtype=F32).reshape(2, 3))
    assert tensor.data is memory
    assert tensor.device == device
    assert tensor.requires_grad
    np.testing.assert_array_equal(tensor.numpy(), np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3)])
def test_writing_any_shape(shape: tuple[int, ...], device: str) -> None:
    tensor = Tensor(np.zeros(shape, F32), device=device)
    write_array(tensor, np.ones(shape, F32))
    np.testing.assert_array_equal(tensor.numpy(), np.ones(shape))


def test_writing_into_a_view_is_seen_by_its_base() -> None:
    base = np.zeros((3, 4), F32)
    tensor = Tensor(base.T[1:3])
    write_array(tensor, np.arange(6, dtype=F32).reshape(2, 3))
    np.testing.assert_array_equal(base[:, 1:3].T, np.arange(6).reshape(2, 3))


def test_read_only_memory_is_replaced_by_memory_of_its_own() -> None:
    owner = np.zeros(3, F32)
    view = owner[:]
    view.flags.writeable = False
    tensor = Tensor(view, requires_grad=True)
    array = np.arange(3, dtype=F32)
    write_array(tensor, array)
    array[0] = 9
    np.testing.assert_array_equal(tensor.numpy(), [0, 1, 2])
    np.testing.assert_array_equal(owner, [0, 0, 0])
    assert tensor.data.flags.writeable
    assert tensor.requires_grad
    write_array(tensor, np.full(3, 4, F32))
    np.testing.assert_array_equal(tensor.numpy(), [4, 4, 4])


def test_writing_marks_what_an_operation_saved_as_changed(device: str) -> None:
    x = Tensor(np.ones(2, F32), device=device, requires_grad=True)
    y = (x * x).sum()
    write_array(x, np.full(2, 3, F32))
    with pytest.raises(RuntimeError, match="changed in place before backward"):
        y.backward()


def test_reading_and_writing_back_changes_nothing(device: str) -> None:
    tensors = {"w": Tensor(np.arange(4, dtype=F32), device=device), "b": Tensor(1.5, device=device)}
    state = {key: tensor.numpy() for key, tensor in tensors.items()}
    reader = StateDictReader(state, "Net")
    arrays = {key: reader.array(key, t.shape, t.dtype) for key, t in tensors.items()}
    reader.finish()
    for key, tensor in tensors.items():
        write_array(tensor, arrays[key])
    np.testing.assert_array_equal(tensors["w"].numpy(), np.arange(4))
    assert tensors["b"].item() == 1.5
