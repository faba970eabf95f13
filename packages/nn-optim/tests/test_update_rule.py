"""Update rules: one statement, its implementations, and what is refused."""

import linecache

import numpy as np
import pytest
from nn_optim import SGD
from nn_optim.extend import Optimizer, Schedule, option, update_rule
from nn_tensor import Tensor, use_kernels, zeros
from nn_tensor.extend import check_integer, check_number


@update_rule
def everything_step(parameter, gradient, mean, largest, /, step, lr, beta, sign, floor):
    """Apply an invented rule that has everything a rule may have."""
    direction = gradient
    new = -floor
    if sign:
        direction = np.sign(gradient)
    elif floor > 0.5:
        direction = -gradient
    if largest is not None:
        largest *= 1 - floor
        largest += (largest < np.abs(gradient)) * (np.abs(gradient) - largest)
        direction = direction / np.maximum(np.minimum(largest, 5.0), floor)
    mean += (1 - beta) * (direction - mean)
    correction = 1 - beta**step
    parameter -= lr / correction * (mean + new * (np.sqrt(np.abs(parameter)) > 1))


class Everything(Optimizer):
    rule = everything_step
    sign = True
    beta: float = option(check_number, minimum=0, below=1, default=0.75)
    floor: float = option(check_number, minimum=0, default=0.125)
    bounded: float = option(check_number, default=1.0)

    def init_state(self, options):
        return {"mean": 0.0, "largest": 0.5} if options["bounded"] else {"mean": 0.0}


def make(source):
    """Return the function `f` of a source, which `inspect` finds."""
    linecache.cache["<test>"] = (len(source), None, source.splitlines(True), "<test>")
    namespace = {"np": np}
    exec(compile(source, "<test>", "exec"), namespace)
    return namespace["f"]


@pytest.mark.parametrize("bounded", [0.0, 1.0])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("kind", [Everything, type("Plain", (Everything,), {"sign": False})])
def test_every_construct_has_the_same_result_everywhere(kind, dtype, bounded, device):
    results = []
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(5, 4)), rng.normal(size=(4, 5, 4))
    for choice in ("auto", "reference"):
        x = Tensor(start.astype(dtype), device=device, requires_grad=True)
        y = Tensor(start[0].astype(dtype), device=device, requires_grad=True)
        optimizer = kind([x, y], lr=0.5, bounded=bounded)
        with use_kernels(choice):
            for gradient in gradients:
                x.grad = Tensor(gradient, device=device, dtype=dtype)
                y.grad = Tensor(gradient[0], device=device, dtype=dtype)
                optimizer.step()
        results.append(x.numpy())
        np.testing.assert_array_equal(x.numpy()[0], y.numpy())
    tolerance = {"float16": 1e-3, "float32": 1e-5, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(*results, rtol=tolerance, atol=tolerance)


def test_rows_of_scratch_memory_are_used_again():
    statements = [
        "x = gradient",
        "if decay: x = -(decay * parameter) + gradient",
        "if mean is not None:",
        "    mean += (1 - beta) * (x - mean) / np.maximum(np.abs(x), 1)",
        "    y = np.sqrt(mean * mean)",
        "else: y = np.minimum(x * x, x / beta)",
        "parameter -= (x - y) * (x + y) - y / (x * x + 1)",
    ]
    source = "def f(parameter, gradient, mean, /, beta, decay):\n    " + "\n    ".join(statements)
    rule, size = update_rule(make(source)), 5000
    assert rule._translation.calls.rows == ["_row0", "_row1", "_row2", "_row3"]
    for kept in (True, False):
        for decay in (0.0, 0.5):
            parameter, gradient, mean = np.random.default_rng(0).normal(size=(3, size))
            given = (gradient, mean if kept else None)
            wanted = [a if a is None else a.copy() for a in (parameter, *given)]
            rule.function(*wanted, 0.75, decay)
            rule.reference(np, parameter, *given, 0.75, decay)
            for found, other in zip((parameter, *given), wanted, strict=True):
                assert found is other or (found == other).all()


def test_arrays_of_several_dtypes_are_computed_as_the_rule_is_written():
    rule = update_rule(make("def f(parameter, gradient, /, lr): parameter -= lr * gradient"))
    x, gradient = np.ones(5000, np.float32), np.full(5000, 1 / 3)
    rule.reference(np, x, gradient, 0.5)
    np.testing.assert_array_equal(x, (1 - 0.5 * gradient).astype(np.float32))


def test_the_loop_computes_numbers_in_float64():
    statement = "parameter -= (1 - beta) * gradient"
    rule = update_rule(make(f"def f(parameter, gradient, /, beta): {statement}"))
    ones = np.ones(4, np.float32)
    for function in (lambda *a: rule.reference(np, *a), rule.cpu_implementation):
        function(x := ones.copy(), ones, 0.999)
        np.testing.assert_array_equal(x, ones - np.float32(1 - 0.999))


def test_the_source_of_the_cuda_kernel():
    rule = update_rule(
        make(
            "def f(parameter, gradient, new, /, lr):\n"
            "    if new is not None:\n"
            "        new += gradient\n"
            "    parameter -= 2 * lr * np.sign(gradient)\n"
        )
    )
    source = rule.cuda_implementation.__self__.cuda_source
    declared = "bool has_parameter = 1; bool has_gradient = 1; "
    assert source(["parameter", "gradient", "new"]) == [
        "T gradient_, T coefficient0",
        "T parameter_, T new_",
        f"{declared}bool has_new = 1; if (has_new) {{ new_ += gradient_; }} else {{ }} "
        "parameter_ -= coefficient0 * np_sign(gradient_); ",
        "nn_optim_f",
    ]
    inputs, outputs, operation, _ = source(["parameter", "gradient"])
    assert (inputs, outputs) == ("T gradient_, T coefficient0", "T parameter_")
    assert operation.startswith(f"T new_ = 0; {declared}bool has_new = 0; if (has_new)")


@pytest.mark.parametrize(
    "statement",
    [
        "parameter -= np.tanh(gradient)",
        "parameter -= np.sqrt(x=gradient)",
        "parameter -= np.where(gradient > 0, lr, -lr)",
        "parameter -= np.pi * gradient",
        "parameter -= gradient ** 2",
        "parameter //= lr",
        "parameter = gradient",
        "parameter[...] = gradient",
        "gradient *= 2",
        "lr += 1",
        "for i in range(3): pass",
        "parameter -= lr if gradient else 1",
        "parameter -= lr if mean is None else 1",
        "parameter -= lr * (mean is not gradient)",
        "parameter -= unknown(gradient)",
        "parameter -= unknown",
        "parameter -= 0 < gradient < 1",
        "return parameter",
        "import math",
    ],
)
def test_what_cannot_be_translated_is_refused(statement):
    function = make(f"def f(parameter, gradient, mean, /, lr):\n    {statement}\n")
    with pytest.raises(TypeError, match=r"f: cannot translate '.*'; see update_rule"):
        update_rule(function)


def test_a_local_variable_is_assigned_anew_and_not_in_place():
    update_rule(make("def f(parameter, gradient, /, lr):\n    x = gradient\n    x = x * x\n"))
    with pytest.raises(TypeError, match=r"cannot translate 'x \+= 1'"):
        update_rule(make("def f(parameter, gradient, /, lr):\n    x = gradient\n    x += 1\n"))


@pytest.mark.parametrize("arguments", ["parameter, gradient, lr", "gradient, parameter, /, lr", ""])
def test_wrong_arguments(arguments):
    with pytest.raises(TypeError, match=r"f: expected arguments \(parameter, gradient, \*state, /"):
        update_rule(make(f"def f({arguments}): pass"))


def test_a_rule_without_source_has_the_reference_alone():
    namespace = {"np": np}
    exec("def f(parameter, gradient, /, lr): parameter -= lr * gradient", namespace)
    rule = update_rule(namespace["f"])
    assert rule.cpu_implementation is None
    rule(np, x := np.ones(3), np.ones(3), 0.5)
    np.testing.assert_array_equal(x, np.full(3, 0.5))


def test_a_rule_names_its_arguments():
    assert everything_step.arrays == ["parameter", "gradient", "mean", "largest"]
    assert everything_step.state == ["mean", "largest"]
    assert everything_step.options == ["step", "lr", "beta", "sign", "floor"]
    assert everything_step.__name__ == "everything_step"
    assert "invented" in everything_step.__doc__


def test_an_argument_that_nothing_fills():
    class Lost(Optimizer):
        rule = update_rule(make("def f(parameter, gradient, /, lr, rho): parameter -= rho * lr"))

    with pytest.raises(AttributeError, match="rho"):
        Lost([zeros(2, requires_grad=True)], lr=0.1)


def test_a_custom_schedule_is_resumed_with_its_options():
    class Polynomial(Schedule):
        total_steps: int = option(check_integer, minimum=1, kw_only=False)
        power: float = option(check_number, minimum=0, default=1.0)

        def rate(self, base, step):
            return base * max(0.0, 1.0 - step / self.total_steps) ** self.power

    first, second = (
        Polynomial(SGD([zeros(2, requires_grad=True)], lr=1.0), 10, power=p) for p in (2.0, 1.0)
    )
    for _ in range(4):
        first.step()
    second.load_state_dict(first.state_dict())
    assert second.optimizer.lr == first.optimizer.lr == pytest.approx(0.36)
    with pytest.raises(TypeError, match=r"Polynomial takes 2 positional .* power=2.0 by name"):
        Polynomial(first.optimizer, 10, 2.0)
