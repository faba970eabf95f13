"""Compares the first replay of a program with the function as written, from the same state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_of, gradient_of, named_leaves, set_array, set_gradient

from nn_jit._plan import generators_of
from nn_jit._program import JitError, Program
from nn_jit._same import same

__all__ = ["verify"]


def verify(program: Program, plain: Callable[[], Any], leaves: Sequence[Any]) -> Any:
    """Replay a program on what is then restored, run the function, and compare; return its result.

    Raises:
        JitError: if a result, a gradient or a Tensor differs; the function has then run as written.
    """
    state = _State(program, leaves)
    try:
        found = state.read(program.replay(leaves))
    finally:
        state.restore()
    result = plain()
    expected = state.read(result)
    problems = [
        f"{name}: {problem}"
        for name in found | expected
        if (problem := _difference(found.get(name, "nothing"), expected.get(name, "nothing")))
    ]
    if problems:
        more = f", and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise JitError(
            f"the first replay differed from the function as written: {'; '.join(problems[:5])}"
            f"{more}. The call has run as written. A replay repeats operations, not Python: values "
            "that change from call to call (a counter, an attribute that is set, a generator "
            "without a seed) are arguments, or read through nn_tensor.extend.external"
        )
    return result


class _State:
    """All that a program reads and writes beside its results, remembered."""

    def __init__(self, program: Program, leaves: Sequence[Any]) -> None:
        found = [r.tensor if r.number is None else leaves[r.number] for r in program.refs]
        found += [*(tensor for tensor, _ in program.states), *leaves]
        tensors = {id(x): x for x in found if isinstance(x, Tensor)}.values()
        self.tensors = [(x, array_of(x), gradient_of(x)) for x in tensors]
        self.others = [x for x in leaves if not isinstance(x, Tensor)]
        written = [x for _, *arrays in self.tensors for x in arrays if x is not None] + self.others
        self.copies = [(x, x.copy()) for x in written if getattr(x.flags, "writeable", True)]
        generators = {id(g): g for call in program.calls for g in generators_of(call)}
        self.generators = [(g, g.bit_generator.state) for g in generators.values()]
        self.restores = [call.snapshot() for call in program.calls if call.snapshot is not None]

    def restore(self) -> None:
        for tensor, array, gradient in self.tensors:
            set_array(tensor, array)
            set_gradient(tensor, gradient)
        for array, copy in self.copies:
            array[...] = copy
        for generator, state in self.generators:
            generator.bit_generator.state = state
        for function in self.restores:
            function()

    def read(self, result: Any) -> dict[str, Any]:
        """Return copies of the arrays of a result, and of the state."""
        found = dict(named_leaves(result, "result"))
        for n, (x, _, _) in enumerate(self.tensors):
            found[f"Tensor {n} of shape {x.shape}"] = array_of(x)
            found[f"the gradient of Tensor {n} of shape {x.shape}"] = gradient_of(x)
        found |= {f"argument {n}, an array": x for n, x in enumerate(self.others)}
        return {name: _on_host(x) if hasattr(x, "dtype") else x for name, x in found.items()}


def _on_host(x: Any) -> Any:
    return np.array(x if isinstance(x, (np.ndarray, np.generic)) else Tensor(x).numpy())


def _difference(a: Any, b: Any) -> str | None:
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return None if same(a, b) else f"{a!r} in the replay, {b!r} as written"
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{a.dtype} {a.shape} in the replay, {b.dtype} {b.shape} as written"
    numbers = [(np.where(x == x, x, 0).tobytes(), (x != x).tobytes()) for x in (a, b)]
    if numbers[0] == numbers[1]:  # -0 is another number than 0; one NaN is as good as another
        return None
    with np.errstate(all="ignore"):
        gaps = np.abs(a.astype(np.complex128) - b.astype(np.complex128))
        gap = np.fmax.reduce(gaps, axis=None, initial=0.0)
    return f"differs by up to {gap:.3g}" if gap else "differs in the sign of a zero, or in NaN"
