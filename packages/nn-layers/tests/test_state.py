"""State dicts: what they hold, and that a failed load changes nothing."""

import copy
import json
import pickle
import pickletools

import numpy as np
import pytest
from nn_layers import BaseModel, Dense, ReLU, Sequential
from nn_tensor import Tensor, ones, zeros


def build(device="cpu", rng=0):
    model = Sequential(Dense(3, 4, rng=rng), ReLU(), Dense(4, 2, rng=rng), device=device)
    model.count = Tensor(np.array([1, 2], dtype=np.int32), device=device)
    return model


def values(model):
    return {path: tensor.numpy().copy() for path, tensor in model.named_tensors()}


def assert_same(first, second):
    assert list(first) == list(second)
    for path in first:
        np.testing.assert_array_equal(first[path], second[path], strict=True)


def test_state_is_arrays_and_plain_metadata(device):
    state = build(device).state_dict()
    metadata = state.pop("__metadata__")
    assert list(state) == ["0.weights", "0.bias", "2.weights", "2.bias", "count"]
    assert {type(value) for value in state.values()} == {np.ndarray}
    assert json.loads(json.dumps(metadata)) == metadata
    assert metadata["format_version"] == 1
    assert metadata["class"] == "Sequential"
    assert metadata["layers"] == {"0": "Dense(3→4)", "1": "ReLU", "2": "Dense(4→2)"}
    assert metadata["tensors"]["0.weights"] == {
        "shape": [3, 4],
        "dtype": "float32",
        "device": device,
    }


def test_state_pickles_without_a_class_of_ours():
    pickled = pickle.dumps(build().state_dict())
    names = [a for code, a, _ in pickletools.genops(pickled) if "UNICODE" in code.name]
    assert not any("nn_" in name for name in names)
    assert_same(pickle.loads(pickled), build().state_dict())


def test_state_is_a_copy():
    model = build()
    state = model.state_dict()
    before = copy.deepcopy(state)
    model[0].weights.data[...] = 7
    assert_same(state, before)
    state["0.bias"][...] = 5
    assert not np.any(model[0].bias.numpy())


def test_round_trip_keeps_objects_dtype_and_device(device):
    saved, model = build(device, rng=1), build(device, rng=2)
    tensors, arrays = model.named_tensors(), [t.data for _, t in model.named_tensors()]
    model.load_state_dict(pickle.loads(pickle.dumps(saved.state_dict())))
    assert_same(values(model), values(saved))
    for (_, before), (_, after), array in zip(tensors, model.named_tensors(), arrays, strict=True):
        assert before is after
        assert after.data is array
        assert after.device == device


def test_another_floating_dtype_is_converted(device):
    saved, model = build(rng=1), build(device, rng=2)
    saved.set_dtype("float64")
    model.load_state_dict(saved.state_dict())
    assert model[0].weights.dtype == np.float32
    np.testing.assert_allclose(model[0].weights.numpy(), saved[0].weights.numpy(), rtol=1e-7)
    model.set_dtype("float16")
    model.load_state_dict(saved.state_dict())
    assert model[0].weights.dtype == np.float16


def test_what_is_taken_beside_our_own_arrays():
    model = Dense(2, 1)
    model.load_state_dict({"weights": [[0.1], [2]], "bias": Tensor([3.0])})
    assert model.weights.tolist() == Tensor([[0.1], [2]]).tolist()
    model.load_state_dict({"weights": np.ones((2, 1), ">f8"), "bias": np.array([True])})
    assert model.bias.tolist() == [1.0]
    model.load_state_dict(
        {"weights": zeros(2, 1).numpy().T.reshape(2, 1), "bias": ones(1), "__metadata__": {"a": 1}}
    )
    assert model.weights.tolist() == [[0.0], [0.0]]


def change(**changes):
    """Return a state that fits `build`, changed; None removes a key."""
    state = build(rng=5).state_dict()
    for key, value in changes.items():
        path = key.replace("_", ".")
        state.pop(path, None)
        if value is not None:
            state[path] = value
    return state


FAILING = {
    "missing": (change(**{"0_bias": None}), "missing: 0.bias, shape (4,)"),
    "unexpected": (change(**{"3_bias": np.ones(2)}), "unexpected: 3.bias, float64 (2,)"),
    "shape": (change(**{"0_bias": np.ones((1, 4))}), "0.bias: expected shape (4,), got (1, 4)"),
    "transposed": (change(**{"2_weights": np.ones((2, 4))}), "(4, 2), got (2, 4)"),
    "object": (
        change(**{"0_bias": np.array([None] * 4)}),
        "0.bias: expected numbers, got object (4,)",
    ),
    "text": (change(**{"0_bias": np.array(["a"] * 4)}), "0.bias: expected numbers, got <U1 (4,)"),
    "not an array": (change(**{"0_bias": "weights"}), "0.bias: expected numbers, got 'weights'"),
    "ragged": (change(**{"0_bias": [[1], [1, 2]]}), "0.bias: expected numbers, got [[1], [1, 2]]"),
    "complex": (change(**{"0_bias": np.ones(4, complex)}), "0.bias: expected float32, got complex"),
    "float into int": (change(count=np.ones(2)), "count: expected int32, got float64"),
    "int overflow": (
        change(count=np.array([1, 2**40])),
        f"count: {2**40} does not fit into int32",
    ),
    "float overflow": (
        change(**{"0_bias": np.full(4, 1e300)}),
        "0.bias: 1e+300 does not fit into float32",
    ),
    "newer": (
        change(__metadata__=None) | {"__metadata__": {"format_version": 2}},
        "format version 2 is newer",
    ),
    "number for a key": (change() | {7: np.ones(1)}, "unexpected: 7, float64 (1,)"),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_failed_load_changes_nothing(name, device):
    state, message = FAILING[name]
    model = build(device)
    before = values(model)
    with pytest.raises(ValueError, match="the state does not fit, nothing was changed") as info:
        model.load_state_dict(state)
    assert message in str(info.value)
    assert_same(values(model), before)


def test_everything_is_reported_at_once():
    state = change(**{"0_weights": None, "0_kernel": np.ones((3, 4)), "2_bias": np.ones(3)})
    with pytest.raises(ValueError, match="does not fit") as info:
        build().load_state_dict(state)
    assert str(info.value).splitlines() == [
        "Sequential.load_state_dict: the state does not fit, nothing was changed",
        "  missing: 0.weights, shape (3, 4)",
        "  unexpected: 0.kernel, float64 (3, 4)",
        "  perhaps renamed: 0.kernel -> 0.weights",
        "  2.bias: expected shape (2,), got (3,)",
    ]


def test_renames_pair_the_closest_names_of_one_shape():
    model = BaseModel()
    model.encoder = [Dense(2, 2) for _ in range(12)]
    state = {p.replace("encoder", "enc.layer"): v for p, v in model.state_dict().items()}
    with pytest.raises(ValueError, match="does not fit") as info:
        model.load_state_dict(state)
    renames = [line for line in str(info.value).splitlines() if "renamed" in line]
    assert len(renames) == 24
    for line in renames:
        old, new = line.split(": ")[1].split(" -> ")
        assert old.replace("enc.layer", "encoder") == new


def test_a_state_must_be_a_mapping():
    with pytest.raises(TypeError, match="state: expected a dict from key to array, got"):
        build().load_state_dict([1])


def test_a_state_that_holds_the_tensors_themselves():
    model = BaseModel()
    model.a, model.b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    model.load_state_dict({"a": model.b, "b": model.a})
    assert (model.a.tolist(), model.b.tolist()) == ([3.0, 4.0], [1.0, 2.0])


def test_a_tensor_of_read_only_memory_is_loaded():
    array = np.broadcast_to(np.float32(1), (3,))
    model = BaseModel()
    model.a = Tensor(array)
    model.load_state_dict({"a": np.array([1.0, 2.0, 3.0])})
    assert model.a.tolist() == [1.0, 2.0, 3.0]
    assert array.tolist() == [1.0, 1.0, 1.0]


def test_loading_between_forward_and_backward_is_noticed():
    model = Dense(2, 2)
    loss = model(ones(1, 2, requires_grad=True)).sum()
    model.load_state_dict(model.state_dict())
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


@pytest.mark.parametrize(
    "attributes", [{"d": {1: Dense(1, 1), "1": Dense(1, 1)}}, {"__metadata__": ones(1)}]
)
def test_paths_that_collide_are_refused(attributes):
    model = BaseModel()
    vars(model).update(attributes)
    with pytest.raises(ValueError, match="names two things in the state"):
        model.state_dict()


def test_activations_have_an_empty_state():
    state = ReLU().state_dict()
    assert list(state) == ["__metadata__"]
    ReLU().load_state_dict(state)
    ReLU().load_state_dict({})
