"""Compare random programs with PyTorch: values, first and second derivatives.

A program is a few operations on a few float64 leaves, of shapes with empty axes and axes of length
1, in several memory layouts, with zeros, ties and negative zeros among their values. It runs here
and in PyTorch; results and gradients must agree, NaN where NaN::

    python tools/random_programs.py 50000
    python tools/random_programs.py 1 --seed 1234 --verbose    # one program again

At the end the tool counts how far the programs were compared, and why some were not compared to
the end; OUTCOMES lists these classes.
"""

from __future__ import annotations

import argparse
import collections
import math
import sys
import time
import traceback
import warnings

import nn_tensor as nn
import numpy as np
import torch
from nn_tensor import Tensor

TOLERANCE = 1e-7  # relative to the largest element: second derivatives lose digits

ALL, FIRST, CONSTANT = "all", "first", "constant"
NOT_FINITE, LARGE, ROUNDING, STEEP = "not finite", "large", "rounding", "steep"
OUTCOMES = {
    ALL: "values, first and second derivatives are equal",
    FIRST: "values and first derivatives are equal; the second ones are infinite or above 1e8",
    CONSTANT: "values are equal, and nothing has a gradient",
    NOT_FINITE: "values are equal up to a step that gives NaN or infinity; what follows is not "
    "defined: 0 times infinity is NaN in one formula and 0 in another",
    LARGE: "values are equal up to a step above 1e6, whose differences keep too few digits",
    ROUNDING: "values are equal up to a step whose result or derivative jumps within a rounding "
    "error, which the order of additions decides: an extremum of values within 1e-12, arctan2 or "
    "sign at 0, floor at an integer, a variance of equal values, hypot near (0, 0)",
    STEEP: "values are equal; a first derivative is infinite or above 1e8",
    "differ": "a difference that none of these explains",
}
"""How far programs are compared, and why not further."""


# Operations of one value: a function of the random generator and the shape returns a pair of
# functions, or None where the operation does not fit.


def same(name, torch_name=None):
    def draw(rng, shape):
        return getattr(nn, name), getattr(torch, torch_name or name), name

    return draw


def axis_of(rng, shape):
    return int(rng.integers(-len(shape), len(shape))) if shape else None


def reduction(name):
    def draw(rng, shape):
        axis = axis_of(rng, shape)
        keep = bool(rng.random() < 0.5)
        if axis is None:
            return None
        if name in ("max", "min") and not shape[axis]:
            return None
        options = {"axis": axis, "keepdims": keep}

        def theirs(x):
            if name == "max":
                return torch.amax(x, axis, keep)  # ties share the gradient, as here
            if name == "min":
                return torch.amin(x, axis, keep)
            return getattr(torch, name)(x, axis, keep)

        return (lambda x: getattr(nn, name)(x, **options)), theirs, f"{name} {options}"

    return draw


def moments(name):
    def draw(rng, shape):
        axis = axis_of(rng, shape)
        if axis is None or not shape[axis]:
            return None
        return (
            lambda x: getattr(nn, name)(x, axis=axis),
            lambda x: getattr(torch, name)(x, axis, correction=0),
            f"{name} {axis}",
        )

    return draw


def along(name, needs_elements=False):
    def draw(rng, shape):
        axis = axis_of(rng, shape)
        if axis is None or (needs_elements and not shape[axis]):
            return None
        return (
            lambda x: getattr(nn, name)(x, axis),
            lambda x: getattr(torch, name)(x, axis),
            f"{name} {axis}",
        )

    return draw


def draw_transpose(rng, shape):
    axes = tuple(int(a) for a in rng.permutation(len(shape)))
    return lambda x: nn.transpose(x, axes), lambda x: x.permute(axes), f"transpose {axes}"


def draw_reshape(rng, shape):
    target = tuple(reversed(shape)) if rng.random() < 0.5 else (math.prod(shape),)
    return lambda x: nn.reshape(x, target), lambda x: x.reshape(target), f"reshape {target}"


def draw_slice(rng, shape):
    axis = axis_of(rng, shape)
    if axis is None:
        return None
    start, step = int(rng.integers(0, 3)), int(rng.integers(1, 3))
    index = (*[slice(None)] * (axis % len(shape)), slice(start, None, step))
    return lambda x: x[index], lambda x: x[index], f"slice {index}"


def draw_take(rng, shape):
    axis = axis_of(rng, shape)
    if axis is None or not shape[axis]:
        return None
    index = rng.integers(0, shape[axis], int(rng.integers(0, 5)))
    return (
        lambda x: nn.take(x, index, axis),
        lambda x: torch.index_select(x, axis, torch.tensor(index)),
        f"take {index.tolist()} {axis}",
    )


def draw_sort(rng, shape):
    axis = axis_of(rng, shape)
    if axis is None:
        return None
    return (
        lambda x: nn.sort(x, axis),
        lambda x: torch.sort(x, dim=axis, stable=True).values,
        f"sort {axis}",
    )


def draw_roll(rng, shape):
    axis = axis_of(rng, shape)
    if axis is None:
        return None
    shift = int(rng.integers(-5, 6))
    return (
        lambda x: nn.roll(x, shift, axis),
        lambda x: torch.roll(x, shift, axis),
        f"roll {shift} {axis}",
    )


def draw_triangle(rng, shape):
    if len(shape) < 2:
        return None
    name, k = str(rng.choice(["tril", "triu"])), int(rng.integers(-2, 3))
    return (
        lambda x: getattr(nn, name)(x, k),
        lambda x: getattr(torch, name)(x, k),
        f"{name} {k}",
    )


def draw_diagonal(rng, shape):
    if len(shape) < 2:
        return None
    k = int(rng.integers(-1, 2))
    return lambda x: nn.diagonal(x, k), lambda x: torch.diagonal(x, k), f"diagonal {k}"


def draw_pad(rng, shape):
    if not shape:
        return None
    a, b = (int(n) for n in rng.integers(0, 3, 2))
    width = [(0, 0)] * (len(shape) - 1) + [(a, b)]
    value = float(rng.integers(-1, 2))
    return (
        lambda x: nn.pad(x, width, constant_values=value),
        lambda x: torch.nn.functional.pad(x, (a, b), value=value),
        f"pad {a, b} {value}",
    )


def draw_clip(rng, shape):
    low, high = sorted(float(x) for x in rng.integers(-2, 3, 2))
    return lambda x: nn.clip(x, low, high), lambda x: torch.clamp(x, low, high), f"clip {low, high}"


def draw_power(rng, shape):
    exponent = [0, 1, 2, 3, 2.0, 0.5, -1, 1.5][rng.integers(8)]
    return lambda x: x**exponent, lambda x: x**exponent, f"power {exponent}"


def draw_scalar(rng, shape):
    value = [0.0, 1.0, -1.0, 2.5, 3][rng.integers(5)]
    kind = rng.integers(4)
    functions = [
        lambda x: x * value,
        lambda x: value - x,
        lambda x: x / (value + 4),
        lambda x: value / x,
    ]
    return functions[kind], functions[kind], f"scalar {kind} {value}"


def draw_repeat(rng, shape):
    axis = axis_of(rng, shape)
    if axis is None:
        return None
    counts = rng.integers(0, 3, shape[axis])
    return (
        lambda x: nn.repeat(x, counts, axis),
        lambda x: torch.repeat_interleave(x, torch.tensor(counts), axis),
        f"repeat {counts.tolist()} {axis}",
    )


UNARY = [
    *(same(n) for n in ("exp", "exp2", "expm1", "sin", "cos", "tanh", "arctan", "square", "abs")),
    *(same(n) for n in ("sign", "floor", "negative", "sigmoid", "relu", "arcsinh", "erf", "log1p")),
    *(same(n) for n in ("sqrt", "log", "reciprocal", "nan_to_num", "sinh", "cosh", "ravel")),
    same("softplus", "_softplus"),
    *(reduction(n) for n in ("sum", "mean", "prod", "max", "min", "logsumexp")),
    *(moments(n) for n in ("var", "std")),
    *(along(n) for n in ("cumsum", "cumprod")),
    *(along(n, True) for n in ("softmax", "log_softmax")),
    draw_transpose, draw_reshape, draw_slice, draw_take, draw_sort, draw_roll, draw_triangle,
    draw_diagonal, draw_pad, draw_clip, draw_power, draw_scalar, draw_repeat,
]  # fmt: skip
torch._softplus = lambda x: torch.logaddexp(x, torch.zeros_like(x))

BINARY = {
    "add": (nn.add, torch.add),
    "subtract": (nn.subtract, torch.subtract),
    "multiply": (nn.multiply, torch.multiply),
    "divide": (nn.divide, torch.divide),
    "maximum": (nn.maximum, torch.maximum),
    "minimum": (nn.minimum, torch.minimum),
    "hypot": (nn.hypot, torch.hypot),
    "arctan2": (nn.arctan2, torch.arctan2),
    "logaddexp": (nn.logaddexp, torch.logaddexp),
    "where": (lambda x, y: nn.where(x > y, x, y), lambda x, y: torch.where(x > y, x, y)),
}


def draw_shape(rng):
    return tuple(int(n) for n in rng.choice([0, 1, 2, 3, 4], rng.integers(0, 4),
                                            p=[0.04, 0.2, 0.3, 0.26, 0.2]))  # fmt: skip


def draw_leaf(rng, shape):
    kind = rng.integers(4)
    values = rng.normal(size=shape)
    if kind == 0:  # ties and zeros
        values = rng.integers(-2, 3, shape).astype(float)
    elif kind == 1:
        values = np.where(rng.random(shape) < 0.3, rng.choice([0.0, -0.0], shape), values)
    elif kind == 2:
        values = np.abs(values) + 0.1
    return np.asarray(values)


def lay_out(rng, array):
    """Return the array in another memory layout."""
    kind = rng.integers(4)
    if not array.ndim or kind == 0:
        return array
    if kind == 1:
        return np.asfortranarray(array)
    if kind == 2:
        return np.flip(np.flip(array).copy())
    wide = np.zeros([2 * n for n in array.shape])
    view = wide[(slice(None, None, 2),) * array.ndim]
    view[...] = array
    return view


def run(seed):
    """Run one program; return its steps, a name in `OUTCOMES`, and a message if it differs."""
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng)
    arrays = [draw_leaf(rng, shape)]
    ours = [Tensor(lay_out(rng, arrays[0]), requires_grad=True)]
    theirs = [torch.tensor(arrays[0], requires_grad=True)]
    x, z = ours[0], theirs[0]
    steps, second = [f"leaf {shape}"], True
    for _ in range(rng.integers(1, 6)):
        if rng.random() < 0.3:
            other = tuple(1 if rng.random() < 0.3 else n for n in x.shape)
            other = other[rng.integers(0, len(other) + 1) :]
            arrays.append(draw_leaf(rng, other))
            ours.append(Tensor(lay_out(rng, arrays[-1]), requires_grad=True))
            theirs.append(torch.tensor(arrays[-1], requires_grad=True))
            name = str(rng.choice(list(BINARY)))
            jump = 0.0 if name == "arctan2" else theirs[-1].detach()
            if name in COMPARING and rounding_decides(x, z, z.detach() - jump):
                return steps, ROUNDING, None
            pair = (ours[-1], x), (theirs[-1], z)
            if rng.random() < 0.5:
                pair = (x, ours[-1]), (z, theirs[-1])
            x, z = BINARY[name][0](*pair[0]), BINARY[name][1](*pair[1])
            steps.append(f"{name} {other}")
        else:
            drawn = UNARY[rng.integers(len(UNARY))](rng, x.shape)
            if drawn is None:
                continue
            if drawn[2] in ("sqrt", "power 0.5", "power 1.5") and bool((z == 0).any()):
                second = False  # it is infinite there
            distances = JUMPS.get(drawn[2].split()[0])
            if distances is not None and rounding_decides(x, z, distances(z.numpy(force=True))):
                return steps, ROUNDING, None
            x, z = drawn[0](x), drawn[1](z)
            steps.append(drawn[2])
        name = steps[-1].split()[0]
        x, z = x + 0.0, z + 0.0  # which of 0 and -0 relu or an extremum is has no rule
        near_corner = bool(((z > 0) & (z < 1e-10)).any())
        if name in ("std", "var") and (near_corner or bool((x.data < 1e-10).any())):
            return steps, ROUNDING, None
        if name == "hypot" and near_corner:
            return steps, ROUNDING, None
        values = z.numpy(force=True)
        if values.size and np.nanmax(np.abs(values), initial=0) > 1e6:
            return steps, LARGE, None
        if (message := differ("values", x.numpy(), values)) is not None:
            return steps, "differ", message
        if np.isnan(values).any() or np.isinf(values).any():
            return steps, NOT_FINITE, None
    if not z.requires_grad or not x.requires_grad:
        if z.requires_grad != x.requires_grad and z.grad_fn is not None and nonzero(z, theirs):
            return steps, "differ", f"requires_grad: {x.requires_grad}, PyTorch {z.requires_grad}"
        return steps, CONSTANT, None
    weights = rng.normal(size=x.shape)
    first = gradients((x * weights).sum(), ours, create_graph=True)
    expected = torch.autograd.grad(
        (z * torch.tensor(weights)).sum(), theirs, create_graph=True, allow_unused=True
    )
    outcome, message = compare_gradients(rng, ours, theirs, first, expected, second)
    return steps, outcome, message


def gaps(values):
    return np.diff(np.sort(values, axis=None))


# How far the values are from where the result of an operation, or its derivative, jumps.
JUMPS = {
    **dict.fromkeys(("max", "min", "sort"), gaps),
    **dict.fromkeys(("sign", "abs", "relu"), np.abs),
    "floor": lambda values: values - np.round(values),
    "clip": lambda values: values - np.round(values),  # its limits are integers
}


COMPARING = ("arctan2", "maximum", "minimum", "where")  # which jump where both operands are equal


def rounding_decides(x, z, distances):
    """Return whether both differ, by rounding, and some are so close to a jump that it matters."""
    ours, theirs = x.numpy(), z.numpy(force=True)
    differs = (ours != theirs) | (np.signbit(ours) != np.signbit(theirs))
    return bool(differs.any()) and bool((np.abs(np.asarray(distances)) < 1e-12).any())


def gradients(total, leaves, create_graph=False):
    """Return the gradient for each leaf, None where there is none."""
    for leaf in leaves:
        leaf.zero_grad()
    total.backward(create_graph=create_graph)
    found = [leaf.grad if leaf.has_grad else None for leaf in leaves]
    for leaf in leaves:
        leaf.zero_grad()
    return found


def nonzero(z, leaves):
    found = torch.autograd.grad(z.sum(), leaves, allow_unused=True, retain_graph=True)
    return any(g is not None and bool((g.abs() > 0).any()) for g in found)


def compare_gradients(rng, ours, theirs, first, expected, compare_second):
    total, other = Tensor(0.0, dtype="float64"), torch.tensor(0.0, dtype=torch.float64)
    for i, (g, h) in enumerate(zip(first, expected, strict=True)):
        values = np.zeros(theirs[i].shape) if h is None else h.numpy(force=True)
        got = np.zeros(values.shape) if g is None else g.numpy()
        if not np.isfinite(values).all() or np.abs(values).max(initial=0) > 1e8:
            return STEEP, None
        if (message := differ(f"gradient {i}", got, values)) is not None:
            return "differ", message
        weights = rng.normal(size=values.shape)
        if g is not None and g.requires_grad:
            total = total + (g * weights).sum()
        if h is not None and h.requires_grad:
            other = other + (h * torch.tensor(weights)).sum()
    if not compare_second:
        return FIRST, None
    second = [None] * len(ours)
    if total.requires_grad:
        second = gradients(total, ours)
    wanted = [None] * len(ours)
    if other.requires_grad:
        wanted = torch.autograd.grad(other, theirs, allow_unused=True)
    for i, (g, h) in enumerate(zip(second, wanted, strict=True)):
        values = np.zeros(theirs[i].shape) if h is None else h.numpy(force=True)
        got = np.zeros(values.shape) if g is None else g.numpy()
        if not np.isfinite(values).all() or np.abs(values).max(initial=0) > 1e8:
            return FIRST, None
        if (message := differ(f"second derivative {i}", got, values)) is not None:
            return "differ", message
    return ALL, None


def differ(what, got, expected):
    if got.shape != expected.shape:
        return f"{what}: shape {got.shape}, PyTorch {expected.shape}"
    scale = max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0)))
    if np.allclose(got, expected, TOLERANCE, TOLERANCE * scale, equal_nan=True):
        return None
    return f"{what}:\n{got}\nPyTorch:\n{expected}"


def main(arguments=None):
    """Run the programs; return 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("count", type=int, nargs="?", default=1000, help="how many programs")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the next ones follow")
    parser.add_argument("--verbose", action="store_true", help="print the steps of each program")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    start, counts = time.perf_counter(), collections.Counter()
    for seed in range(options.seed, options.seed + options.count):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                steps, outcome, message = run(seed)
            except Exception:
                steps, outcome, message = ["raised"], "differ", traceback.format_exc()
        counts[outcome] += 1
        if options.verbose or message:
            print(f"seed {seed}: {' | '.join(steps)}: {outcome}")
        if message:
            print(message, flush=True)
    seconds = time.perf_counter() - start
    for name, explanation in OUTCOMES.items():
        print(f"{counts[name]:7}  {name:10}  {explanation}")
    print(f"{options.count} programs, {counts['differ']} differ, {seconds:.0f} s")
    return int(counts["differ"] > 0)


if __name__ == "__main__":
    sys.exit(main())
