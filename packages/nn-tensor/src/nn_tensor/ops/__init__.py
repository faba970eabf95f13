"""The operations, grouped as in NumPy's manual; each is a forward with its rules under it."""

from typing import TYPE_CHECKING

from nn_tensor.ops import (
    activations,
    arithmetic,
    elementwise,
    indexing,
    linalg,
    logic,
    matrices,
    padding,
    reductions,
    shape,
    sorting,
    statistics,
)
from nn_tensor.ops import (
    softmax as _softmax,
)
from nn_tensor.ops.activations import *  # noqa: F403
from nn_tensor.ops.arithmetic import *  # noqa: F403
from nn_tensor.ops.elementwise import *  # noqa: F403
from nn_tensor.ops.elementwise import round as round
from nn_tensor.ops.indexing import *  # noqa: F403
from nn_tensor.ops.linalg import *  # noqa: F403
from nn_tensor.ops.logic import *  # noqa: F403
from nn_tensor.ops.matrices import *  # noqa: F403
from nn_tensor.ops.padding import *  # noqa: F403
from nn_tensor.ops.reductions import *  # noqa: F403
from nn_tensor.ops.shape import *  # noqa: F403
from nn_tensor.ops.softmax import *  # noqa: F403
from nn_tensor.ops.sorting import *  # noqa: F403
from nn_tensor.ops.statistics import *  # noqa: F403

if not TYPE_CHECKING:  # type checkers follow the imports above, and cannot follow this
    _modules = [activations, arithmetic, elementwise, indexing, linalg, logic]
    _modules += [matrices, padding, reductions, shape, _softmax, sorting, statistics]
    __all__ = [name for module in _modules for name in module.__all__]
