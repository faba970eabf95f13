"""Compares the first replay of a program with the function as written, from the same state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_of, gradient_of, set_array, set_gradient

from nn_jit._errors import JitError
from nn_jit._plan import generators_of
from nn_jit._program import Program, TensorRef
from nn_jit._same import same

__all__ = ["verify"]


def verify(
    program: Program,
    replay: Callable[[Any], Any],
    plain: Callable[[], Any],
    leaves: Sequence[Any],
) -> Any:
    """Replay a program on what is then restored, run the function, and compare; return its result.

    Raises:
        JitError: if a result, a gradient or a Tensor differs; the function has then run as written.
    """
    state = _State(program, leaves)
    try:
        found = _flatten(replay(leaves), "result") + state.read()
        found = [(name, _host(x)) for name, x in found]
    finally:
        state.restore()
    result = plain()
    expected = [(name, _host(x)) for name, x in _flatten(result, "result") + state.read()]
    problems = [
        f"{name}: {problem}"
        for (name, a), (_, b) in zip(found, expected, strict=True)
        if (problem := _difference(a, b))
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
        refs = [x for call in program.calls for x in call.arguments if isinstance(x, TensorRef)]
        tensors = [ref.tensor if ref.number is None else leaves[ref.number] for ref in refs]
        tensors += [tensor for tensor, _ in program.states]
        tensors += [x for x in leaves if isinstance(x, Tensor)]
        self.tensors = list({id(t): t for t in tensors}.values())
        self.gradients = [t.grad if gradient_of(t) is not None else None for t in self.tensors]
        self.arrays = [array_of(t) for t in self.tensors]
        self.others = [x for x in leaves if isinstance(x, np.ndarray)]
        written = [
            *self.arrays,
            *self.others,
            *(array_of(g) for g in self.gradients if g is not None),
        ]
        self.copies = [(a, a.copy()) for a in written if getattr(a.flags, "writeable", True)]
        generators = {id(g): g for call in program.calls for g in generators_of(call)}
        self.generators = [(g, g.bit_generator.state) for g in generators.values()]
        self.restores = [call.snapshot() for call in program.calls if call.snapshot is not None]

    def restore(self) -> None:
        for tensor, array, gradient in zip(self.tensors, self.arrays, self.gradients, strict=True):
            set_array(tensor, array)
            set_gradient(tensor, None)
            if gradient is not None:
                tensor.grad = gradient
        for array, copy in self.copies:
            array[...] = copy
        for generator, state in self.generators:
            generator.bit_generator.state = state
        for function in self.restores:
            function()

    def read(self) -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        for number, tensor in enumerate(self.tensors):
            found.append((f"Tensor {number} of shape {tensor.shape}", array_of(tensor)))
            found.append((f"the gradient of a Tensor of shape {tensor.shape}", gradient_of(tensor)))
        return found + [("an array that is an argument", array) for array in self.others]


def _flatten(x: Any, name: str) -> list[tuple[str, Any]]:
    if isinstance(x, Tensor):
        return [(name, array_of(x))]
    if isinstance(x, dict):
        return [leaf for key, part in x.items() for leaf in _flatten(part, f"{name}[{key!r}]")]
    if isinstance(x, (tuple, list)):
        return [leaf for n, part in enumerate(x) for leaf in _flatten(part, f"{name}[{n}]")]
    return [(name, x)]


def _host(x: Any) -> Any:
    if hasattr(x, "dtype"):
        return np.array(x if isinstance(x, (np.ndarray, np.generic)) else Tensor(x).numpy())
    return x


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
