"""The operations and kernels of the layers, for custom layers: one public module a domain.

===============  =====================================================================
module           operations, and what they share
===============  =====================================================================
`activations`    `leaky_relu`, `elu`, `silu`
`gelu`           `gelu`, `gelu_tanh`
`linear`         `linear`
`conv2d`         `conv2d`, `conv2d_input_gradient`, `conv2d_weight_gradient`
`conv2d_relu`    `conv2d_relu`, `conv2d_max_pool2d_relu`: with ReLU, and max-pooling
`im2col`         the kernels `im2col` and `col2im`
`pooling`        `max_pool2d`, `max_unpool2d`, `gather_by_window_index`, `avg_pool2d`
`windows`        `Windows`: where the windows of convolution and pooling lie
`normalization`  `standardize`, `scale_and_shift`, `moving_average`
`layer_norm`     `standardize_and_scale`, both in one pass
`batch_norm`     `batch_norm`, both in one pass over channels
`dropout`        `dropout`
`embedding`      `embedding_lookup`, `embedding_scatter`, `segment_sum`, `take_rows`
===============  =====================================================================

An operation computes on Tensors and records, or on arrays and does not. The kernels of an operation
``f`` are named ``f_forward`` and ``f_backward``, the operation that computes its gradient
``f_gradient``. Exceptions are known names: `max_unpool2d` is the gradient of `max_pool2d`, and the
kernels of normalization, in `normalization_by_row` and `normalization_by_channel`, are those of
layer and of batch normalization.

>>> import numpy as np
>>> from nn_layers.ops.pooling import avg_pool2d
>>> from nn_layers.ops.windows import Windows
>>> avg_pool2d(np.ones((1, 1, 4, 4)), Windows((2, 2), stride=(2, 2))).shape
(1, 1, 2, 2)
"""

__all__: list[str] = []
