"""The public door for new operations: what the other packages use, and your library can.

An operation is a function of arrays with its backward rules under it; `op` explains the form::

    from nn_tensor.extend import op

    @op
    def cube(xp, x, /):
        return x * x * x

    @cube.gradient("x")
    def _(g, x):
        return g * (3 * x * x)

Rules are written in operators and operations, so they hold for every order of derivative. Check
them with `nn_tensor.testing.gradcheck`. Hot loops go into a `kernel`.

>>> from nn_tensor import Tensor
>>> from nn_tensor.extend import op
>>> @op
... def cube(xp, x, /):
...     return x * x * x
>>> @cube.gradient("x")
... def _(g, x):
...     return g * (3 * x * x)
>>> x = Tensor([2.0], requires_grad=True)
>>> cube(x).backward()
>>> x.grad
Tensor([12.])
"""

from nn_tensor._autograd import mark_written as mark_written
from nn_tensor._device import Device as Device
from nn_tensor._device import device_of as device_of
from nn_tensor._device import device_scope as device_scope
from nn_tensor._device import put as put
from nn_tensor._device import xp_for as xp_for
from nn_tensor._errors import describe as describe
from nn_tensor._kernel import Kernel as Kernel
from nn_tensor._kernel import kernel as kernel
from nn_tensor._op import array_module as array_module
from nn_tensor._op import op as op
from nn_tensor.ops.indexing import add_at as add_at

__all__ = [
    "Device",
    "Kernel",
    "add_at",
    "array_module",
    "describe",
    "device_of",
    "device_scope",
    "kernel",
    "mark_written",
    "op",
    "put",
    "xp_for",
]
