"""The rows of products over axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import nn_tensor as nt
import numpy as np
from nn_tensor import linalg
from nn_tensor.extend import array_module

from .cases import Row

T3 = (2, 3, 4)

_PRODUCTS = {
    "": ((3, 4), (4, 2)),
    "vectors": ((4,), (4,)),
    "row": ((4,), (4, 2)),
    "column": ((3, 4), (4,)),
    "stacks": ((2, 3, 4), (2, 4, 5)),
    "stack and matrix": ((2, 3, 4), (4, 5)),
    "matrix and stack": ((3, 4), (2, 4, 5)),
    "stacks broadcast": ((2, 1, 3, 4), (5, 4, 2)),
    "stack and vector": ((2, 3, 4), (4,)),
    "vector and stack": ((4,), (2, 4, 3)),
    "empty": ((0, 4), (4, 2)),
    "empty stack": ((2, 3, 0), (0, 4)),
    "empty inner": ((3, 0), (0, 2)),
}

LINALG = [
    *(
        Row(nt.matmul, np.matmul, (("normal", a), ("normal", b)), label, torch="matmul")
        for label, (a, b) in _PRODUCTS.items()
    ),
    *(
        Row(nt.dot, np.dot, (("normal", a), ("normal", b)), label)
        for label, (a, b) in {
            "": ((3, 4), (4, 2)),
            "vectors": ((4,), (4,)),
            "scalar": ((), (3, 4)),
            "many": ((2, 3), (4, 3, 2)),
        }.items()
    ),
    Row(nt.outer, np.outer, (("normal", (3,)), ("normal", (4,))), torch="outer"),
    Row(nt.outer, np.outer, (("normal", (3, 2)), ("normal", ())), "flattened"),
    *(
        Row(nt.tensordot, np.tensordot, (("normal", a), ("normal", b)), label, {"axes": axes})
        for label, a, b, axes in (
            ("", T3, (3, 4, 5), 2),
            ("none", (2, 3), (4,), 0),
            ("pairs", T3, (4, 5, 2), ([0, 2], [2, 0])),
            ("one", T3, (5, 3), (1, -1)),
        )
    ),
    *(
        Row(
            lambda *x, s=s: nt.einsum(s, *x),
            lambda *x, s=s: np.einsum(s, *x),
            tuple(("normal", a) for a in shapes),
            s,
            name="einsum",
            torch=None if "i," in s and "ii" in s else lambda f, *x, s=s: f.einsum(s, *x),
        )
        for s, shapes in (
            ("ij,jk->ik", ((2, 3), (3, 4))),
            ("bij,bjk->bik", ((2, 3, 4), (2, 4, 2))),
            ("ij->ji", ((2, 3),)),
            ("ij->", ((2, 3),)),
            ("ij->i", ((2, 3),)),
            ("ii->i", ((3, 3),)),
            ("ii", ((3, 3),)),
            ("i,j->ij", ((2,), (3,))),
            ("ij,jk,kl->il", ((2, 3), (3, 4), (4, 2))),
            ("...ij,...jk->...ik", ((2, 2, 3), (3, 2))),
            ("bhqd,bhkd->bhqk", ((1, 2, 3, 2), (1, 2, 4, 2))),
            ("ij,jk", ((2, 3), (3, 4))),
            ("ij,kj->i", ((2, 3), (4, 3))),
            ("ij,j->j", ((2, 1), (3,))),
            ("ij,jk->k", ((2, 1), (3, 4))),
        )
    ),
]


def _regular(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return matrices that are far from singular."""
    return rng.normal(size=shape) + 3 * np.eye(shape[-1])


def _symmetric(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of symmetric matrices take any matrices."""
    return lambda x: function((x + x.swapaxes(-1, -2)) / 2)


def _definite(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of positive definite matrices take any matrices."""

    def call(x: Any) -> Any:
        eye = array_module(x).eye(x.shape[-1], dtype=x.dtype)
        return function(x @ x.swapaxes(-1, -2) + eye)

    return call


def _squares(vectors: Any) -> Any:
    """Return what is the same whatever signs vectors have."""
    return vectors * vectors


_SQUARE = {"": (3, 3), "stack": (2, 3, 3), "one": (1, 1), "empty": (0, 2, 2), "of nothing": (0, 0)}
_EQUAL = {"memory_layout broadcast": "equal rows make the matrix singular"}
_LAPACK = {"float32": 1e-4}
EQUAL_NORMS = {"memory_layout broadcast": "equal sums, or a singular matrix, are a kink"}


def _rank_one(u: Any, s: Any, vh: Any) -> Any:
    """Return the best approximation of rank 1, which depends on no sign."""
    return u[..., :, :1] * s[..., None, :1] * vh[..., :1, :]


DECOMPOSITIONS = [
    *(
        Row(
            linalg.solve,
            np.linalg.solve,
            ((_regular, a), ("normal", b)),
            label,
            skip=_EQUAL,
            tolerances=_LAPACK,
            torch=lambda f, a, b: f.linalg.solve(a, b),
        )
        for label, a, b in (
            ("", (3, 3), (3, 2)),
            ("vector", (3, 3), (3,)),
            ("stacks", (2, 3, 3), (2, 3, 2)),
            ("one side", (3, 3), (2, 3, 2)),
            ("stacks broadcast", (2, 1, 3, 3), (4, 3, 2)),
            ("empty", (0, 3, 3), (0, 3, 2)),
        )
    ),
    *(
        Row(
            getattr(linalg, name),
            getattr(np.linalg, name),
            ((_regular, shape),),
            label,
            skip=_EQUAL,
            tolerances=_LAPACK,
            torch=f"linalg.{name}",
        )
        for name in ("inv", "det")
        for label, shape in _SQUARE.items()
    ),
    *(
        Row(
            function,
            reference,
            (("normal", shape),),
            f"{name.partition(' ')[2]} {label}".strip(),
            name=name.partition(" ")[0],
            skip=_EQUAL,
            tolerances=_LAPACK,
            torch=torch,
        )
        for label, shape in _SQUARE.items()
        for name, function, reference, torch in (
            (
                "cholesky",
                _definite(linalg.cholesky),
                _definite(np.linalg.cholesky),
                lambda f, x: f.linalg.cholesky(x @ x.mT + f.eye(x.shape[-1], dtype=x.dtype)),
            ),
            (
                "cholesky upper",
                _definite(lambda x: linalg.cholesky(x, upper=True)),
                _definite(lambda x: np.linalg.cholesky(x).swapaxes(-1, -2)),
                lambda f, x: f.linalg.cholesky(x @ x.mT + f.eye(x.shape[-1], dtype=x.dtype)).mT,
            ),
            (
                "eigh",
                _symmetric(lambda x: linalg.eigh(x).eigenvalues),
                _symmetric(lambda x: np.linalg.eigh(x).eigenvalues),
                lambda f, x: f.linalg.eigh((x + x.mT) / 2).eigenvalues,
            ),
            (
                "eigh vectors",
                _symmetric(lambda x: _squares(linalg.eigh(x, "U").eigenvectors)),
                _symmetric(lambda x: _squares(np.linalg.eigh(x).eigenvectors)),
                lambda f, x: f.linalg.eigh((x + x.mT) / 2).eigenvectors ** 2,
            ),
        )
    ),
    *(
        Row(
            function,
            reference,
            (("normal", shape),),
            f"{name.partition(' ')[2]} {label}".strip(),
            name=name.partition(" ")[0],
            skip=_EQUAL,
            tolerances=_LAPACK,
            torch=torch,
        )
        for label, shape in {**_SQUARE, "tall": (4, 2), "wide": (2, 2, 3)}.items()
        for name, function, reference, torch in (
            (
                "svd values",
                lambda x: linalg.svd(x, compute_uv=False),
                lambda x: np.linalg.svd(x, compute_uv=False),
                lambda f, x: f.linalg.svdvals(x),
            ),
            (
                "svd left",
                lambda x: _squares(linalg.svd(x, full_matrices=False).U),
                lambda x: _squares(np.linalg.svd(x, full_matrices=False)[0]),
                lambda f, x: f.linalg.svd(x, full_matrices=False).U ** 2,
            ),
            (
                "svd right",
                lambda x: _squares(linalg.svd(x, full_matrices=False).Vh),
                lambda x: _squares(np.linalg.svd(x, full_matrices=False)[2]),
                lambda f, x: f.linalg.svd(x, full_matrices=False).Vh ** 2,
            ),
            (
                "svd rank 1",
                lambda x: _rank_one(*linalg.svd(x, full_matrices=False)),
                lambda x: _rank_one(*np.linalg.svd(x, full_matrices=False)),
                lambda f, x: _rank_one(*f.linalg.svd(x, full_matrices=False)),
            ),
        )
        if name != "svd rank 1" or 0 not in shape[-2:]
    ),
    *(
        Row(
            nt.norm,
            np.linalg.norm,
            (("distinct", shape),),
            label,
            options,
            wrt=() if options.get("ord") == 0 else None,
            skip=EQUAL_NORMS if options.get("ord") not in (None, 3, 1, 0, "fro") else {},
            tolerances=_LAPACK,
            torch=lambda f, x, o=options: f.linalg.norm(
                x if "axis" in o or x.ndim else x.reshape(1),
                o.get("ord"),
                o.get("axis"),
                o.get("keepdims", False),
            ),
        )
        for label, shape, options in (
            ("", T3, {}),
            ("kept", T3, {"keepdims": True}),
            ("vectors", T3, {"axis": 1}),
            *(
                (f"vectors {ord}", T3, {"ord": ord, "axis": -1, "keepdims": True})
                for ord in (1, 2, 3, 0.5, -1, 0, math.inf, -math.inf)
            ),
            *(
                (f"matrices {ord}", T3, {"ord": ord, "axis": (2, 0)})
                for ord in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf)
            ),
            ("matrices kept", T3, {"ord": 1, "axis": (0, -1), "keepdims": True}),
            ("0-d", (), {}),
            ("empty", (0, 3), {"axis": 1}),
        )
    ),
]

MATRICES = [
    *(
        Row(
            getattr(nt, name),
            getattr(np, name),
            (("normal", shape),),
            label,
            options,
            torch=lambda f, x, name=name, options=options: getattr(f, name)(x, *options.values()),
        )
        for name in ("tril", "triu")
        for label, shape, options in (
            ("", (3, 4), {}),
            ("above", T3, {"k": 1}),
            ("below", T3, {"k": -1}),
            ("beyond", T3, {"k": 9}),
            ("empty", (0, 3), {}),
        )
    ),
    *(
        Row(
            getattr(nt, name),
            getattr(np, name),
            (("normal", shape),),
            label,
            options,
            torch=lambda f, x, name=name, options=options: (
                f.diagonal(x, *options.values())
                if name == "diagonal"
                else f.diagonal(x, *options.values()).sum(-1)
            ),
        )
        for name in ("diagonal", "trace")
        for label, shape, options in (
            ("", (3, 4), {}),
            ("above", (3, 4), {"offset": 2}),
            ("below", (3, 4), {"offset": -1}),
            ("beyond", (3, 4), {"offset": 5}),
            ("stack", T3, {"offset": 1, "axis1": 2, "axis2": 0}),
            ("empty", (0, 3), {}),
        )
    ),
]
