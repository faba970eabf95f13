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

from nn_tensor._autocast import is_autocast_dtype
from nn_tensor._caller import FRAMEWORK, caller
from nn_tensor._checks import (
    check_bool,
    check_choice,
    check_floating_dtype,
    check_integer,
    check_number,
    check_probability,
    check_shape,
    keyword_only,
)
from nn_tensor._compiled_steps import compile_steps, is_elementwise
from nn_tensor._convert import array_module
from nn_tensor._deferred_errors import check_range, raise_deferred_errors
from nn_tensor._device import Device, device_of, device_scope, is_array, put, xp_for
from nn_tensor._dropout_mask import apply_dropout, dropout_mask
from nn_tensor._dtype import accumulation_dtype, is_floating
from nn_tensor._elsewhere import missing_name, name_here, names_elsewhere
from nn_tensor._errors import describe
from nn_tensor._half_products import half_product
from nn_tensor._internals import (
    array_of,
    gradient_of,
    has_graph,
    hooks_of,
    needs_grad_of,
    new_tensor,
    set_array,
    set_gradient,
)
from nn_tensor._kernel import (
    Kernel,
    compile_parts,
    compiled_kernels_run,
    kernel,
    refuse_compiled_kernels,
)
from nn_tensor._kernel_jobs import kernel_job
from nn_tensor._matrix_product import is_large_product, matrix_product
from nn_tensor._modes import current_modes, is_anomaly_detected
from nn_tensor._numpy_memory import empty_aligned, small_buffers
from nn_tensor._numpy_steps import Step, numpy_steps
from nn_tensor._observe import Observer, current_observer, external, noted, observe
from nn_tensor._op import op
from nn_tensor._row_kernel import RowKernel
from nn_tensor._state_dict import FORMAT_VERSION, METADATA_KEY, StateDictReader, write_array
from nn_tensor._structures import has_parts, leaves_of, map_parts, map_structure, named_leaves
from nn_tensor._versions import mark_dirty
from nn_tensor.ops.activations import relu_gradient
from nn_tensor.ops.indexing import add_at

__all__ = [
    "FORMAT_VERSION",
    "FRAMEWORK",
    "METADATA_KEY",
    "Device",
    "Kernel",
    "Observer",
    "RowKernel",
    "StateDictReader",
    "Step",
    "accumulation_dtype",
    "add_at",
    "apply_dropout",
    "array_module",
    "half_product",
    "array_of",
    "caller",
    "current_modes",
    "current_observer",
    "is_anomaly_detected",
    "is_array",
    "is_autocast_dtype",
    "is_elementwise",
    "is_floating",
    "is_large_product",
    "check_bool",
    "check_choice",
    "check_floating_dtype",
    "check_integer",
    "check_number",
    "check_probability",
    "check_range",
    "check_shape",
    "compile_parts",
    "compile_steps",
    "compiled_kernels_run",
    "describe",
    "device_of",
    "device_scope",
    "dropout_mask",
    "empty_aligned",
    "external",
    "gradient_of",
    "has_graph",
    "has_parts",
    "hooks_of",
    "kernel",
    "kernel_job",
    "keyword_only",
    "leaves_of",
    "map_parts",
    "map_structure",
    "mark_dirty",
    "matrix_product",
    "missing_name",
    "name_here",
    "named_leaves",
    "names_elsewhere",
    "needs_grad_of",
    "noted",
    "new_tensor",
    "numpy_steps",
    "observe",
    "op",
    "put",
    "raise_deferred_errors",
    "refuse_compiled_kernels",
    "relu_gradient",
    "set_array",
    "set_gradient",
    "small_buffers",
    "write_array",
    "xp_for",
]
