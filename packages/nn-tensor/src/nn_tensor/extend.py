"""The extension API for new operations: what the other packages use, and your library can.

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

from nn_tensor._checks import check_bool as check_bool
from nn_tensor._checks import check_choice as check_choice
from nn_tensor._checks import check_floating_dtype as check_floating_dtype
from nn_tensor._checks import check_integer as check_integer
from nn_tensor._checks import check_number as check_number
from nn_tensor._checks import check_probability as check_probability
from nn_tensor._checks import check_shape as check_shape
from nn_tensor._checks import keyword_only as keyword_only
from nn_tensor._device import Device as Device
from nn_tensor._device import device_of as device_of
from nn_tensor._device import device_scope as device_scope
from nn_tensor._device import put as put
from nn_tensor._device import xp_for as xp_for
from nn_tensor._dtype import accumulation_dtype as accumulation_dtype
from nn_tensor._errors import describe as describe
from nn_tensor._kernel import Kernel as Kernel
from nn_tensor._kernel import kernel as kernel
from nn_tensor._op import array_module as array_module
from nn_tensor._op import op as op
from nn_tensor._state_dict import FORMAT_VERSION as FORMAT_VERSION
from nn_tensor._state_dict import METADATA_KEY as METADATA_KEY
from nn_tensor._state_dict import StateDictReader as StateDictReader
from nn_tensor._state_dict import write_array as write_array
from nn_tensor._versions import mark_dirty as mark_dirty
from nn_tensor.ops.indexing import add_at as add_at

__all__ = [
    "FORMAT_VERSION",
    "METADATA_KEY",
    "Device",
    "Kernel",
    "StateDictReader",
    "accumulation_dtype",
    "add_at",
    "array_module",
    "check_bool",
    "check_choice",
    "check_floating_dtype",
    "check_integer",
    "check_number",
    "check_probability",
    "check_shape",
    "describe",
    "device_of",
    "device_scope",
    "kernel",
    "keyword_only",
    "mark_dirty",
    "op",
    "put",
    "write_array",
    "xp_for",
]
