"""Models in files: what nn_layers gives to nn_io and takes back."""

import numpy as np
import pytest
from nn_io import load_state_dict_from_file, save_model_parameters
from nn_layers import BaseModel, Dense, ReLU, Sequential
from nn_tensor import Tensor, ones


class Model(BaseModel):
    def __init__(self, rng, device):
        super().__init__()
        self.blocks = [Dense(3, 3, rng=rng), Sequential(ReLU(), Dense(3, 2, rng=rng))]
        self.tied = self.blocks[0].weights
        self.steps = Tensor(np.array(3))
        self.set_device(device)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


@pytest.mark.parametrize("suffix", [".pkl", ".safetensors", ".npz"])
def test_a_model_comes_back_as_it_was(tmp_path, device, suffix):
    path = tmp_path / f"model{suffix}"
    saved, model = Model(0, device), Model(1, device)
    save_model_parameters(saved, path)
    state = load_state_dict_from_file(path)
    assert list(state)[-1] == "__metadata__"
    assert state["__metadata__"] == saved.state_dict()["__metadata__"]
    model.load_state_dict(state)
    x = ones(4, 3, device=device)
    np.testing.assert_array_equal(model(x).numpy(), saved(x).numpy())
    assert model.tied is model.blocks[0].weights


def test_a_file_of_another_model_changes_nothing(tmp_path):
    save_model_parameters(Sequential(Dense(3, 3)), tmp_path / "model.pkl")
    model = Model(0, "cpu")
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"perhaps renamed: 0\.weights -> blocks\.0\.weights"):
        model.load_state_dict(load_state_dict_from_file(tmp_path / "model.pkl"))
    for path, array in model.state_dict().items():
        np.testing.assert_equal(array, before[path])
