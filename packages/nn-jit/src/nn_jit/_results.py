"""What a recorded function returned, as a template of what its replays return."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_of, has_graph

from nn_jit._errors import JitError
from nn_jit._same import PLAIN

__all__ = ["Results", "is_array"]


def is_array(x: Any) -> bool:
    """Return whether `x` is an array or scalar of NumPy, or an array on a device."""
    return isinstance(x, (np.ndarray, np.generic)) or hasattr(x, "__cuda_array_interface__")


class Results:
    """Results of the function that a recorder has recorded."""

    def __init__(self, recorder: Any) -> None:
        self.recorder = recorder
        self.tensors: dict[int, tuple[str, Any]] = {}  # templates, one for each Tensor

    def as_written(self, x: Any) -> Any:
        """Return a result with the numbers of externals as Python's."""
        if isinstance(x, Tensor):
            return array_of(x).item() if id(x) in self.recorder.numbers else x
        if isinstance(x, tuple) and hasattr(x, "_fields"):
            return type(x)(*map(self.as_written, x))
        if type(x) in (tuple, list):
            return type(x)(map(self.as_written, x))
        if type(x) is dict:
            return {key: self.as_written(part) for key, part in x.items()}
        return x

    def template(self, x: Any) -> Any:
        """Return a result with values in place of its arrays; each part says what it is."""
        recorder = self.recorder
        if isinstance(x, Tensor):
            if id(x) in recorder.numbers:
                return ("number", recorder.values[id(array_of(x))])
            if id(x) in recorder.input_tensors:
                return ("input", recorder.input_tensors[id(x)])
            if id(x) in recorder.states:
                return ("state", x)
            if has_graph(x):
                raise JitError(
                    f"the function returned a Tensor of shape {x.shape} whose graph was recorded "
                    "for backward, which a replay does not; call backward inside the function, "
                    "compute inside no_grad(), or return it .detach()"
                )
            array = array_of(x)
            known = recorder.values.get(id(array))
            if known is None:
                if id(array) in recorder.made_here:
                    recorder.nowhere("the result", array)
                return ("state", x)
            return self.tensors.setdefault(id(x), ("tensor", known))
        if is_array(x):
            known = recorder.values.get(id(x))
            if known is None:
                recorder.nowhere("the result", x)
            return ("array", known)
        if isinstance(x, tuple) and hasattr(x, "_fields"):
            return ("named", type(x), [self.template(part) for part in x])
        if type(x) in (tuple, list):
            return (type(x).__name__, [self.template(part) for part in x])
        if type(x) is dict:
            return ("dict", {key: self.template(part) for key, part in x.items()})
        if isinstance(x, PLAIN):
            return ("constant", x)
        raise JitError(
            f"the function returned {type(x).__name__}; expected Tensors, numbers or None, in "
            "tuples, lists and dicts"
        )
