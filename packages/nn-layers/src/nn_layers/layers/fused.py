"""What consecutive layers of a `Sequential` compute as one operation.

================================  ================================================================
layers                            what is saved
================================  ================================================================
`Conv2D`, `ReLU`, `MaxPool2D`     two passes over memory; the outputs of the convolution are never
                                  written, where nn-kernels computes them and windows are 2×2
`Conv2D`, `ReLU`                  a pass over memory
`ReLU`, `MaxPool2D`               ReLU is applied to the maxima, of which there are fewer
================================  ================================================================

Results and gradients are those of the layers one after the other. The layers are of exactly these
classes, and nothing sees what passes between them; `nn_layers.module.fusion` has the rules.
"""

from __future__ import annotations

import math
from typing import Any

from nn_tensor import Tensor

from nn_layers.layers.activations import ReLU
from nn_layers.layers.conv2d import Conv2D
from nn_layers.layers.pooling import MaxPool2D
from nn_layers.module.fusion import fuses
from nn_layers.ops.conv2d_relu import conv2d_max_pool2d_relu, conv2d_relu

__all__: list[str] = []


def _has_fewer_maxima(pool: MaxPool2D) -> bool:
    return math.prod(pool._windows.stride) > 1


@fuses(Conv2D, ReLU, MaxPool2D)
def _(conv: Conv2D, relu: ReLU, pool: MaxPool2D, x: Any) -> Any:
    x, weights, bias, windows, groups = conv.arguments(x)
    if not _has_fewer_maxima(pool):
        return pool(conv2d_relu(x, weights, bias, windows, groups))
    return conv2d_max_pool2d_relu(x, weights, bias, windows, pool._windows, groups)


@fuses(Conv2D, ReLU)
def _(conv: Conv2D, relu: ReLU, x: Any) -> Any:
    return conv2d_relu(*conv.arguments(x))


@fuses(ReLU, MaxPool2D)
def _(relu: ReLU, pool: MaxPool2D, x: Any) -> Any:
    # ReLU rises, and where it does not, it is 0 with a gradient of 0
    if _has_fewer_maxima(pool) and isinstance(x, Tensor) and x.dtype.kind == "f":
        return relu(pool(x))
    return NotImplemented
