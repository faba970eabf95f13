"""The operations and kernels of recurrent layers, for layers of your own.

=========  =========================================================================
module     operations, and what they share
=========  =========================================================================
`lstm`     `lstm`, and its kernels `lstm_forward_steps` and `lstm_backward_steps`
`gru`      `gru`, and its kernels `gru_forward_steps` and `gru_backward_steps`
`rnn`      `rnn`
`packing`  `Packing`, `take_rows`, `put_rows`: sequences without their padding
`steps`    `Steps`: where the rows of each time step lie
=========  =========================================================================
"""

__all__: list[str] = []
