"""Checkpoints: all of a run in one file and back, or nothing changed."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nn_io import (
    FileFormatError,
    load_checkpoint,
    load_state_dict_from_file,
    save_checkpoint,
    save_model_parameters,
)

KINDS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]


class Part:
    """Anything with a state; its own memory is what state_dict() shows."""

    def __init__(self, *values: float, metadata: dict[str, Any] | None = None) -> None:
        self.array = np.array(values)
        self.metadata = metadata
        self.refuses = False
        self.seen: Any = None

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"a.b": self.array}
        return state if self.metadata is None else state | {"__metadata__": self.metadata}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        # It writes first, and checks then.
        self.seen = state.get("__metadata__")
        self.array[:1] = state["a.b"][:1]
        if self.refuses:
            self.refuses = False
            raise ValueError("does not fit")
        self.array[...] = state["a.b"]


def generator(kind: str = "PCG64", seed: int = 0, draws: int = 7) -> np.random.Generator:
    rng = np.random.Generator(getattr(np.random, kind)(seed))
    rng.integers(2**31, size=draws, dtype=np.int32)  # an odd number leaves half a word behind
    return rng


@pytest.fixture
def path(suffix: str, tmp_path: Path) -> Path:
    return tmp_path / f"run{suffix}"


def test_everything_is_restored(path: Path) -> None:
    rng = generator()
    metadata = {"class": "Model", "shapes": [[2]]}
    save_checkpoint(
        path,
        model=Part(1.0, 2.0, metadata=metadata),
        optimizer=Part(3.0),
        schedule=Part(4.0),
        rng=rng,
        step=12,
        extra={"loss": 0.5, "names": ("a", "b"), "best": None},
    )
    model, optimizer, schedule, other = Part(0, 0), Part(0), Part(0), generator(seed=1)
    found = load_checkpoint(path, model=model, optimizer=optimizer, schedule=schedule, rng=other)
    assert found.step == 12
    assert found.extra == {"loss": 0.5, "names": ["a", "b"], "best": None}
    assert [list(p.array) for p in (model, optimizer, schedule)] == [[1, 2], [3], [4]]
    assert (model.seen, optimizer.seen) == (metadata, None)
    np.testing.assert_array_equal(other.random(9), rng.random(9))
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("kind", KINDS)
def test_generators_continue_exactly(kind: str, path: Path) -> None:
    rng = generator(kind)
    save_checkpoint(path, rng=rng)
    other = generator(kind, seed=5, draws=2)
    load_checkpoint(path, rng=other)
    np.testing.assert_array_equal(
        other.integers(2**31, size=700, dtype=np.int32),
        rng.integers(2**31, size=700, dtype=np.int32),
    )
    np.testing.assert_array_equal(other.normal(size=700), rng.normal(size=700))


def test_several_generators(path: Path) -> None:
    rngs = {"data": generator(), "dropout": generator("Philox")}
    save_checkpoint(path, rng=rngs)
    expected = [rng.random() for rng in rngs.values()]
    others = {"dropout": generator("Philox", 3), "data": generator(seed=3)}
    load_checkpoint(path, rng=others)
    assert [others[name].random() for name in rngs] == expected
    data = generator(seed=8)
    load_checkpoint(path, rng={"data": data})
    assert data.random() == expected[0]


def test_a_part_is_loaded_alone(path: Path) -> None:
    save_checkpoint(path, model=Part(1.0), optimizer=Part(2.0), rng=generator(), step=3)
    model = Part(0.0)
    assert load_checkpoint(path, model=model) == (3, {})
    assert model.array[0] == 1.0
    assert load_checkpoint(path).step == 3


def test_without_a_step_it_is_none(path: Path) -> None:
    save_checkpoint(path, extra={})
    assert load_checkpoint(path) == (None, {})


@pytest.mark.parametrize("refusing", ["model", "schedule", "optimizer"])
def test_a_part_that_fails_to_load_changes_nothing(refusing: str, path: Path) -> None:
    names = ("model", "schedule", "optimizer")
    save_checkpoint(path, **{name: Part(1.0, 2.0) for name in names}, rng=generator())  # type: ignore[arg-type]
    parts = {name: Part(7.0, 8.0, metadata={"kept": name}) for name in names}
    parts[refusing].refuses = True
    rng, same = generator(seed=4), generator(seed=4)
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_checkpoint(path, **parts, rng=rng)
    assert caught.value.__notes__ == [f"while loading {refusing} from {path}"]
    for part in parts.values():
        assert list(part.array) == [7.0, 8.0]
    assert rng.random() == same.random()


def test_a_part_that_cannot_be_restored_is_named(path: Path) -> None:
    class Stubborn(Part):
        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            raise KeyError("never")

    save_checkpoint(path, model=Part(1.0), optimizer=Part(1.0))
    model = Part(5.0)
    with pytest.raises(KeyError, match="never") as caught:
        load_checkpoint(path, model=model, optimizer=Stubborn(2.0))
    assert "optimizer could not be given its former state back" in caught.value.__notes__[-1]
    assert model.array[0] == 5.0


def test_what_the_file_does_not_hold_is_named(path: Path) -> None:
    save_checkpoint(path, model=Part(1.0), rng={"data": generator()})
    model = Part(5.0)
    message = r"holds nothing for optimizer, rng; it holds model, rng\['data'\]"
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(path, model=model, optimizer=Part(1.0), rng=generator())
    assert str(path) in str(caught.value)
    assert model.array[0] == 5.0


@pytest.mark.parametrize("kind", KINDS[1:])
def test_another_kind_of_generator(kind: str, path: Path) -> None:
    save_checkpoint(path, model=Part(1.0), rng=generator())
    model, rng = Part(5.0), generator(kind)
    with pytest.raises(ValueError, match=rf"rng is a {kind}, the file holds a 'PCG64'"):
        load_checkpoint(path, model=model, rng=rng)
    assert model.array[0] == 5.0
    assert rng.random() == generator(kind).random()


@pytest.mark.parametrize(
    ("kind", "key", "value", "message"),
    [
        ("MT19937", "state.pos", np.array([10**6], np.uint64), "position of at most 624"),
        ("MT19937", "state.key", np.zeros(3, np.uint32), r"needs uint32 \(624,\) for state.key"),
        ("PCG64", "state.state", np.ones(5, np.uint64), "at most 4 64-bit words for state.state"),
        ("PCG64", "state.state", np.ones(3, np.uint64), "does not take the state"),
        ("PCG64", "state.inc", np.ones(2), "64-bit words for state.inc"),
        ("PCG64", "uinteger", np.array([2**40], np.uint64), "does not take the"),
        ("PCG64", "has_uint32", np.array([2**63], np.uint64), "does not take the"),
        ("PCG64", "more", np.ones(1), "the file holds .*more"),
        ("Philox", "buffer_pos", np.array([2**40], np.uint64), "does not take the"),
    ],
)
def test_hostile_generators(kind: str, key: str, value: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    save_checkpoint(path, model=Part(1.0), rng=generator(kind))
    state = load_state_dict_from_file(path)
    save_model_parameters(state | {f"rng.generator.{key}": value}, path)
    model, rng = Part(5.0), generator(kind)
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(path, model=model, rng=rng)
    assert str(path) in str(caught.value)
    assert model.array[0] == 5.0
    assert rng.random() == generator(kind).random()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nn_io.checkpoint": 3}, "is a checkpoint of version 3, newer than 2"),
        ({"nn_io.checkpoint": "1"}, "is not a checkpoint"),
        ({"parts": []}, "has no parts in its metadata"),
        ({"parts": {"model": 3}}, "has an unknown entry in its metadata: 'model'"),
        ({"parts": {"model": None, "other": None}}, "unknown entry in its metadata: 'other'"),
        ({"parts": {}}, r"has an unknown entry: 'model\.a\.b'"),
        ({"rng": {}}, "has an unknown entry: 'rng"),
        ({"rng": {"generator": 5}}, "has an invalid bit generator for rng 'generator'"),
        ({"step": -1}, "has an invalid step: '-1'"),
        ({"step": 1.5}, r"has an invalid step: '1\.5'"),
        ({"extra": None}, "has no extra in its metadata"),
    ],
)
def test_damaged_metadata(change: dict[str, Any], message: str, path: Path) -> None:
    save_checkpoint(path, model=Part(1.0), rng=generator())
    state = load_state_dict_from_file(path)
    state["__metadata__"] |= change
    save_model_parameters(state, path)
    model = Part(5.0)
    with pytest.raises(FileFormatError, match=message) as caught:
        load_checkpoint(path, model=model)
    assert str(caught.value).startswith(f"{path}: ")
    assert model.array[0] == 5.0


def test_a_file_of_parameters_is_not_a_checkpoint(path: Path) -> None:
    save_model_parameters({"w": np.ones(2)}, path)
    with pytest.raises(FileFormatError, match="is not a checkpoint; load_state_dict_from_file"):
        load_checkpoint(path)


def test_flipped_bits_change_nothing(path: Path) -> None:
    save_checkpoint(path, model=Part(1.0), rng=generator(), step=3)
    whole = bytearray(path.read_bytes())
    model, rng = Part(5.0), generator(seed=9)
    for position in range(0, len(whole), 7):
        whole[position] ^= 1 << position % 8
        path.write_bytes(whole)
        with pytest.raises(FileFormatError):
            load_checkpoint(path, model=model, rng=rng)
        whole[position] ^= 1 << position % 8
    assert model.array[0] == 5.0
    assert rng.random() == generator(seed=9).random()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "expected something to save, got nothing"),
        ({"model": 3}, TypeError, r"model: expected an object with state_dict\(\), got int"),
        ({"optimizer": {"a": 1.0}}, TypeError, r"optimizer: expected .* state_dict\(\), got dict"),
        ({"rng": 3}, TypeError, "rng: expected a numpy.random.Generator, got int"),
        ({"rng": {"a": np.random}}, TypeError, r"rng\['a'\]: expected a numpy.random.Generator"),
        ({"rng": {"a.b": generator()}}, ValueError, "rng: expected names without dots, got 'a.b'"),
        ({"rng": {"": generator()}}, ValueError, "rng: expected names without dots, got ''"),
        ({"step": -1}, ValueError, "step: expected an integer >= 0 .* got -1"),
        ({"step": 2**70}, ValueError, "step: expected an integer >= 0 and <= "),
        ({"step": 1.5}, TypeError, r"step: expected an integer .* got 1\.5"),
        ({"step": True}, TypeError, "step: expected an integer .* got True"),
        ({"extra": [1]}, TypeError, "extra: expected a mapping, got list"),
        (
            {"extra": {"a": {"b": object()}}},
            TypeError,
            r"extra\['a'\]\['b'\]: expected dict, list, ",
        ),
        ({"extra": {"a": 2**70}}, ValueError, r"extra\['a'\] is an integer of more than 64 bits"),
        ({"extra": {1: 2}}, TypeError, "a key of extra: expected str, got int"),
    ],
)
def test_wrong_arguments_write_nothing(
    arguments: dict[str, Any], error: type[Exception], message: str, path: Path
) -> None:
    with pytest.raises(error, match=message):
        save_checkpoint(path, **arguments)
    assert not path.exists()


def test_objects_without_load_state_dict_are_refused_before_reading(tmp_path: Path) -> None:
    class Saves:
        def state_dict(self) -> dict[str, Any]:
            return {}

    with pytest.raises(TypeError, match=r"model: expected .* and load_state_dict\(\), got Saves"):
        load_checkpoint(tmp_path / "none.pkl", model=Saves())  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pkl")
    with pytest.raises(ValueError, match="path: expected a suffix of"):
        save_checkpoint(tmp_path / "run.zip", step=1)


class Position:
    """A loader's state: not arrays, but what JSON can represent."""

    def __init__(self, batch: int, data: str = "numbers") -> None:
        self.state = {"batch": batch, "data": data}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["data"] != self.state["data"]:
            raise ValueError("other data")
        self.state = dict(state)


class RandomPart(Part):
    """A model with generators inside, one of them under two paths."""

    def __init__(self, value: float, **generators: Any) -> None:
        super().__init__(value)
        self.generators = generators

    def named_generators(self) -> list[tuple[str, Any]]:
        return [(name.replace("_", "."), rng) for name, rng in self.generators.items()]


def test_generators_loader_and_parts_are_restored(path: Path) -> None:
    model = RandomPart(1.0, layers_0_rng=generator(), layers_1_rng=generator("Philox", 3))
    save_checkpoint(path, model=model, loader=Position(7), parts={"history": Part(2.0, 3.0)})
    other = RandomPart(
        0.0, layers_1_rng=generator("Philox", 9, 1), layers_0_rng=generator(seed=4, draws=2)
    )
    loader, history = Position(0), Part(0.0, 0.0)
    load_checkpoint(path, model=other, loader=loader, parts={"history": history})
    for name, rng in model.generators.items():
        np.testing.assert_array_equal(other.generators[name].random(9), rng.random(9))
    assert loader.state["batch"] == 7
    assert list(history.array) == [2, 3]


def test_a_refusal_of_the_loader_changes_nothing(path: Path) -> None:
    save_checkpoint(path, model=RandomPart(1.0, rng=generator()), loader=Position(7))
    model, loader = RandomPart(5.0, rng=generator(seed=2)), Position(1, "letters")
    with pytest.raises(ValueError, match="other data") as caught:
        load_checkpoint(path, model=model, loader=loader)
    assert f"while loading loader from {path}" in caught.value.__notes__
    assert model.array[0] == 5
    assert loader.state["batch"] == 1
    assert model.generators["rng"].random() == generator(seed=2).random()


def test_other_generators_in_the_model_are_named(path: Path) -> None:
    save_checkpoint(path, model=RandomPart(1.0, a=generator(), b=generator()))
    model = RandomPart(5.0, b=generator(), c=generator())
    with pytest.raises(
        ValueError, match="only the model has c; only the file has 'a'; generators=False"
    ) as caught:
        load_checkpoint(path, model=model)
    assert model.array[0] == 5
    assert "generators=False" in str(caught.value)
    load_checkpoint(path, model=model, generators=False)
    assert model.array[0] == 1
    assert model.generators["b"].random() == generator().random()
    with pytest.raises(ValueError, match="the model's generator b is a MT19937"):
        load_checkpoint(path, model=RandomPart(5.0, a=generator(), b=generator("MT19937")))


@pytest.mark.parametrize("old", [np.random.RandomState(0), __import__("random").Random(0)])
def test_a_generator_that_cannot_be_saved_is_named(old: Any, path: Path) -> None:
    with pytest.raises(TypeError, match=r"model: drop\.rng is a .*, whose state cannot be saved"):
        save_checkpoint(path, model=RandomPart(1.0, drop_rng=old))
    assert not path.exists()


def test_a_file_of_version_1_says_that_it_has_no_generators_of_the_model(path: Path) -> None:
    save_checkpoint(path, model=Part(1.0))
    state = load_state_dict_from_file(path)
    for key in ("generators", "loader"):
        del state["__metadata__"][key]
    state["__metadata__"]["nn_io.checkpoint"] = 1
    save_model_parameters(state, path)
    model = RandomPart(5.0, rng=generator())
    with pytest.warns(UserWarning, match=r"without the generators of the model \(rng\)"):
        load_checkpoint(path, model=model)
    assert model.array[0] == 1
    load_checkpoint(path, model=Part(5.0))


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([], TypeError, "parts: expected a mapping"),
        ({"a.b": Part(1.0)}, ValueError, "parts: expected names without dots"),
        ({"a": 3}, TypeError, r"parts\['a'\]: expected an object with state_dict"),
    ],
)
def test_wrong_parts(parts: Any, error: Any, message: str, path: Path) -> None:
    with pytest.raises(error, match=message):
        save_checkpoint(path, parts=parts)
    save_checkpoint(path, parts={"a": Part(1.0)})
    with pytest.raises(ValueError, match=r"holds nothing for parts\['b'\], loader; .*\['a'\]"):
        load_checkpoint(path, parts={"b": Part(1.0)}, loader=Position(0))
