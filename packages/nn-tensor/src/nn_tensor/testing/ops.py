"""Rows of ops: values, gradients, dtypes, memory layouts, devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from nn_tensor._grad import grad
from nn_tensor._modes import no_grad
from nn_tensor._tensor import Tensor
from nn_tensor.extend import array_module
from nn_tensor.testing.assertions import assert_close, flatten, refusal, require
from nn_tensor.testing.cases import Array, Case, Shape
from nn_tensor.testing.gradcheck import gradcheck
from nn_tensor.testing.half_precision import assert_close_in_half, weights_in_half

__all__ = ["BuiltCase", "OpCase"]


def _strided(xp: Any, x: Any) -> Any:
    view = xp.zeros([2 * n for n in x.shape], x.dtype)[(slice(None, None, 2),) * x.ndim]
    view[...] = x
    return view


_LAYOUTS: dict[str, Callable[[Any, Any], Any]] = {
    "fortran": lambda xp, x: xp.asfortranarray(x),
    "strided": _strided,
    "reversed": lambda xp, x: xp.flip(xp.flip(x).copy()),
    "broadcast": lambda xp, x: (
        xp.broadcast_to(x[:1], x.shape) if x.size and x.dtype.kind == "f" else x
    ),
}

# Shapes of the last two inputs of an elementwise op; those before them get (3, 1) or ().
_BROADCASTS: dict[str, tuple[Shape, Shape]] = {
    "equal": ((3, 4), (3, 4)),
    "row": ((3, 4), (4,)),
    "column": ((3, 4), (3, 1)),
    "both": ((3, 1), (1, 4)),
    "scalar": ((3, 4), ()),
    "scalars": ((), ()),
    "more axes": ((3, 4), (2, 1, 4)),
    "no rows": ((0, 4), (4,)),
    "stretched to nothing": ((2, 0), (2, 1)),
}

# Relative to the largest element: float16 has 11 bits, of which a few steps keep 6.
_GRADIENT_TOLERANCES = {"float16": 3e-2, "float32": 1e-4}


@dataclass(frozen=True, eq=False)
class OpCase(Case):
    """A row of an op, or of any function: ``function(*inputs, **options)``, on Tensors or arrays.

    The reference takes the same inputs, as NumPy arrays, and the same options.

    It also takes the arguments of `Case`.

    Args:
        wrt: the positions of the inputs that have a gradient; by default all floating ones.
        order: the highest order of derivative that is compared with finite differences.
        step: the distance between the points of the finite differences.
        dtypes: the dtypes in which the values are compared with the reference.
        tolerances: the relative and absolute error allowed by dtype, where that of `assert_close`
            is too small.
        elementwise: whether the inputs may have any shapes that broadcast.
        arrays_give_arrays: whether the function returns arrays for arrays, as ops do.
        half_bound: the relative error in float16, see `half_precision_checks`; by default that of
            four roundings.

    >>> from nn_tensor import exp
    >>> from nn_tensor.testing import each_check
    >>> row = OpCase(exp, np.exp, [("normal", (3, 4))], elementwise=True)
    >>> [str(check) for check in each_check([row])][:3]
    ['exp: forward float32', 'exp: forward float64', 'exp: recording']
    """

    _: KW_ONLY
    wrt: Sequence[int] | None = None
    order: int = 2
    step: float = 1e-3
    dtypes: Sequence[str] = ("float32", "float64")
    tolerances: Mapping[str, float] = field(default_factory=dict)
    elementwise: bool = False
    arrays_give_arrays: bool = True
    half_bound: float = 2e-3
    half_dtype: ClassVar[str] = "float16"  # of results in half precision

    def __call__(self, *inputs: Any) -> Any:
        """Compute on Tensors or arrays with the options of the row."""
        return self.function(*inputs, **self.options)

    def try_options(self, **options: Any) -> None:
        """Compute with other options."""
        self.function(*self.draw(), **{**self.options, **options})

    def expect(self, *arrays: Array) -> list[Array]:
        """Return what the reference computes."""
        return [np.asarray(x) for x in flatten(self.reference(*arrays, **self.options))]

    @cached_property  # most checks ask for it, and drawing the inputs may take longer than the rest
    def differentiable(self) -> Sequence[int]:
        """The positions of the inputs that have a gradient."""
        if self.wrt is not None:
            return self.wrt
        return [i for i, x in enumerate(self.draw()) if x.dtype.kind == "f"]

    def tensors(self, arrays: Sequence[Any], device: str) -> list[Tensor]:
        """Return the inputs as Tensors, those that have a gradient as leaves."""
        wrt = self.differentiable
        return [Tensor(x, device=device, requires_grad=i in wrt) for i, x in enumerate(arrays)]

    def gradients(self, inputs: Sequence[Any]) -> list[Tensor]:
        """Return the gradients of one fixed weighting of the results."""
        rng = np.random.default_rng(1)
        total: Any = 0.0
        for y in flatten(self(*inputs)):
            weights = Tensor(rng.normal(size=y.shape).astype(y.dtype), device=y.device)
            total = total + (y * weights).sum()
        total.backward()
        return [inputs[i].grad for i in self.differentiable]

    def checks(self) -> Iterator[tuple[str, ...]]:
        """Return the checks: what holds for all inputs, for differentiable, for elementwise."""
        if self.reference is not None:
            yield from (("forward", dtype) for dtype in self.dtypes)
        yield from (("recording",), ("inputs_unchanged",))
        yield from (("memory_layout", layout) for layout in _LAYOUTS)
        if self.differentiable:
            yield ("gradients",)
            yield from (("gradient_dtype", dtype) for dtype in _GRADIENT_TOLERANCES)
        if self.elementwise:
            yield from (("broadcasting", shapes) for shapes in _BROADCASTS)
        yield from super().checks()

    def check_forward(self, dtype: str, device: str) -> None:
        """Values and dtype equal those of the reference: not recorded, recorded, from arrays."""
        arrays, tolerance = self.draw(dtype), self.tolerances.get(dtype)
        inputs = [Tensor(x, device=device) for x in arrays]
        calls = (inputs, self.tensors(arrays, device), [x.data for x in inputs])
        results = (flatten(self(*given)) for given in calls)
        for y, recorded, bare, expected in zip(*results, self.expect(*arrays), strict=True):
            assert_close(y, expected, tolerance, tolerance)
            assert_close(recorded, expected, tolerance, tolerance)
            require(isinstance(bare, Tensor) != self.arrays_give_arrays, f"got {type(bare)}")
            require(bare.dtype == y.dtype, f"{bare.dtype} from arrays, {y.dtype} from Tensors")
            np.testing.assert_array_equal(Tensor(bare).numpy(), y.numpy())

    def check_recording(self, device: str) -> None:
        """Results are where the inputs are, and recorded; different devices are refused."""
        first, *others = inputs = self.tensors(self.draw(), device)
        outputs = [(y, bool(self.differentiable)) for y in flatten(self(*inputs))]
        with no_grad():
            results = flatten(self(*inputs))  # which may be an input itself
        outputs += [(y, False) for y in results if all(y is not x for x in inputs)]
        for y, recorded in outputs:
            require(isinstance(y, Tensor), f"expected a Tensor, got {type(y)}")
            require(y.device == first.device, f"is on {y.device}, its input on {first.device}")
            require(y.requires_grad == recorded, f"requires_grad={y.requires_grad}")
        if device != "cpu" and others:
            with refusal(ValueError, "inputs on two devices", "cpu", "cuda"):
                self(first.to("cpu"), *others)

    def check_inputs_unchanged(self, device: str) -> None:
        """Forward and backward leave their inputs as they are: read-only arrays will do."""
        arrays = self.draw()
        for x in arrays:
            x.flags.writeable = False
        inputs = self.tensors(arrays, device)
        self(*(x.data for x in inputs))
        if self.differentiable:
            self.gradients(inputs)
        for x, expected in zip(inputs, self.draw(), strict=True):
            np.testing.assert_array_equal(x.numpy(), expected)

    def check_memory_layout(self, layout: str, device: str) -> None:
        """Inputs that are not contiguous give the same values and gradients as their copies."""
        arrays = [x.data for x in self.tensors(self.draw(), device)]
        arrays = [_LAYOUTS[layout](array_module(x), x) if x.ndim else x for x in arrays]
        inputs = self.tensors(arrays, device)
        copies = self.tensors([x.copy(order="C") for x in arrays], device)
        for y, expected in zip(flatten(self(*inputs)), flatten(self(*copies)), strict=True):
            assert_close(y, expected)
        if self.differentiable:
            if layout == "broadcast":  # the only one with other values than those in `gradients`
                gradcheck(self, copies, wrt=self.differentiable, step=self.step)
            gradients = zip(self.gradients(inputs), self.gradients(copies), strict=True)
            for gradient, expected in gradients:
                assert_close(gradient, expected, rtol=1e-11, atol=1e-12)

    def check_gradients(self, device: str) -> None:
        """Gradients of every order equal finite differences."""
        inputs = self.tensors(self.draw(), device)
        gradcheck(self, inputs, self.order, wrt=self.differentiable, step=self.step)

    def check_gradient_dtype(self, dtype: str, device: str) -> None:
        """Each gradient has its input's dtype and shape, and nearly the values of float64."""
        arrays, bound = self.draw(dtype), _GRADIENT_TOLERANCES[dtype]
        inputs = self.tensors(arrays, device)
        exact = self.tensors([x.astype(float) if x.dtype == dtype else x for x in arrays], device)
        gradients = zip(self.gradients(inputs), self.gradients(exact), strict=True)
        for i, (gradient, expected) in zip(self.differentiable, gradients, strict=True):
            require(gradient.dtype == dtype, f"input {i} is {dtype}, its gradient {gradient.dtype}")
            scale = max(np.abs(expected.numpy()).max(initial=0.0), 1.0)
            assert_close(gradient, expected, bound, bound * scale, check_dtype=False)

    def check_broadcasting(self, shapes: str, device: str) -> None:
        """Inputs of different shapes give the values and gradients of their common shape."""
        first, second = _BROADCASTS[shapes]
        further: list[Shape] = [(3, 1) if shapes == "both" else ()] * len(self.inputs)
        for pair in ((first, second), (second, first)):
            chosen = [*further, *pair][-len(self.inputs) :]
            drawn = [(x[0], shape) for x, shape in zip(self.inputs, chosen, strict=True)]
            row = dataclasses.replace(self, inputs=drawn, label=f"{self.label} {chosen}")
            row.check_forward("float64", device)
            if row.differentiable:
                row.check_gradients(device)

    def check_half_precision(self, device: str) -> None:
        """Results and gradients in float16 are those of float64 on the same values, rounded."""
        half, exact = (self._results_and_gradients(t, device) for t in ("float16", "float64"))
        for name, x, y in zip(exact, half.values(), exact.values(), strict=True):
            dtype = self.half_dtype if y.dtype == "float64" else y.dtype
            require(x.dtype == dtype, f"{name}: {x.dtype}, expected {dtype}")
            assert_close_in_half(x.numpy(), y.numpy(), self.half_bound, name)

    def _results_and_gradients(self, dtype: str, device: str) -> dict[str, Tensor]:
        """Return what float16 values give in `dtype`, by name."""
        given = [x.astype(dtype) if x.dtype == "float16" else x for x in self.draw("float16")]
        inputs, rng = self.tensors(given, device), np.random.default_rng(1)
        outputs = flatten(self(*inputs))
        found = {f"result {i}": y for i, y in enumerate(outputs)}
        recorded = [y for y in outputs if y.requires_grad]
        wrt = self.differentiable
        if recorded and wrt:
            seeds = [weights_in_half(rng, y.shape) for y in recorded]
            seeds = [
                Tensor(w.astype(y.dtype), y.device) for w, y in zip(seeds, recorded, strict=True)
            ]
            gradients = grad(recorded, [inputs[i] for i in wrt], seeds)
            found |= {f"gradient {i}": g for i, g in zip(wrt, gradients, strict=True)}
        return found


@dataclass(frozen=True, eq=False)
class BuiltCase(OpCase):
    """A row of a function of Tensors that is made from options; its reference takes no options."""

    _: KW_ONLY
    dtypes: Sequence[str] = ("float16", "float32", "float64")
    arrays_give_arrays: bool = False

    def try_options(self, **options: Any) -> None:
        """Make one with other options."""
        self.build(**options)

    def expect(self, *arrays: Array) -> list[Array]:
        """Return what the reference computes in float64, in the dtype of the inputs."""
        dtype = next((x.dtype for x in arrays if x.dtype.kind == "f"), np.float64)
        exact = [x.astype(float) if x.dtype.kind == "f" else x for x in arrays]
        return [np.asarray(x).astype(dtype) for x in flatten(self.reference(*exact))]
