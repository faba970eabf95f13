"""Renaming: names and layouts of other programs."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nn_io import load_state_dict_from_file, rename_state, save_model_parameters

STATE = {
    "net.0.weight": np.arange(6.0).reshape(2, 3),
    "net.0.bias": np.zeros(2),
    "net.1.steps": np.array(3),
    "__metadata__": {"format": "pt"},
}
NAMES: dict[Any, Any] = {
    re.compile(r"net\.(\d+)\.weight"): r"\1.weights",
    "net.0.bias": "0.bias",
    "net.1.steps": None,
}


def test_names_patterns_and_transposes() -> None:
    found = rename_state(STATE, NAMES, transpose=["0.weights"])
    assert list(found) == ["0.weights", "0.bias"]
    np.testing.assert_array_equal(found["0.weights"], STATE["net.0.weight"].T)  # type: ignore[attr-defined]
    assert found["0.weights"].flags.c_contiguous
    found["0.bias"][0] = 5.0
    assert STATE["net.0.bias"][0] == 0.0  # type: ignore[index]
    again = rename_state(STATE, NAMES, transpose=[re.compile(r"\d\.weights")])
    np.testing.assert_array_equal(again["0.weights"], found["0.weights"])


def test_names_go_before_patterns_and_dots_are_dots() -> None:
    names = {re.compile("a.b"): "pattern", "a.b": "name"}
    found = rename_state({"a.b": 1.0, "axb": 2.0}, names)
    assert {name: float(array) for name, array in found.items()} == {"name": 1.0, "pattern": 2.0}


@pytest.mark.parametrize(
    ("names", "transpose", "message"),
    [
        ({"net.0.bias": "b"}, [], r"no new name for 'net\.0\.weight'\n.*for 'net\.1\.steps'"),
        (NAMES | {"gone": "b"}, [], "names: nothing is called 'gone'"),
        (NAMES | {re.compile("x+"): "b"}, [], r"names: nothing is called 'x\+'"),
        ({re.compile(".*"): "a"}, [], "'net.0.weight' and 'net.0.bias' would both be called 'a'"),
        (NAMES | {"net.1.steps": "__metadata__"}, [], "which is reserved for metadata"),
        (NAMES, ["weights"], "transpose: nothing will be called 'weights'"),
        (NAMES, ["0.bias"], r"transpose: '0\.bias' has shape \(2,\), expected two dimensions"),
        ({re.compile("(.*)"): r"\2"}, [], r"names\['\(\.\*\)'\] is '\\\\2': invalid group"),
    ],
)
def test_names_that_do_not_fit(names: Any, transpose: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        rename_state(STATE, names, transpose=transpose)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, {}), "state: expected state_dict"),
        ((STATE, ["a"]), "names: expected a mapping from old to new, got list"),
        ((STATE, {3: "a"}), "names: expected str or a compiled pattern, got 3"),
        ((STATE, {"a": 3}), r"names\['a'\]: expected str or None, got 3"),
        ((STATE, NAMES, "0.weights"), "transpose: expected a list of names, got '0.weights'"),
        ((STATE, NAMES, [3]), "transpose: expected str or a compiled pattern, got 3"),
    ],
)
def test_wrong_arguments(arguments: Any, message: str) -> None:
    state, names, *transpose = arguments
    options = {"transpose": transpose[0]} if transpose else {}
    with pytest.raises(TypeError, match=message):
        rename_state(state, names, **options)


def test_transpose_is_given_by_name() -> None:
    with pytest.raises(TypeError, match=r"rename_state takes .* give transpose=\['b'\] by name"):
        rename_state(STATE, NAMES, ["b"])  # type: ignore[misc]


def test_a_linear_layer_of_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    layers = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    path = tmp_path / "model.safetensors"
    save_model_parameters({k: v.numpy() for k, v in layers.state_dict().items()}, path)
    names: dict[Any, Any] = {
        re.compile(r"(\d+)\.weight"): r"\1.weights",
        re.compile(r"(\d+)\.bias"): r"\1.bias",
    }
    transposed = [re.compile(r".*\.weights")]
    found = rename_state(load_state_dict_from_file(path), names, transpose=transposed)
    x = np.linspace(-1.0, 1.0, 10, dtype=np.float32).reshape(2, 5)
    y = np.maximum(x @ found["0.weights"] + found["0.bias"], 0.0)
    y = y @ found["2.weights"] + found["2.bias"]
    expected = layers(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    direct = rename_state(layers.state_dict(), names, transpose=transposed)
    np.testing.assert_array_equal(direct["0.weights"], found["0.weights"])
