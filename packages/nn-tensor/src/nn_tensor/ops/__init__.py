"""The operations, one module per kind; each is a forward with its backward rules under it."""

from nn_tensor.ops.arithmetic import *  # noqa: F403
from nn_tensor.ops.elementwise import *  # noqa: F403
from nn_tensor.ops.indexing import *  # noqa: F403
from nn_tensor.ops.linalg import *  # noqa: F403
from nn_tensor.ops.reductions import *  # noqa: F403
from nn_tensor.ops.selection import *  # noqa: F403
from nn_tensor.ops.shape import *  # noqa: F403
