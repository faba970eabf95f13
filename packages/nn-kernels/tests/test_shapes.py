"""Arrays of wrong shapes are left to the references, which raise: no kernel reads beyond them."""

import numpy as np
import pytest
from nn_kernels import convolution, layer_norm, normalization, softmax

WINDOWS = (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "auto"


def zeros(*shape):
    return np.zeros(shape, np.float32)


IMAGES, WEIGHTS, ROWS, CHANNELS = (
    zeros(8, 16, 16, 16),
    zeros(16, 16, 3, 3),
    zeros(64, 512),
    zeros(8, 16, 256),
)
CLASSES, ONE = np.zeros(64, np.int64), zeros(64, 1)
CALLS = {
    "convolution, bias": lambda: convolution.conv2d(IMAGES, WEIGHTS, zeros(3), WINDOWS, 1),
    "convolution, channels": lambda: convolution.conv2d(
        IMAGES, zeros(16, 8, 3, 3), 0.0, WINDOWS, 1
    ),
    "convolution, gradient": lambda: convolution.conv2d_input_gradient(
        IMAGES, zeros(32, 16, 3, 3), (16, 16), WINDOWS, 1
    ),
    "layer normalization, weights": lambda: layer_norm.scaled_layer_norm(
        ROWS, zeros(3), None, 1e-5, True
    ),
    "layer normalization, bias": lambda: layer_norm.scaled_layer_norm(
        ROWS, zeros(512), zeros(3), 1e-5, True
    ),
    "layer normalization, gradient": lambda: layer_norm.scaled_layer_norm_gradient(
        ROWS, ROWS, ONE, zeros(3), True
    ),
    "rows, gradient": lambda: layer_norm.scale_rows_gradient(ROWS, ROWS, zeros(3)),
    "channels, weights": lambda: normalization.scale_channels(CHANNELS, zeros(3), zeros(16)),
    "channels, bias": lambda: normalization.scale_channels(CHANNELS, zeros(16), zeros(3)),
    "channels, gradient": lambda: normalization.scale_channels_gradient(
        CHANNELS, CHANNELS, zeros(3)
    ),
    "cross-entropy, classes": lambda: softmax.cross_entropy(ROWS, CLASSES[:3], None, 0.0),
    "cross-entropy, weights": lambda: softmax.cross_entropy(ROWS, CLASSES, zeros(3), 0.0),
    "cross-entropy, gradient": lambda: softmax.cross_entropy_gradient(
        zeros(3), ROWS, ONE, CLASSES, 0.0
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_shapes_are_left_to_the_reference(name):
    assert CALLS[name]() is NotImplemented
