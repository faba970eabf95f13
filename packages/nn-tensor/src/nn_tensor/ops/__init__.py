"""The operations, grouped as in NumPy's manual; each is a forward with its rules under it."""

from typing import TYPE_CHECKING

from nn_tensor.ops import (
    activations,
    arithmetic,
    elementwise,
    indexing,
    linalg,
    logic,
    reductions,
    shape,
)
from nn_tensor.ops import (
    softmax as _softmax,
)
from nn_tensor.ops.activations import *  # noqa: F403
from nn_tensor.ops.arithmetic import *  # noqa: F403
from nn_tensor.ops.elementwise import *  # noqa: F403
from nn_tensor.ops.indexing import *  # noqa: F403
from nn_tensor.ops.linalg import *  # noqa: F403
from nn_tensor.ops.logic import *  # noqa: F403
from nn_tensor.ops.reductions import *  # noqa: F403
from nn_tensor.ops.shape import *  # noqa: F403
from nn_tensor.ops.softmax import *  # noqa: F403

if not TYPE_CHECKING:  # type checkers follow the imports above, and cannot follow these sums
    __all__ = []
    __all__ += activations.__all__
    __all__ += arithmetic.__all__
    __all__ += elementwise.__all__
    __all__ += indexing.__all__
    __all__ += linalg.__all__
    __all__ += logic.__all__
    __all__ += reductions.__all__
    __all__ += shape.__all__
    __all__ += _softmax.__all__
