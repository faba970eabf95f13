"""Special functions that NumPy lacks."""

from typing import Any

from nn_tensor._dtype import is_floating
from nn_tensor._kernel import kernel

__all__ = ["erf"]

# Near-minimax polynomials, highest power first: erf(x) / x in x^2 for |x| < 1, and
# e^(x^2) erfc(x) in (x - 3) / (x + 3) for 1 <= x <= 6. Relative errors below 1e-17.
_NEAR = (
    -7.795898827002142e-10,
    1.3720064546777686e-08,
    -1.6208483801871705e-07,
    1.6447424703317362e-06,
    -1.492473690741966e-05,
    0.00012055294904839707,
    -0.0008548325975389692,
    0.0052239776071164225,
    -0.02686617064323777,
    0.11283791670945006,
    -0.37612638903183543,
    1.1283791670955126,
)
_FAR = (
    -8.801359830688847e-09,
    1.2580932443721676e-06,
    2.0095139924831047e-06,
    -8.00496842158388e-06,
    -1.2843533148373503e-05,
    6.406239031947829e-05,
    4.5254012694832e-05,
    -0.0005970624939433084,
    0.0007077464888533716,
    0.004269136358067435,
    -0.024392499319618205,
    0.07166583719742778,
    -0.15011593650076943,
    0.24560380171233537,
    -0.3262335600430373,
    0.17900115118138996,
)
_BLOCK = 8192  # the polynomials make some fifty passes: piece by piece they stay in the cache
_LIMIT = 6.0  # beyond it erf(x) rounds to 1 in every floating type


def _polynomial(coefficients: tuple[float, ...], x: Any) -> Any:
    result = x * coefficients[0]
    for coefficient in coefficients[1:-1]:
        result += coefficient
        result *= x
    result += coefficients[-1]
    return result


@kernel
def erf(xp: Any, x: Any) -> Any:
    """Return the error function; see `nn_tensor.erf`."""
    x = xp.asarray(x)
    given = x.dtype if is_floating(x.dtype) else xp.dtype(xp.float64)
    x = x.astype(given if given.itemsize > 2 else xp.float32, copy=False)
    result = xp.empty(x.shape, x.dtype)
    source, target = x.reshape(-1), result.reshape(-1)
    for start in range(0, x.size, _BLOCK):
        target[start : start + _BLOCK] = _erf_of_block(xp, source[start : start + _BLOCK])
    return result.astype(given, copy=False)


def _erf_of_block(xp: Any, x: Any) -> Any:
    size = xp.abs(x)
    near = xp.minimum(size, 1)
    near *= _polynomial(_NEAR, near * near)
    far = xp.clip(size, 1, _LIMIT)
    tail = _polynomial(_FAR, (far - 3) / (far + 3))
    tail *= xp.exp(-far * far)
    result = xp.where(size < 1, near, 1 - tail)
    return xp.copysign(result, x)


@erf.cuda
def _(cp: Any, x: Any) -> Any:
    from cupyx.scipy.special import erf as device_erf

    given = x.dtype if is_floating(x.dtype) else cp.dtype(cp.float64)
    # of small integers CuPy would compute in float32, of half precision in double
    return device_erf(x.astype(given, copy=False)).astype(given, copy=False)
