"""Tensors on any device are saved."""

from pathlib import Path

import numpy as np
from nn_io import load_state_dict_from_file, save_model_parameters
from nn_tensor import Tensor


def test_tensors_are_saved_from_their_device(device: str, tmp_path: Path, suffix: str) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    weights = Tensor(values, device=device, requires_grad=True)
    path = tmp_path / f"model{suffix}"
    save_model_parameters({"weights": weights, "transposed": weights.detach().T}, path)
    state = load_state_dict_from_file(path)
    np.testing.assert_array_equal(state["weights"], values)
    np.testing.assert_array_equal(state["transposed"], values.T)
    assert weights.device == device
