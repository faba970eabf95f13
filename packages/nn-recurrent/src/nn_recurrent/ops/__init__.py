"""The operations and kernels of recurrent layers, for custom layers.

============  ==================================================================
module        what is in it
============  ==================================================================
`lstm`        the operation `lstm`
`lstm_steps`  its kernels, `lstm_forward_steps` and `lstm_backward_steps`
`gru`         the operation `gru`
`gru_steps`   its kernels, `gru_forward_steps` and `gru_backward_steps`
`rnn`         the operation `rnn`
`packing`     `Packing`, `take_rows`, `put_rows`: sequences without their padding
`steps`       `Steps`: where the rows of each time step lie
============  ==================================================================
"""

__all__: list[str] = []
