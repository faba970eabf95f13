"""Learned positions, rotary embeddings, and positions that are given."""

from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor
from nn_tensor.testing import gradcheck
from nn_transformer import LearnedPositions, PositionalEncoding, RotaryPositions
from nn_transformer.modules.rotary_embedding import rotate_pairs


def test_rotary_angles_equal_the_paper(device: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 7, 3, 6))
    layer = RotaryPositions(6, 10, dtype="float64", device=device)
    turned = layer(Tensor(x, device)).numpy()
    for t in range(7):
        for i in range(3):
            pair = (x[:, t, :, 2 * i] + 1j * x[:, t, :, 2 * i + 1]) * np.exp(
                1j * t / 10000 ** (2 * i / 6)
            )
            np.testing.assert_allclose(turned[:, t, :, 2 * i], pair.real, rtol=1e-12)
            np.testing.assert_allclose(turned[:, t, :, 2 * i + 1], pair.imag, rtol=1e-12)


def test_rotary_scores_depend_on_relative_positions_only(device: str) -> None:
    rng = np.random.default_rng(0)
    layer = RotaryPositions(8, 30, dtype="float64", device=device)
    query, key = (Tensor(rng.standard_normal((1, 1, 1, 8)), device) for _ in range(2))

    def score(at: int, other: int) -> float:
        places = [Tensor(np.array([i]), device).data for i in (at, other)]
        turned = layer(query, places[0]) * layer(key, places[1])
        return float(turned.sum().item())

    assert score(3, 1) == pytest.approx(score(25, 23), rel=1e-12)
    assert score(3, 1) != pytest.approx(score(3, 2), rel=1e-3)


def test_gradients_of_rotation_and_learned_positions(device: str) -> None:
    rng = np.random.default_rng(0)
    cosines, sines = (Tensor(rng.standard_normal((5, 1, 2)), device) for _ in range(2))
    x = Tensor(rng.standard_normal((2, 5, 3, 4)), device)
    gradcheck(lambda x: rotate_pairs(x, cosines, sines) ** 2, [x], order=2)
    layer = LearnedPositions(4, 8, device=device, rng=0)
    layer(Tensor(np.zeros((3, 5, 4), np.float32), device)).sum().backward()
    wanted = np.repeat([3.0] * 5 + [0.0] * 3, 4).reshape(8, 4)
    np.testing.assert_array_equal(layer.weights.grad.numpy(), wanted)


@pytest.mark.parametrize("kind", [PositionalEncoding, LearnedPositions])
def test_explicit_positions(kind: Any, device: str) -> None:
    layer = kind(4, 8, device=device, rng=0)
    x = Tensor(np.zeros((2, 3, 4), np.float32), device)
    table = layer.table.numpy()
    places = np.array([[0, 0, 1], [5, 6, 7]])
    np.testing.assert_array_equal(layer(x, Tensor(places, device).data).numpy(), table[places])
    np.testing.assert_array_equal(layer(x).numpy()[1], table[:3])
    np.testing.assert_array_equal(layer(x, [7, 0, 2]).numpy()[1], table[[7, 0, 2]])
    for wrong in (8, -1):
        with pytest.raises(
            ValueError, match=f"positions: {wrong} is out of range for max_seq_len=8"
        ):
            layer(x, [0, 1, wrong])
    with pytest.raises(TypeError, match="positions: expected integers"):
        layer(x, [0.0, 1.0, 2.0])
