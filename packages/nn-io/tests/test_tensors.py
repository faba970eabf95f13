"""Tensors, wherever they live, are saved from the host's copy."""

from pathlib import Path

import numpy as np
from nn_io import load_state_dict_from_file, save_model_parameters
from nn_tensor import Tensor


def test_tensors_are_saved_from_their_device(device: str, tmp_path: Path, ending: str) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    weights = Tensor(values, device=device, requires_grad=True)
    path = tmp_path / f"model{ending}"
    save_model_parameters({"weights": weights, "turned": weights.detach().T}, path)
    state = load_state_dict_from_file(path)
    np.testing.assert_array_equal(state["weights"], values)
    np.testing.assert_array_equal(state["turned"], values.T)
    assert weights.device == device
