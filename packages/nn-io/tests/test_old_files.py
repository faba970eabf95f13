"""Files that version 0.1.0 wrote load as they did."""

import base64
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nn_io import load_checkpoint, load_state_dict_from_file

# Compressed with zlib, in base64.
FILES = {
    ("parameters", ".safetensors"): """
eNplkM9KxDAQxndPvobMOZQ0aWLbi4sHQRD24LEtZdImbnH7RxMRKYV9FB/VtIvSZYdMIDP5fsk3w3azxAg0+NLN68FZSEeo
3fegIYVHzoCAPeB8yhjhBYEaHZa9MVbPd7OYcFZMxOtbtG9r8cN+/7xWX2u5J0azuCxb7XDpljOi68qmD0z/0aLzpNBjziUP
Y0L6EksiLQW/qyMZo6FM0UoZjFFEIkbJhGJaoaykMiypKkwMpSqWrObKyFAK8U/8e9gzxxyqI1qbQ5rDi37/1J1r8JgDyc8u
5k62jKGYwH87DKzTw8XEnmS08nxtmZK4mKbbm806Tvd+2/nl8+TzZ7fd/ALrIHXD
""",
    ("checkpoint", ".safetensors"): """
eNqV0r9Kw0AABnB1ERzEWRzk5iPm7nLXNIuI/ybBpSDYEq7JXVuaJiV3YqVk0MnF99DVyUHfQRx18g3c7OglqUWpRXpDcvnu
43fckeulhWIMQS8JRWSdA28IQn3RF8ADB8wBEKg2z79OcQOCkGvuJ1IqoZWJbIhYI4MgjVtWS8Qi5TpJLaW5FuXzp1b7T0MM
EjyL68TBXBjB0HGnsTZX/lkn1gTP1tC05riQ/nHSXBItkc5lUQaZk1u+3xOaF6t+LsSx30ksmaQ9rg2EDFNGBsOUmUgSLN2Q
sqbkhFUdZAvEEaV2FQeCcKciUdiUVFYIdcOAhYKwZtOWFRxKigh38UT83tiYw/o4C9oi6PYTc6Q68BCsgz5PtTJz0yh+jnIa
RFzlaR0clWGWma65l3J5cjlF5Xj3kDmmYhpKi77JqJmKgU55WY+SArMtmmVG2lz4NT6235+3HrqjjdvV2vL9C1uJ7tRg75Fc
nlytf3pvrzc7i+Pm6GltP39/ARMC4+A=
""",
    ("parameters", ".npz"): """
eNqlUktLw0AQ3lgfEBEUvHiL8RCVWPIyGhH05KWoAfEgUsImu9Vqm9ZuVHwUSk+9i+DRnyF49Qd48+ZdBPHsRSd1o6aCiE6y
O2QyHzPfN+PmMt1T6N1G0eoDmnzlNoCGkZY9pMWt7Yhlw+qRgAbRBU9N/NnK+rK7IaADdKIQyoKaMicp8wVLUSWlUKlFNRx6
lRqhcXwJlxiFONvGVQrf44YqmROqVJf+bOJ7F40FuBbhhdOAc7nopmg9jVznE1pim1YZs92EU5PnNX/idOrrv+T0P0bASUDp
7l9uj++T7oege88r0wgTHGHPy+6wShiTUHh64k/koIQZk+fkNbq3T8OoiEuyKrf7hOjmpqGa+Xw9XWns6rmUVOqHSnqWRbT6
MfwWT2z9OPzi7K+E+q9MIFQf78PNCV1TmfQWX/AlHUCf1hDiO7XTndB4U5p8F8QU9K4NTfamExfPSOHyD6Vw51D028Q64bHw
La5sfwr+CvAvY3BzPb3xj254HsHfdAF9JIahV6xIoK0xbUu66BBz2reoNevYhmVQjZia41iaj03i25ofUNukjm7qgeUTzTCC
wCJBIXDsGWxT2yCFNwZs6Bg=
""",
    ("checkpoint", ".npz"): """
eNoL8GZm0WWAAEWGd6EZXf+hgJtBhCE3PyU1R69cL6+gkpFBgGECVCGMnuwX6hsQychQxlCtnpJanFykbqWgbpNmoa6joJ6W
X1RSlJgXn1+UkgoSd0vMKU4FihdnJBakAvkaRjqaOgq1ChQALgYU8ME+AMUzp0MKT8M8Iwv0TFFeul56al5qUWJJfpFecUli
SSqUJMl7pXTz3sML+juyf8is4Atl33TJjCsH1XvVbz64wrwnjcN7mXnJg9VzK4srXPYYN0Y0SX23un2r1xHVczNPimyDeU4G
w3MZicXxpZl5JcZGMN91QHV2UMN3hpT7jhHqDlRfWdmGt8B8JYXhK5CPUtNTiwarn37sFXDF9JPg17czYH4SBPopPj43tSQx
JbEkMT5eL6s4Pw/klRKochhdrZSXF5+Zr5eckZqcXZAP9LiSlaGOUkFiUUmxklW1ErjcATGScxKLgSJKvmCB2lodJWCYgSTg
wQaUDHB2NzNRAsoVl6QWKFmZ6iilVgBDA6QsJx+k3UDPtLY2wJuRSZcZtaybAM0Q3EjFSAM47pBKPnSNoHIFplEWReNZIIm3
lEE3CpSHYUZJoxi1hpEBX45GNwiUXzqgaUUGxaBOJga8uQfdJFAahZkkhWJSPDMDnhSLbg4oXZRAo1wQxRxjFgbMVBLgzcoG
kmYDwnlAv78CKgpg4AInEwVgKjYyNVMw5DJOSrU0NjZKSrJIskxJMjZIS7YwMjJPNTY1MTc2TDJPSU02MDU1NTFLTTaxSDM1
TjUySDFKSTQ3NjEzMTBITjUGAIBSsE4=
""",
    ("parameters", ".pkl"): """
eNptkU1Lw0AQhpO0tbUWPHjRW47xEpI0SVMRLHgz0IOeJWw2GxOaL7MJpaCQi1+wN8ee/ae6jQULOrszszC77zzDNl12kmVe
nJ/JSMYRwQtap3KYJ0m+pFrT+0hEobVHUNi+pi5JfBdVFNhRVqfFSvVwXhKVn0kZY2AHXljmqV+HISnhHZT1sbBrzQUPM765
N9w/Z8B6rRDPQbUqCH/EpNCEt9cXuAbF7TDxHObz+dUXtza4QgW+K7mdZ2DiJVT8GtvT1BTRBURdZS1te4kCRAMm+fqu1sO/
Wk8QHbY6I89LSYUCVCHPg83IPZwgyscd3pD7mmRVjBLejkaoIBRu+VI2KATVrK+rtCIFbSEGW4j+NrcosfOLEo3+gpz+UNTq
sP0RmXcxLFvWh+OxEYSWY2PfxrqlORM/sKeWg3CgW7wwNkwcmrrpoGASBEQ3DKxpOjanU4yJbVvON0Z2pzU=
""",
    ("checkpoint", ".pkl"): """
eNqdks9rE0EUx7NpltZYNFBQKx72mNOaZH9li1CkSsHFIILgbZnMzmRD9xczs7Q9CFUQFcaTT/8F9erJg/4P4lEv+h94szed
TEttIAf1HeY95j2+nzfM96Al14sinpYbFrJwSvAOr3OLlllW7vLegfnydbOh4wF05XJeJiSzd0GuFXVe7dsxLhmxVU3YFIM8
G1NW5uOaUsLgBXRfdRqL4scmSFMLqJyI/YqoYdmkQ3j29AnchW60JI1rMBqNbv1SoY+oIWAcNR+DNLZAqCG5zoqJPSEFYUiU
zOYCCXJ0Qtr6g/7+6er7ncMrb87dW3732W9nkK7IZn0Kla4uBqXnNebiIsy0wHOQt3zvxgfn4f1Hl39ufP3y/Pq/Qi7NQ1LE
43paCGegKSvHFOM4/526caJ+YV59pkwm6odOax9+7Nz8H+3VOM6JQAkSKI5hZpKOtpOtvVSVigWRIc0KMcFVX5raQ7rCGeJc
5dv6hnO5pBaddc6cLKu6d7a2fRe4bHFBKohMaZI9wdBsrpWVSmB789vRG3hd221Nt3iKBp5v9dse7vXD3sANkzB0MfWdoUcc
EoQ0cPsUuR5FDh4HDh2OaUATkgwHvocDnGCP0r7jkd8U2ydL
""",
}


def written(kind: str, suffix: str, folder: Path) -> Path:
    path = folder / f"{kind}{suffix}"
    path.write_bytes(zlib.decompress(base64.b64decode(FILES[kind, suffix])))
    return path


class Model:
    def __init__(self) -> None:
        self.state: dict[str, Any] = {"w": np.zeros(2)}

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.state = dict(state)


def test_parameters(suffix: str, tmp_path: Path) -> None:
    state = load_state_dict_from_file(written("parameters", suffix, tmp_path))
    assert list(state) == ["0.weights", "0.mask", "__metadata__", "1.steps"]
    assert state["__metadata__"] == {"class": "Sequential", "shapes": [[2, 3]]}
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(state["0.weights"], weights, strict=True)
    np.testing.assert_array_equal(state["0.mask"], np.array([True, False]), strict=True)
    np.testing.assert_array_equal(state["1.steps"], np.array(7), strict=True)


def test_checkpoints(suffix: str, tmp_path: Path) -> None:
    expected, rng = np.random.default_rng(0), np.random.default_rng(1)
    expected.integers(2**31, size=3, dtype=np.int32)
    model = Model()
    found = load_checkpoint(written("checkpoint", suffix, tmp_path), model=model, rng=rng)
    assert found == (5, {"loss": 0.5})
    assert model.state["__metadata__"] == {"class": "Model"}
    np.testing.assert_array_equal(model.state["w"], np.arange(2.0), strict=True)
    assert rng.bit_generator.state == expected.bit_generator.state
