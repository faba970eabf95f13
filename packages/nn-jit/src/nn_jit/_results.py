"""What a recorded function returned, as a template of what its replays return."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_of, has_graph

from nn_jit._errors import JitError
from nn_jit._same import MISSING, PLAIN, same

__all__ = ["Results", "checked", "is_array", "outline"]


def is_array(x: Any) -> bool:
    """Return whether `x` is an array or scalar of NumPy, or an array on a device."""
    return isinstance(x, (np.ndarray, np.generic)) or hasattr(x, "__cuda_array_interface__")


def outline(x: Any, inside: bool = False) -> Any:
    """Return what an external gave, with MISSING for arrays and for objects that may hold some."""
    if isinstance(x, (tuple, list)):
        parts = [outline(part, True) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    if type(x) is dict:
        return {key: outline(part, True) for key, part in x.items()}
    is_part = is_array(x) or isinstance(x, Tensor) or (inside and not isinstance(x, PLAIN))
    return MISSING if is_part else x


def checked(x: Any, expected: Any, label: str) -> Any:
    """Return what an external gives in a replay with arrays in place of Tensors.

    Raises:
        JitError: if it is not as it was recorded, beside the values of arrays.
    """
    if x is expected:
        return x
    if expected is MISSING:
        return array_of(x) if isinstance(x, Tensor) else x
    if type(x) is type(expected) and isinstance(x, (tuple, list, dict)) and len(x) == len(expected):
        if isinstance(x, dict):
            parts = [checked(x.get(key, MISSING), y, label) for key, y in expected.items()]
            return dict(zip(expected, parts, strict=True))
        parts = [checked(a, b, label) for a, b in zip(x, expected, strict=True)]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    if same(x, expected):
        return x
    raise JitError(
        f"{label} gave {x!r:.80}, and {expected!r:.80} when the function was recorded, which a "
        "replay would not see; return such a number as an array, np.asarray(number, dtype)"
    )


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
