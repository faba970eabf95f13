"""Record a step of a program once, and replay it without its Python.

>>> from nn_jit import jit
>>> from nn_tensor import Tensor
>>> @jit
... def scale(x):
...     return x * 2.0 + 1.0
>>> for n in range(4):
...     y = scale(Tensor([float(n)]))
>>> y
Tensor([7.])
"""

from nn_jit._explain import Explanation, ProgramExplanation
from nn_jit._jit import JitFunction, jit
from nn_jit._program import JitError

__all__ = ["Explanation", "JitError", "JitFunction", "ProgramExplanation", "jit"]


def __dir__() -> list[str]:
    return __all__
