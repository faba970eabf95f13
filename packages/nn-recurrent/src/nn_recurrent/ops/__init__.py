"""The operations and kernels of recurrent layers, for custom layers.

==================  ==================================================================
module              what is in it
==================  ==================================================================
`lstm`              the operation `lstm`
`lstm_steps`        its kernels, `lstm_forward_steps` and `lstm_backward_steps`
`gru`               the operation `gru`
`gru_steps`         its kernels, `gru_forward_steps` and `gru_backward_steps`
`gru_before_steps`  those of the variant in which the reset gate acts first
`rnn`               the operation `rnn`
`rnn_steps`         its kernels, `rnn_forward_steps` and `rnn_backward_steps`
`packing`           `Packing`, `take_rows`, `put_rows`: sequences without their padding
`steps`             `Steps`: where the rows of each time step lie
==================  ==================================================================
"""

__all__: list[str] = []
