"""Linear algebra, by the names of `numpy.linalg`: norms, linear systems, decompositions.

Matrices are the last two axes; the others are stacks of them, and broadcast. float16 is computed
in float32, integers in float64, as NumPy computes them.
"""

from __future__ import annotations

import builtins
import math
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, overload

import numpy as np

from nn_tensor._checks import check_bool
from nn_tensor._convert import array_module, shape_of
from nn_tensor._dtype import is_floating
from nn_tensor._numpy_protocol import linalg_counterparts
from nn_tensor._op import op
from nn_tensor._op_type import Data, function
from nn_tensor.ops import (
    abs,
    cast,
    expand_dims,
    matmul,
    max,
    min,
    moveaxis,
    outer,
    reshape,
    sqrt,
    sum,
    swapaxes,
    tensordot,
    where,
)
from nn_tensor.ops.reductions import product_of_others, widen

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

__all__ = [
    "cholesky",
    "det",
    "eigh",
    "inv",
    "matmul",
    "norm",
    "outer",
    "solve",
    "svd",
    "tensordot",
]

Part = TypeVar("Part")


def _mT(x: Any) -> Any:
    return swapaxes(x, -1, -2)


def _wide(x: Any) -> Any:
    """Return `x` in a dtype that LAPACK computes in."""
    if x.dtype.kind != "c" and not is_floating(x.dtype):
        return x.astype(np.float64)
    return x.astype(np.float32) if x.dtype.itemsize < 4 else x


def _narrow(result: Any, x: Any) -> Any:
    """Return a result in the dtype of the input, if that is floating."""
    return result.astype(x.dtype, copy=False) if is_floating(x.dtype) else result


def _check_square(name: str, x: Any) -> None:
    shape = shape_of(x)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise np.linalg.LinAlgError(f"{name}: expected square matrices, got shape {tuple(shape)}")


# Solutions and inverses


@function
def solve(a: Any, b: Any, /) -> Tensor:
    r"""Return the solution :math:`x` of :math:`a x = b`.

    Args:
        a: square matrices, ``(..., n, n)``.
        b: right-hand sides: one of shape ``(n,)``, or matrices ``(..., n, k)`` of k of them.

    Raises:
        numpy.linalg.LinAlgError: if a matrix is singular or not square.

    >>> from nn_tensor import Tensor, linalg
    >>> linalg.solve(Tensor([[2.0, 0.0], [0.0, 4.0]]), Tensor([2.0, 2.0]))
    Tensor([1. , 0.5])
    """
    _check_square("solve: a", a)
    if len(shape_of(b)) == 1:
        return reshape(_solve(a, expand_dims(b, -1)), (*shape_of(a)[:-2], shape_of(b)[0]))
    return _solve(a, b)


@op(precision="full")
def _solve(xp: Any, a: Any, b: Any, /) -> Any:
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # CuPy does not broadcast by itself
    wide = (xp.broadcast_to(_wide(x), (*stack, *x.shape[-2:])) for x in (a, b))
    result = xp.linalg.solve(*wide)
    dtype = np.result_type(a, b)
    return result.astype(dtype, copy=False) if is_floating(dtype) else result


@_solve.gradient("a")
def _(g: Any, a: Any, out: Any) -> Any:
    return -matmul(_solve(_mT(a), g), _mT(out))


@_solve.gradient("b")
def _(g: Any, a: Any) -> Any:
    return _solve(_mT(a), g)


@function
def inv(a: Any, /) -> Tensor:
    """Return the inverse of square matrices; `solve` is faster and more accurate for a product.

    Raises:
        numpy.linalg.LinAlgError: if a matrix is singular or not square.

    >>> from nn_tensor import Tensor, linalg
    >>> linalg.inv(Tensor([[2.0, 0.0], [0.0, 4.0]]))
    Tensor([[0.5 , 0.  ],
            [0.  , 0.25]])
    """
    _check_square("inv: a", a)
    return _inv(a)


@op(precision="full")
def _inv(xp: Any, a: Any, /) -> Any:
    return _narrow(xp.linalg.inv(_wide(a)), a)


@_inv.gradient("a")
def _(g: Any, out: Any) -> Any:
    transposed = _mT(out)
    return -matmul(matmul(transposed, g), transposed)


@function
def det(a: Any, /) -> Tensor:
    r"""Return the determinant of square matrices.

    Its gradient, the matrix of cofactors, is correct for singular matrices too; a second derivative
    needs an invertible matrix.

    Raises:
        numpy.linalg.LinAlgError: if a matrix is not square.

    >>> from nn_tensor import Tensor, linalg
    >>> linalg.det(Tensor([[2.0, 0.0], [0.0, 4.0]]))
    Tensor(8.)
    """
    _check_square("det: a", a)
    return _det(a)


@op(precision="full")
def _det(xp: Any, a: Any, /) -> Any:
    return _narrow(xp.asarray(xp.linalg.det(_wide(a))), a)


@_det.gradient("a")
def _(g: Any, a: Any) -> Any:
    return expand_dims(g, (-2, -1)) * _cofactors(a)


@op
def _cofactors(xp: Any, a: Any, /) -> Any:
    """Return the derivative of the determinant, by singular values: these may be zero."""
    wide = _wide(a)
    if not wide.size:
        return xp.zeros(a.shape, a.dtype)
    u, s, vh = xp.linalg.svd(wide)
    sign = xp.asarray(xp.linalg.det(u) * xp.linalg.det(vh))
    scaled = u * (product_of_others(s, -1) * sign[..., None])[..., None, :]
    return _narrow(xp.matmul(scaled, vh), a)


@_cofactors.gradient("a")
def _(g: Any, a: Any, out: Any) -> Any:
    # the cofactors are det(a) inv(a).T
    wide, cofactors, seed = widen(a), widen(out), widen(g)
    inverse = _mT(_inv(wide))
    inner = sum(seed * cofactors, (-2, -1), keepdims=True)
    return inner * inverse - matmul(matmul(cofactors, _mT(seed)), inverse)


# Decompositions


@function
def cholesky(a: Any, /, *, upper: bool = False) -> Tensor:
    r"""Return the lower triangular :math:`L` with :math:`a = L L^T`, of positive definite matrices.

    Only the lower triangle of `a` is read; the gradient is symmetric, as `a` is.

    Args:
        upper: return the upper triangular :math:`L^T`.

    Raises:
        numpy.linalg.LinAlgError: if a matrix is not positive definite, or not square.

    >>> from nn_tensor import Tensor, linalg
    >>> linalg.cholesky(Tensor([[4.0, 2.0], [2.0, 5.0]]))
    Tensor([[2., 0.],
            [1., 2.]])
    """
    _check_square("cholesky: a", a)
    lower = _cholesky(_mT(a) if check_bool("upper", upper) else a)
    return _mT(lower) if upper else lower


@op(precision="full")
def _cholesky(xp: Any, a: Any, /) -> Any:
    return _narrow(xp.linalg.cholesky(_wide(a)), a)


@_cholesky.gradient("a")
def _(g: Any, out: Any) -> Any:
    # Murray, "Differentiation of the Cholesky decomposition", 2016, equation 10
    lower = widen(out)
    inner = matmul(_mT(lower), widen(g))
    middle = _half_diagonal(inner)
    inverse = _inv(lower)
    gradient = matmul(matmul(_mT(inverse), middle), inverse)
    return (gradient + _mT(gradient)) / 2


def _half_diagonal(x: Any) -> Any:
    """Return the lower triangle with half of the diagonal."""
    xp = array_module(x)
    length = x.shape[-1]
    weights = xp.tril(xp.ones((length, length), x.dtype), -1) + xp.eye(length, dtype=x.dtype) / 2
    return x * weights


class EighResult(NamedTuple, Generic[Part]):
    """Eigenvalues in ascending order, and eigenvectors as columns."""

    eigenvalues: Part
    eigenvectors: Part


@overload
def eigh(a: Data, /, UPLO: str = "L") -> EighResult[Data]: ...
@overload
def eigh(a: Any, /, UPLO: str = "L") -> EighResult[Any]: ...
def eigh(a: Any, /, UPLO: str = "L") -> EighResult[Any]:
    r"""Return the eigenvalues and eigenvectors of symmetric matrices, :math:`a = V \Lambda V^T`.

    Only one triangle of `a` is read; the gradient is symmetric, as `a` is. The gradient of
    eigenvectors is undefined (infinite or NaN) where eigenvalues are equal, and meaningful only for
    results that do not depend on the signs of the eigenvectors.

    Args:
        UPLO: the triangle that is read: "L" the lower, "U" the upper one.

    Raises:
        numpy.linalg.LinAlgError: if a matrix is not square, or the algorithm does not converge.

    >>> from nn_tensor import Tensor, linalg
    >>> linalg.eigh(Tensor([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    Tensor([1., 2.])
    """
    _check_square("eigh: a", a)
    if not isinstance(UPLO, str) or UPLO.upper() not in ("L", "U"):
        raise ValueError(f"eigh: UPLO: expected 'L' or 'U', got {UPLO!r}")
    packed = _eigh(a, UPLO.upper())
    return EighResult(packed[..., 0, :], packed[..., 1:, :])


@op(precision="full")
def _eigh(xp: Any, a: Any, /, uplo: str) -> Any:
    """Return the eigenvalues as a row above the eigenvectors: an operation has one output."""
    values, vectors = xp.linalg.eigh(_wide(a), uplo)
    return _narrow(xp.concatenate([values[..., None, :], vectors], axis=-2), a)


@_eigh.gradient("a")
def _(g: Any, out: Any) -> Any:
    wide, seed = widen(out), widen(g)
    values, vectors = wide[..., 0, :], wide[..., 1:, :]
    inner = matmul(_mT(vectors), seed[..., 1:, :])
    inner = inner * _inverse_differences(values) + _diagonal_matrix(seed[..., 0, :])
    gradient = matmul(matmul(vectors, inner), _mT(vectors))
    return (gradient + _mT(gradient)) / 2


def _inverse_differences(values: Any) -> Any:
    """Return ``1 / (values[j] - values[i])`` at ``[i, j]``, and 0 on the diagonal."""
    eye = array_module(values).eye(values.shape[-1], dtype=bool)
    differences = expand_dims(values, -2) - expand_dims(values, -1)
    with np.errstate(divide="ignore"):
        return where(eye, 0, 1 / where(eye, 1, differences))


def _diagonal_matrix(values: Any) -> Any:
    """Return matrices with `values`, the last axis, on their diagonals."""
    eye = array_module(values).eye(values.shape[-1], dtype=bool)
    return where(eye, expand_dims(values, -1), 0)


class SVDResult(NamedTuple, Generic[Part]):
    """Left singular vectors as columns, singular values in descending order, right ones as rows."""

    U: Part
    S: Part
    Vh: Part


@overload
def svd(
    a: Data,
    /,
    full_matrices: bool = True,
    compute_uv: Literal[True] = True,
    hermitian: bool = False,
) -> SVDResult[Data]: ...
@overload
def svd(
    a: Data,
    /,
    full_matrices: bool = True,
    *,
    compute_uv: Literal[False],
    hermitian: bool = False,
) -> Data: ...
@overload
def svd(
    a: Any, /, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any: ...
def svd(
    a: Any, /, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    r"""Return the singular value decomposition, :math:`a = U \operatorname{diag}(S) V^T`.

    The gradient of singular vectors is undefined (infinite or NaN) where singular values are equal,
    and meaningful only for results that do not depend on the signs of the singular vectors.

    Args:
        a: matrices ``(..., m, n)``; with k the smaller of m and n.
        full_matrices: return `U` and `Vh` with all m and n vectors. The additional ones are
            arbitrary and have no derivative: pass False for matrices that are not square and that
            require a gradient.
        compute_uv: False to return the singular values alone.
        hermitian: must be False; see `eigh`.

    Raises:
        numpy.linalg.LinAlgError: if the algorithm does not converge.

    >>> from nn_tensor import Tensor, linalg
    >>> linalg.svd(Tensor([[3.0, 0.0], [0.0, 4.0]])).S
    Tensor([4., 3.])
    """
    shape = shape_of(a)
    if len(shape) < 2:
        raise np.linalg.LinAlgError(f"svd: a: expected matrices, got shape {tuple(shape)}")
    if hermitian:
        raise TypeError("svd: hermitian: not supported; use eigh")
    square = shape[-2] == shape[-1]
    if check_bool("full_matrices", full_matrices) and compute_uv and not square:
        if getattr(a, "requires_grad", False):
            raise ValueError(
                f"svd: full_matrices=True has no gradient for shape {tuple(shape)}; pass "
                "full_matrices=False"
            )
        packed = _svd(a, True)
    else:
        packed = _svd(a, False)
    k = builtins.min(shape[-2:])
    s = packed[..., 0, :k]
    if not compute_uv:
        return s
    columns = shape[-2] if full_matrices else k
    rows = shape[-1] if full_matrices else k
    u = packed[..., 1 : 1 + shape[-2], :columns]
    vh = _mT(packed[..., 1 + shape[-2] :, :rows])
    return SVDResult(u, s, vh)


@op(precision="full")
def _svd(xp: Any, a: Any, /, full: bool) -> Any:
    """Return the singular values as a row, above left and right singular vectors as columns."""
    u, s, vh = xp.linalg.svd(_wide(a), full_matrices=full)
    width = builtins.max(u.shape[-1], vh.shape[-2])
    parts = [s[..., None, :], u, xp.swapaxes(vh, -1, -2)]
    padded = [
        xp.concatenate(
            [part, xp.zeros((*part.shape[:-1], width - part.shape[-1]), part.dtype)], axis=-1
        )
        for part in parts
    ]
    return _narrow(xp.concatenate(padded, axis=-2), a)


@_svd.gradient("a")
def _(g: Any, a_shape: tuple[int, ...], out: Any) -> Any:
    # Townsend, "Differentiating the singular value decomposition", 2016
    m, n = a_shape[-2:]
    wide, seed = widen(out), widen(g)
    s, u, v = wide[..., 0, :], wide[..., 1 : 1 + m, :], wide[..., 1 + m :, :]
    gs, gu, gv = seed[..., 0, :], seed[..., 1 : 1 + m, :], seed[..., 1 + m :, :]
    row, column = expand_dims(s, -2), expand_dims(s, -1)
    inverse = _inverse_differences(s) / _nonzero_sum(row, column)  # of the squares
    left, right = matmul(_mT(u), gu), matmul(_mT(v), gv)
    inner = (left - _mT(left)) * inverse * row + column * (right - _mT(right)) * inverse
    gradient = matmul(matmul(u, inner + _diagonal_matrix(gs)), _mT(v))
    with np.errstate(divide="ignore", invalid="ignore"):
        if m > n:
            gradient = gradient + matmul((gu - matmul(u, left)) / row, _mT(v))
        elif n > m:
            gradient = gradient + matmul(u, _mT((gv - matmul(v, right)) / row))
    return gradient


def _nonzero_sum(row: Any, column: Any) -> Any:
    """Return the sums of singular values; 1 on the diagonal, which does not count."""
    eye = array_module(row).eye(row.shape[-1], dtype=bool)
    return where(eye, 1, row + column)


# Norms


@function
def norm(x: Any, /, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    r"""Return the norm of vectors or matrices; the gradient of a norm at 0 is 0.

    Args:
        ord: None for the Euclidean norm :math:`\sqrt{\sum x^2}`. For vectors a number p, for
            :math:`(\sum |x|^p)^{1/p}`, infinity or minus infinity for the largest or smallest
            absolute value, or 0 for the number of elements that are not zero. For matrices "fro",
            "nuc" (the sum of singular values), 1 or infinity (the largest sum of a column or row
            of absolute values), 2 (the largest singular value), or their negatives for the
            smallest.
        axis: an integer for vectors, a pair for matrices, None for the whole `x`.

    Raises:
        ValueError: if there is no such norm.

    >>> from nn_tensor import Tensor, norm
    >>> norm(Tensor([3.0, 4.0]))
    Tensor(5.)
    """
    shape = shape_of(x)
    x = x if hasattr(x, "dtype") else np.asarray(x)
    if x.dtype.kind != "f":
        x = cast(x, np.float64)
    wide = widen(x)
    if axis is None and (ord is None or len(shape) not in (1, 2)):
        if ord is not None:
            raise ValueError(f"norm: ord={ord!r} needs an axis for shape {tuple(shape)}")
        result = _euclidean(wide, None, keepdims)
    else:
        axes = tuple(range(len(shape))) if axis is None else axis
        axes = (axes,) if isinstance(axes, (int, np.integer)) else tuple(axes)
        if len(axes) == 1:
            result = _vector_norm(wide, ord, axes[0], keepdims)
        elif len(axes) == 2 and axes[0] % len(shape) != axes[1] % len(shape):
            result = _matrix_norm(wide, ord, axes, keepdims)
        else:
            raise ValueError(f"norm: axis: expected one or two different axes, got {axis!r}")
    return result if wide is x else cast(result, x.dtype)


def _euclidean(x: Any, axis: Any, keepdims: bool) -> Any:
    squares = sum(x * x, axis, keepdims=keepdims)
    positive = squares != 0
    return where(positive, sqrt(where(positive, squares, 1)), 0)


def _vector_norm(x: Any, ord: Any, axis: int, keepdims: bool) -> Any:
    if ord is None or ord == 2:
        return _euclidean(x, axis, keepdims)
    if isinstance(ord, str):
        raise ValueError(f"norm: ord={ord!r} is not a norm of vectors")
    if ord == math.inf:
        return max(abs(x), axis, keepdims=keepdims)
    if ord == -math.inf:
        return min(abs(x), axis, keepdims=keepdims)
    if ord == 0:
        return sum(cast(x != 0, x.dtype), axis, keepdims=keepdims)
    if ord == 1:
        return sum(abs(x), axis, keepdims=keepdims)
    size = abs(x)
    nonzero = size > 0
    powers = where(nonzero, where(nonzero, size, 1) ** ord, 0 if ord > 0 else math.inf)
    total = sum(powers, axis, keepdims=keepdims)
    regular = (total > 0) & (total < math.inf)
    root = where(regular, total, 1) ** (1 / ord)
    return where(regular, root, total if ord > 0 else 1 / total)


def _matrix_norm(x: Any, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    matrices = moveaxis(x, axes, (-2, -1))
    if ord is None or ord == "fro":
        return _euclidean(x, axes, keepdims)
    if ord == "nuc":
        result = sum(svd(matrices, compute_uv=False), -1)
    elif ord in (2, -2):
        values = svd(matrices, compute_uv=False)
        result = max(values, -1) if ord == 2 else min(values, -1)
    elif ord in (1, -1, math.inf, -math.inf):
        along = -2 if ord in (1, -1) else -1
        sums = sum(abs(matrices), along)
        result = max(sums, -1) if ord > 0 else min(sums, -1)
    else:
        raise ValueError(f"norm: ord={ord!r} is not a norm of matrices")
    return expand_dims(result, tuple(a % len(x.shape) for a in axes)) if keepdims else result


linalg_counterparts.update({name: globals()[name] for name in __all__})
