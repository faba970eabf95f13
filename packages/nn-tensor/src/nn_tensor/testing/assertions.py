"""What checks have in common: values compared with values, conditions, refusals."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from nn_tensor._tensor import Tensor
from nn_tensor.extend import METADATA_KEY

__all__ = ["assert_close", "check_state_dict", "flatten", "refusal", "require"]

# Relative and absolute tolerance for values that were computed in each dtype: some ten units in
# the last place, which is what a short chain of well-conditioned operations may lose.
_TOLERANCES = {
    np.dtype(np.float16): (5e-3, 5e-4),
    np.dtype(np.float32): (2e-6, 1e-6),
    np.dtype(np.float64): (1e-12, 1e-13),
}


def assert_close(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    *,
    name: str = "values",
    check_dtype: bool = True,
) -> None:
    """Raise unless two Tensors or arrays have the same shape, dtype and (nearly) the same values.

    NaN equals NaN, and an infinity itself. Integers and booleans must be equal.

    Args:
        actual: a Tensor, an array, or anything that NumPy makes an array of.
        expected: the expected values, in the same forms.
        rtol: the allowed error relative to `expected`; by default, as `atol`, that of the less
            precise of both dtypes: 5e-3 for float16, 2e-6 for float32 and 1e-12 for float64.
        atol: the allowed absolute error; by default 5e-4, 1e-6 and 1e-13.
        name: the name of the values in the message.
        check_dtype: whether the dtypes must be equal; those of Python numbers are not compared.

    Raises:
        AssertionError: if they differ; the message says where, and by how much.

    >>> from nn_tensor import Tensor
    >>> assert_close(Tensor([1.0, 2.0]) / 3, [1 / 3, 2 / 3])
    """
    typed = check_dtype and hasattr(actual, "dtype") and hasattr(expected, "dtype")
    a, b = _to_numpy(actual), _to_numpy(expected)
    if a.shape != b.shape:
        raise AssertionError(f"{name}: shape {a.shape}, expected {b.shape}")
    if typed and a.dtype != b.dtype:
        raise AssertionError(f"{name}: dtype {a.dtype}, expected {b.dtype}")
    if np.array_equal(a, b):
        return
    defaults = [_TOLERANCES.get(x.dtype, (0.0, 0.0)) for x in (a, b)]
    if not hasattr(expected, "dtype"):
        defaults = defaults[:1]
    rtol = max(pair[0] for pair in defaults) if rtol is None else rtol
    atol = max(pair[1] for pair in defaults) if atol is None else atol
    wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
    exact = a.dtype.kind in "biu" and b.dtype.kind in "biu" and not (rtol or atol)
    if not exact:
        a, b = a.astype(wide), b.astype(wide)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(a == b, 0, np.abs(a - b) if not exact else 1)
        allowed = atol + rtol * np.abs(b) if not exact else np.zeros(b.shape)
        wrong = ~((error <= allowed) & (np.isfinite(b) | (a == b)))
        wrong &= ~(np.isnan(a) & np.isnan(b))
        worst = np.where(wrong, np.nan_to_num(error - allowed, nan=np.inf), -np.inf)
    if wrong.any():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(worst)), a.shape))
        raise AssertionError(
            f"{name}: {int(wrong.sum())} of {wrong.size} elements differ; at {place} {a[place]!s}, "
            f"expected {b[place]!s} with an error of at most {float(allowed[place]):.2g}"
        )


def _to_numpy(value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, Tensor):
        return value.numpy()
    return np.asarray(value.get() if hasattr(value, "get") else value)  # get: of a CuPy array


def require(condition: bool, message: str) -> None:
    """Raise an `AssertionError` unless the condition holds."""
    if not condition:
        raise AssertionError(message)


@contextlib.contextmanager
def refusal(
    kinds: type[Exception] | tuple[type[Exception], ...], given: str, *words: str
) -> Iterator[None]:
    """Require that what the block is given raises such an error, with these words in it."""
    try:
        yield
    except kinds as error:
        message = str(error)
        require(all(word in message for word in words), f"{given}: no {words} in: {message}")
    else:
        raise AssertionError(f"{given} was accepted")


def flatten(result: Any) -> list[Any]:
    """Return one or several results as a list."""
    return list(result) if isinstance(result, (list, tuple)) else [result]


def check_state_dict(
    target: Any, state: Mapping[str, Any], may_lack: Callable[[str], bool] = lambda key: False
) -> None:
    """Check that `target` loads a pickled state, and refuses one with a key too few or too many.

    `may_lack` tells of a key whether it may be missing.
    """
    keys = [key for key in state if key != METADATA_KEY]
    before = target.state_dict()
    for key in keys:
        if may_lack(key):
            continue
        with refusal(ValueError, f"a state without {key}", key):
            target.load_state_dict({k: v for k, v in state.items() if k != key})
    with refusal(ValueError, "a state with another key", "unexpected"):
        target.load_state_dict({**state, "unexpected": np.ones(2)})
    for expected in (before, state):
        after = target.state_dict()
        require(list(after) == list(expected), f"keys {list(after)}, expected {list(expected)}")
        for key in after.keys() & keys:
            np.testing.assert_array_equal(after[key], expected[key], err_msg=key)
        target.load_state_dict(pickle.loads(pickle.dumps(state)))
