"""The hyperbolic tangent as a quotient of polynomials, for compiled loops of float32.

A call of the tangent of the C library keeps a compiler from computing several elements at once.
"""

from __future__ import annotations

import numpy as np

__all__ = ["LIMIT", "P", "Q"]

LIMIT = np.float32(7.90531110763549805)
"""Beyond it, and below its negative, the tangent in float32 is 1 or -1 to rounding."""

# x P(x²) / Q(x²) as in Eigen (Eigen/src/Core/MathFunctionsImpl.h), highest power first
P = tuple(
    map(
        np.float32,
        (
            -2.76076847742355e-16,
            2.00018790482477e-13,
            -8.60467152213735e-11,
            5.12229709037114e-08,
            1.48572235717979e-05,
            6.37261928875436e-04,
            4.89352455891786e-03,
        ),
    )
)
"""The coefficients of the numerator, highest power first."""

Q = tuple(
    map(
        np.float32,
        (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03),
    )
)
"""The coefficients of the denominator, highest power first."""
