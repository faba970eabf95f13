"""The rows of products over axes."""

from __future__ import annotations

import nn_tensor as nt
import numpy as np

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
