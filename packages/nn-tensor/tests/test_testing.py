"""The checks themselves find what is wrong, and say what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor, exp, floor, no_grad
from nn_tensor.extend import op
from nn_tensor.testing import (
    GradientError,
    MetricCase,
    assert_close,
    each_check,
    gradcheck,
    kernels_of,
    ops_of,
)

X = np.array([[0.3, -0.7], [1.2, 0.4]])


@op
def wrong_first(xp: Any, x: Any, y: Any, /) -> Any:
    return x * y * y


@wrong_first.gradient("x")
def _(g: Any, y: Any) -> Any:
    return g * y * y


@wrong_first.gradient("y")
def _(g: Any, x: Any, y: Any) -> Any:
    return g * x * y * 1.999


@op
def wrong_second(xp: Any, x: Any, /) -> Any:
    return x**3


@wrong_second.gradient("x")
def _(g: Any, x: Any) -> Any:
    constant = x.detach() if isinstance(x, Tensor) else x
    return g * (3 * constant * constant)


class TestGradcheck:
    def test_names_the_input_and_both_numbers(self) -> None:
        with pytest.raises(GradientError) as caught:
            gradcheck(wrong_first, [X, X + 2])
        message = str(caught.value)
        assert "order 1, input 1 (float64 (2, 2))" in message
        assert "by finite differences" in message
        assert isinstance(caught.value, AssertionError)
        gradcheck(wrong_first, [X, X + 2], wrt=[0])

    def test_second_order(self) -> None:
        gradcheck(wrong_second, [X])
        with pytest.raises(GradientError, match="order 2, input 0"):
            gradcheck(wrong_second, [X], order=2)

    def test_finds_small_errors(self) -> None:
        with pytest.raises(GradientError):
            gradcheck(lambda x: x.detach() * 1e-6 + x, [X])

    def test_finds_missing_history(self) -> None:
        with pytest.raises(GradientError, match="but 0 by the gradient"):
            gradcheck(lambda x: exp(x.detach()), [X])

    def test_several_outputs_and_constants(self) -> None:
        gradcheck(lambda x, i, y: (x[i] * y, y.sum()), [X, np.array([1, 0]), X], order=3)

    def test_float32_is_checked_in_float64(self) -> None:
        gradcheck(exp, [X.astype(np.float32)])

    def test_what_is_constant(self) -> None:
        gradcheck(lambda x: floor(x) + x * 0, [X], order=2)

    def test_of_nothing(self) -> None:
        gradcheck(exp, [np.ones((0, 2))], order=2)

    def test_inside_no_grad_the_inputs_stay(self) -> None:
        x = Tensor(X.copy(), requires_grad=True)
        gradcheck(exp, [x], order=2)
        assert not x.has_grad
        assert_close(x, X)

    def test_same_seed_same_check(self) -> None:
        messages = []
        for _ in range(2):
            with pytest.raises(GradientError) as caught:
                gradcheck(wrong_first, [X, X], seed=3)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]

    def test_function_that_works_without_recording(self) -> None:
        def function(x: Tensor) -> Tensor:
            with no_grad():
                scale = float(x.abs().max()) * 0 + 2
            return x * scale

        gradcheck(function, [X], order=2)


class TestAssertClose:
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    def test_tolerance_of_the_type(self, dtype: str) -> None:
        x = np.array([1.0, 100.0], dtype)
        assert_close(x * (1 + 2 * np.finfo(dtype).eps).astype(dtype), x)
        with pytest.raises(AssertionError, match="elements differ"):
            assert_close(x * np.asarray(1.01, dtype), x)

    def test_less_precise_of_both(self) -> None:
        assert_close(np.float32([0.1]), np.float64([0.1]), check_dtype=False)

    def test_place_and_values(self) -> None:
        with pytest.raises(AssertionError) as caught:
            assert_close(Tensor([[1.0, 2.0]]), Tensor([[1.0, 2.5]]), name="weights")
        assert str(caught.value).startswith(
            "weights: 1 of 2 elements differ; at (0, 1) 2.0, expected 2.5"
        )

    @pytest.mark.parametrize(
        ("actual", "expected", "message"),
        [
            (np.ones(2), np.ones(3), r"shape \(2,\), expected \(3,\)"),
            (np.ones(1), np.ones(()), "shape"),
            (np.ones(2, np.float32), np.ones(2), "dtype float32, expected float64"),
            (np.array([np.nan]), np.array([1.0]), "nan"),
            (np.array([1.0]), np.array([np.nan]), "nan"),
            (np.array([np.inf]), np.array([1e300]), "inf"),
            (np.array([1.0]), np.array([np.inf]), "inf"),
            (np.array([np.inf]), np.array([-np.inf]), "inf"),
            (np.array([2**62 + 1]), np.array([2**62]), "1 of 1"),
            (np.array([True]), np.array([False]), "True"),
            (np.array([1 + 1j]), np.array([1 + 2j]), "1 of 1"),
        ],
    )
    def test_differences(self, actual: Any, expected: Any, message: str) -> None:
        with pytest.raises(AssertionError, match=message):
            assert_close(actual, expected)

    def test_equal(self) -> None:
        special = np.array([np.nan, np.inf, -np.inf, 0.0])
        assert_close(special, special)
        assert_close(np.array([]), np.array([]))
        assert_close(Tensor([1.0, 2.0]), [1, 2])
        assert_close(Tensor([1, 2]), np.array([1, 2]))
        assert_close([1.0], [1.1], atol=0.2)
        assert_close(3, 3)

    def test_of_pytorch(self) -> None:
        torch = pytest.importorskip("torch")
        assert_close(Tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]).numpy())


class TestDiscovery:
    def test_ops_and_kernels(self) -> None:
        assert ops_of("nn_tensor")["exp"] is exp
        assert {"erf", "add_at"} <= set(kernels_of("nn_tensor"))
        assert ops_of("json") == kernels_of("json") == {}

    def test_two_of_one_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = tmp_path / "twice"
        package.mkdir()
        (package / "__init__.py").write_text("")
        for name in ("first", "second"):
            (package / f"{name}.py").write_text(
                "from nn_tensor.extend import op\n\n@op\ndef same(xp, x, /):\n    return x\n"
            )
        monkeypatch.syspath_prepend(str(tmp_path))
        with pytest.raises(ValueError, match="twice: two ops are named 'same'"):
            ops_of("twice")


class _Hits:
    def __init__(self, tolerance: float = 0.0) -> None:
        if tolerance < 0:
            raise ValueError(f"tolerance: expected a number >= 0, got {tolerance}")
        self.tolerance = tolerance

    def __call__(self, x: Any, y: Any) -> float:
        x, y = Tensor(x).numpy(), Tensor(y).numpy()
        if x.shape != y.shape:
            raise ValueError(f"shapes {x.shape} and {y.shape} differ")
        return float((np.abs(x - y) <= self.tolerance).mean())


class TestMetricCase:
    INPUTS = (("integers", (9,)), ("integers", (9,)))

    def test_right(self) -> None:
        case = MetricCase(
            _Hits, lambda x, y: (x == y).mean(), self.INPUTS, invalid={"tolerance": [-1.0]}
        )
        for check in each_check([case]):
            check()

    def test_wrong(self) -> None:
        case = MetricCase(_Hits, lambda x, y: (x != y).mean(), self.INPUTS)
        with pytest.raises(AssertionError, match="1 of 1 elements differ"):
            case.check_forward("float32", "cpu")
