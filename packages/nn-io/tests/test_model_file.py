"""A file that predicts: built with the classes of the caller alone, or refused."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from io_files import safetensors_with_checksum
from nn_io import (
    FileFormatError,
    SavedModel,
    load_checkpoint,
    load_model,
    load_state_dict_from_file,
    save_checkpoint,
    save_model,
    save_model_parameters,
)

CALLS: list[str] = []


class Scale:
    """Preprocessing with a setting and a state."""

    def __init__(self, power: float = 1.0, names: Any = ()) -> None:
        CALLS.append("Scale")
        self.power, self.names = power, list(names)
        self.mean = np.zeros(3)

    def __call__(self, x: Any) -> Any:
        return (x - self.mean) ** self.power

    def settings(self) -> dict[str, Any]:
        return {"power": self.power, "names": self.names}

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean.copy()}

    def load_state_dict(self, state: Any) -> None:
        if set(state) != {"mean"}:
            raise ValueError(f"Scale: expected mean, got {sorted(state)}")
        self.mean = np.array(state["mean"])


class Chain:
    """Preprocessing made of others, which are settings."""

    def __init__(self, parts: Any, by_name: Any = None) -> None:
        self.parts, self.by_name = list(parts), dict(by_name or {})

    def __call__(self, x: Any) -> Any:
        for part in [*self.parts, *self.by_name.values()]:
            x = part(x)
        return x

    def settings(self) -> dict[str, Any]:
        return {"parts": self.parts, "by_name": self.by_name}

    def state_dict(self) -> dict[str, Any]:
        parts = {**dict(enumerate(self.parts)), **self.by_name}
        return {f"{n}.{k}": v for n, part in parts.items() for k, v in part.state_dict().items()}

    def load_state_dict(self, state: Any) -> None:
        for n, part in {**dict(enumerate(self.parts)), **self.by_name}.items():
            part.load_state_dict({"mean": state[f"{n}.mean"]})


class Net:
    """A model with sizes, an evaluation mode and metadata."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True, device: str = "cpu") -> None:
        CALLS.append("Net")
        self.w = np.zeros((inputs, outputs), np.float32)
        self.bias, self.device, self.training = bias, device, True
        self.settings = "an attribute of that name is not a method"

    def __call__(self, x: Any) -> Any:
        return x @ self.w + self.bias

    def eval(self) -> None:
        self.training = False

    def state_dict(self) -> dict[str, Any]:
        return {"w": self.w.copy(), "__metadata__": {"class": "Net"}}

    def load_state_dict(self, state: Any) -> None:
        if set(state) - {"__metadata__"} != {"w"} or state["w"].shape != self.w.shape:
            raise ValueError("Net: does not fit")
        self.w[...] = state["w"]


SETTINGS = {"inputs": 3, "outputs": 2, "bias": False}
rng = np.random.default_rng(0)
X = rng.normal(size=(5, 3))


def make_net(**changes: Any) -> Net:
    net = Net(**(SETTINGS | changes))
    net.w[...] = rng.normal(size=net.w.shape)
    return net


def scale(power: float = 2.0) -> Scale:
    part = Scale(power, names=("a", "b"))
    part.mean = rng.normal(size=3)
    return part


def test_round_trip(suffix: str, tmp_path: Path) -> None:
    path, net, part = tmp_path / f"model{suffix}", make_net(), scale()
    notes = {"epochs": 3, "scores": (0.5, None)}
    save_model(
        path,
        net,
        settings=SETTINGS,
        preprocessing=part,
        labels=np.array(["no", "yes"]),
        extra=notes,
    )
    loaded = load_model(path, classes=[Net, Scale])
    assert isinstance(loaded, SavedModel)
    np.testing.assert_array_equal(loaded.model(loaded.preprocessing(X)), net(part(X)), strict=True)
    assert not loaded.model.training
    assert net.training
    assert not loaded.model.bias
    assert loaded.preprocessing.names == ["a", "b"]
    assert loaded.labels == ["no", "yes"]
    assert loaded.extra == {"epochs": 3, "scores": [0.5, None]}
    other = load_model(path, classes={"Net": Net, "Scale": Scale}, settings={"device": "other"})
    assert (other.model.device, loaded.model.device) == ("other", "cpu")
    assert list(load_state_dict_from_file(path)) == [
        "model.w",
        "preprocessing.mean",
        "__metadata__",
    ]


def test_model_alone(suffix: str, tmp_path: Path) -> None:
    path, net = tmp_path / f"model{suffix}", make_net()
    save_model(path, net, settings=SETTINGS)
    loaded = load_model(path, classes=Net)
    np.testing.assert_array_equal(loaded.model(X), net(X))
    assert loaded[1:] == (None, None, {})


def test_several_parts_and_objects_in_settings(suffix: str, tmp_path: Path) -> None:
    path, net = tmp_path / f"model{suffix}", make_net()
    chain = Chain([scale(2.0), scale(3.0)], {"last": scale(1.0)})
    target = scale()
    save_model(path, net, settings=SETTINGS, preprocessing={"inputs": chain, "target": target})
    loaded = load_model(path, classes=[Net, Scale, Chain])
    assert list(loaded.preprocessing) == ["inputs", "target"]
    np.testing.assert_array_equal(loaded.preprocessing["inputs"](X), chain(X))
    np.testing.assert_array_equal(loaded.preprocessing["target"].mean, target.mean)
    with pytest.raises(ValueError, match=r"a setting of preprocessing.inputs is a 'Scale'"):
        load_model(path, classes=[Net, Chain])


def test_a_factory_instead_of_the_class(tmp_path: Path) -> None:
    def small(bias: bool) -> Net:
        return Net(3, 2, bias)

    path, net = tmp_path / "model.npz", make_net()
    save_model(path, net, factory=small, settings={"bias": False})
    with pytest.raises(ValueError, match=r"model is a 'small', which is not among .* given: Net"):
        load_model(path, classes=[Net])
    for classes in (small, [small], {"small": small}, {"small": lambda bias: Net(3, 2, bias)}):
        np.testing.assert_array_equal(load_model(path, classes=classes).model(X), net(X))  # type: ignore[arg-type]


def test_labels_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    for labels in (["a"], (1, 2), np.array([1.5]), range(2), [True, False], []):
        save_model(path, make_net(), settings=SETTINGS, labels=labels)
        assert load_model(path, classes=Net).labels == list(labels)


def test_a_fresh_process_predicts_the_same(suffix: str, tmp_path: Path) -> None:
    path, net, part = tmp_path / f"model{suffix}", make_net(), scale()
    save_model(path, net, settings=SETTINGS, preprocessing=part)
    np.save(tmp_path / "x.npy", X)
    program = f"""
import numpy as np
from nn_io import load_model
from test_model_file import Net, Scale

loaded = load_model({str(path)!r}, classes=[Net, Scale])
x = np.load({str(tmp_path / "x.npy")!r})
np.save({str(tmp_path / "y.npy")!r}, loaded.model(loaded.preprocessing(x)))
"""
    python_path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": python_path}, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), net(part(X)))


class Hidden:
    def __init__(self) -> None:
        raise AssertionError("was not given")


def test_only_classes_that_are_given_are_called(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    save_model(path, make_net(), settings=SETTINGS, preprocessing=scale())
    for classes in ([Net], [Scale], [], {"net": Net, "Scale": Scale}):
        CALLS.clear()
        with pytest.raises(ValueError, match="not among the classes given"):
            load_model(path, classes=classes)
        assert CALLS == []  # not even one that is given


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"model": 3}, TypeError, r"model: expected an object with state_dict\(\)"),
        ({"preprocessing": np.mean}, TypeError, r"preprocessing: expected an object with state_d"),
        ({"preprocessing": {"a.b": Scale()}}, ValueError, "expected names without dots, got 'a.b'"),
        ({"preprocessing": {"a": 3}}, TypeError, "preprocessing.a: expected an object with"),
        ({"settings": 3}, TypeError, "model: settings: expected a mapping, got"),
        (
            {"settings": {"inputs": X}},
            TypeError,
            r"model: settings\['inputs'\]: expected what JSON",
        ),
        ({"settings": {3: 4}}, TypeError, "a key of "),
        ({"settings": {"__class__": "Net"}}, ValueError, "'__class__' is reserved"),
        ({"settings": {"inputs": 3}}, TypeError, "missing 1 required positional argument"),
        ({"settings": SETTINGS | {"inputs": 4}}, ValueError, "Net: does not fit"),
        ({"settings": SETTINGS | {"other": 4}}, TypeError, "unexpected keyword argument 'other'"),
        ({"settings": None}, TypeError, "missing 2 required positional arguments"),
        ({"factory": lambda: 3}, TypeError, "model: the class: expected .* with a name"),
        ({"factory": 3}, TypeError, "factory: expected a function"),
        ({"factory": dict, "settings": {}}, TypeError, "model: dict returned .*expected an object"),
        ({"labels": "abc"}, TypeError, "labels: expected a list"),
        ({"labels": [X]}, TypeError, r"labels\[0\]: expected a string or a number"),
        ({"labels": 3}, TypeError, "labels: expected a list"),
        ({"extra": {"a": X}}, TypeError, "extra"),
        ({"check": 3}, TypeError, "check: "),
        ({"path": "model.txt"}, ValueError, "path: expected a suffix of"),
    ],
)
def test_what_cannot_be_loaded_is_not_saved(
    given: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    arguments = {"model": make_net(), "settings": SETTINGS, "path": "model.npz"} | given
    path = tmp_path / arguments.pop("path")
    with pytest.raises(error, match=message):
        save_model(path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_two_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    other = type("Net", (Scale,), {})
    with pytest.raises(ValueError, match="there are two of the name 'Net'"):
        save_model(tmp_path / "m.npz", make_net(), settings=SETTINGS, preprocessing=other())
    with pytest.raises(ValueError, match="classes: there are two of the name 'Net'"):
        load_model(tmp_path / "m.npz", classes=[Net, other])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (3, "classes: expected classes or functions, got"),
        ("Net", "classes: expected classes or functions, got"),
        ([3], "classes: expected a class or a function with a name, got 3"),
        ({"Net": 3}, r"classes\['Net'\]: expected a class, got"),
        ({3: Net}, r"classes\[3\]: expected a class"),
    ],
)
def test_wrong_classes(classes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=message):
        load_model(tmp_path / "model.npz", classes=classes)
    with pytest.raises(TypeError, match="settings: expected a mapping"):
        load_model(tmp_path / "model.npz", classes=Net, settings=3)  # type: ignore[arg-type]


def test_other_files_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    save_model_parameters(make_net(), path)
    with pytest.raises(FileFormatError, match=re.escape(f"{path}: is not a file of save_model")):
        load_model(path, classes=Net)
    save_checkpoint(path, model=make_net())
    with pytest.raises(FileFormatError, match=re.escape(f"{path}: is not a file of save_model")):
        load_model(path, classes=Net)
    save_model(path, make_net(), settings=SETTINGS)
    with pytest.raises(FileFormatError, match="is not a checkpoint"):
        load_checkpoint(path, model=make_net())
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / f"none{suffix}", classes=Net)


def test_an_error_of_a_class_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    save_model(path, make_net(), settings=SETTINGS)
    for settings in ({"inputs": 4}, {"other": 3}, {"inputs": -1}):
        with pytest.raises((TypeError, ValueError)) as caught:
            load_model(path, classes=Net, settings=settings)
        assert caught.value.__notes__ == [f"while building what is in {path}"]


def test_a_full_disk_leaves_the_old_file(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, net = tmp_path / f"model{suffix}", make_net()
    save_model(path, net, settings=SETTINGS)

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device"):
            save_model(path, make_net(), settings=SETTINGS)
    np.testing.assert_array_equal(load_model(path, classes=Net).model.w, net.w)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_every_flipped_bit_is_detected(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    save_model(path, make_net(), settings=SETTINGS, preprocessing=scale(), labels=["a", "b"])
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        CALLS.clear()
        with pytest.raises(FileFormatError, match="^" + re.escape(f"{path}: ")):
            load_model(path, classes=[Net, Scale])
        assert CALLS == []


GOOD: dict[str, Any] = {
    "nn_io.model": 1,
    "parts": {"model": {"class": "Net", "settings": SETTINGS, "metadata": None}},
    "labels": None,
    "extra": {},
}
HEADER = {"model.w": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}}


def hostile(path: Path, metadata: Any, header: Any = None) -> Path:
    """A file with the right checksum, whatever it holds."""
    header = HEADER if header is None else header
    path.write_bytes(safetensors_with_checksum(header, bytes(24), json.dumps(metadata)))
    return path


def model(**changes: Any) -> dict[str, Any]:
    return GOOD | {"parts": {"model": GOOD["parts"]["model"] | changes}}


def test_the_file_that_the_hostile_ones_are_made_of_loads(tmp_path: Path) -> None:
    assert load_model(hostile(tmp_path / "m.safetensors", GOOD), classes=Net).model.w.sum() == 0


OBJECT: dict[str, Any] = {"__class__": "Scale", "settings": {}}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "is not a file of save_model"),
        (GOOD | {"nn_io.model": True}, "is not a file of save_model"),
        (GOOD | {"nn_io.model": "1"}, "is not a file of save_model"),
        (GOOD | {"nn_io.model": 2}, "is a file of save_model of version 2, newer than 1"),
        (GOOD | {"parts": None}, "has no model"),
        (GOOD | {"parts": [1]}, "has no model"),
        (GOOD | {"parts": {"preprocessing": GOOD["parts"]["model"]}}, "has no model"),
        (GOOD | {"parts": {"model": 3}}, "has an invalid entry for 'model'"),
        (GOOD | {"parts": GOOD["parts"] | {"x" * 999: 1}}, "has unknown parts: 'xxx"),
        (model(more=1), "has an invalid entry for 'model'"),
        (model(**{"class": 3}), "has an invalid class or settings"),
        (model(**{"class": None}), "has an invalid class or settings"),
        (model(settings=[]), "has an invalid class or settings"),
        (model(metadata=[]), "has invalid metadata"),
        (model(settings={"a": {"__class__": "Net"}}), "has an invalid object in the settings"),
        (model(settings={"a": OBJECT | {"more": 1}}), "has an invalid object in the settings"),
        (model(settings={"a": [[OBJECT | {"settings": 3}]]}), "has an invalid object"),
        (model(settings={"a": OBJECT | {"settings": OBJECT}}), "has an invalid object"),
        (model(settings={"a": OBJECT | {"__class__": []}}), "has an invalid object"),
        (model(settings=OBJECT), "has an invalid object"),
        (GOOD | {"labels": {}}, "has invalid labels"),
        (GOOD | {"labels": "ab"}, "has invalid labels"),
        (GOOD | {"labels": [None]}, "has invalid labels"),
        (GOOD | {"extra": [1]}, "has invalid notes"),
    ],
)
def test_hostile_metadata_are_refused_before_a_class_is_called(
    metadata: Any, message: str, tmp_path: Path
) -> None:
    path = hostile(tmp_path / "m.safetensors", metadata)
    CALLS.clear()
    with pytest.raises(FileFormatError, match=re.escape(f"{path}: ") + message) as caught:
        load_model(path, classes=[Net, Scale])
    assert len(str(caught.value)) < 500
    assert CALLS == []


def test_unknown_arrays_are_refused(tmp_path: Path) -> None:
    for name in ("w", "preprocessing.mean", "preprocessing.a.mean", "modelw", ""):
        path = hostile(tmp_path / "m.safetensors", GOOD, {name: HEADER["model.w"]})
        with pytest.raises(FileFormatError, match="has an unknown entry"):
            load_model(path, classes=Net)


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.exec", "__import__", "dict", "Net()", "", "nn_io.save_model"]
)
def test_a_name_in_the_file_is_never_looked_up(name: str, tmp_path: Path) -> None:
    nested = {"a": {"__class__": name, "settings": {"code": "raise SystemExit"}}}
    for metadata in (model(**{"class": name}), model(settings=nested)):
        path = hostile(tmp_path / "m.safetensors", metadata)
        CALLS.clear()
        with pytest.raises(ValueError, match="not among the classes given: Net") as caught:
            load_model(path, classes=Net)
        assert type(caught.value) is ValueError
        assert CALLS == []


def test_a_part_of_the_wrong_class_is_refused(tmp_path: Path) -> None:
    path = hostile(tmp_path / "m.safetensors", model(**{"class": "Scale", "settings": {}}))
    with pytest.raises(ValueError, match="Scale: expected mean, got"):
        load_model(path, classes=[Net, Scale])
    path = hostile(tmp_path / "m.safetensors", model(**{"class": "dict", "settings": {}}))
    with pytest.raises(TypeError, match=r"model: dict returned .* expected an object"):
        load_model(path, classes=[dict])


def test_settings_that_contain_themselves_are_refused(tmp_path):
    inside = []
    inside += [inside, inside]
    model = Net(2, 1)
    model.settings = lambda: {"sizes": inside}
    with pytest.raises(ValueError, match="nested more than 64 deep, or contains itself"):
        save_model(tmp_path / "model.npz", model)
