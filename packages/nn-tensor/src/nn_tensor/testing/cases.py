"""Tables of test cases: what every kind of row has, and the list of checks of a table."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from nn_tensor.testing.assertions import refusal

__all__ = ["DOMAINS", "Case", "Check", "each_check", "missing_cases"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape], Any]


def _distinct(rng: np.random.Generator, shape: Shape) -> Array:
    size = int(np.prod(shape, dtype=int))
    values = 0.1 + 0.3 * np.arange(size) / max(size, 1) + rng.integers(-3, 3, size)
    return rng.permutation(values).reshape(shape)


DOMAINS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "positive": lambda rng, shape: rng.uniform(0.3, 3.0, shape),
    "nonzero": lambda rng, shape: rng.uniform(0.5, 2, shape) * rng.choice([-1.0, 1.0], shape),
    "distinct": _distinct,
    "integers": lambda rng, shape: rng.integers(-9, 9, shape),
    "booleans": lambda rng, shape: rng.random(shape) < 0.5,
}
"""Random inputs by name; ``"distinct"`` has no ties and stays away from multiples of one half."""


def _draw(given: Any, rng: np.random.Generator) -> Any:
    if not isinstance(given, tuple):
        return np.asarray(given)
    domain, shape = given
    if isinstance(domain, tuple):
        low, high = domain
        return np.asarray(rng.uniform(low, high, shape))
    return np.asarray((DOMAINS[domain] if isinstance(domain, str) else domain)(rng, shape))


@dataclass(frozen=True, eq=False)
class Case:
    """A row of any kind: what is tested, with which inputs and options, against which reference.

    Args:
        function: the tested function, or the class that makes it from `options`.
        reference: a formula in NumPy for the same; without one, values are not compared.
        inputs: each an array, or a pair of a domain and a shape; or a function of a random
            generator that returns all. A domain is a name in `DOMAINS`, a pair of bounds, or a
            function of a random generator and the shape.
        label: distinguishes the rows of one function.
        options: keyword arguments of `function`.
        name: the public name that the row stands for; by default that of `function`.
        invalid: values of options that have to be refused with an error that names the option.
        skip: the checks that do not hold for this row, ``"modes"`` or ``"forward float16"`` for
            example, each with the reason.
    """

    function: Callable[..., Any]
    reference: Any = None
    inputs: Any = ()
    label: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    _: KW_ONLY
    name: str = ""
    invalid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    skip: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.function.__name__)

    def __str__(self) -> str:
        return f"{self.name} {self.label}".strip()

    def draw(self, dtype: Any = np.float64) -> list[Any]:
        """Return the inputs, floating ones in `dtype`; the same for each call, others by row."""
        rng = np.random.default_rng([0, zlib.crc32(str(self).encode())])
        drawn = self.inputs(rng) if callable(self.inputs) else [_draw(x, rng) for x in self.inputs]
        floating = [isinstance(x, np.ndarray) and x.dtype.kind == "f" for x in drawn]
        with np.errstate(all="ignore"):  # flags that compiled code before may have left
            return [x.astype(dtype) if f else x for x, f in zip(drawn, floating, strict=True)]

    def checks(self) -> Iterator[tuple[str, ...]]:
        """Return the name of each check of this kind of row, and its argument if it has one.

        ``("forward", "float32")`` stands for ``case.check_forward("float32", device=device)``.
        """
        for option in self.invalid:
            yield "invalid_option", option

    def build(self, **options: Any) -> Any:
        """Call `function` with the options of the row, and others over them."""
        return self.function(**{**self.options, **options})

    def try_options(self, **options: Any) -> None:
        """Do what has to raise if one of the `options` is invalid."""
        self.build(**options)

    def check_invalid_option(self, option: str, device: str) -> None:
        """Each invalid value of an option raises an error that names the option."""
        for value in self.invalid[option]:
            with refusal((TypeError, ValueError), f"{option}={value!r}", option):
                self.try_options(**{option: value})


@dataclass(frozen=True)
class Check:
    """One check of one row: call it with a device to run it; `str` of it names both."""

    case: Case
    name: str
    argument: str = ""

    def __call__(self, device: str = "cpu") -> None:
        """Raise an error if the check does not hold."""
        arguments = [self.argument] if self.argument else []
        getattr(self.case, f"check_{self.name}")(*arguments, device=device)

    def __str__(self) -> str:
        return f"{self.case}: {self.name} {self.argument}".rstrip()


def each_check(cases: Iterable[Case]) -> list[Check]:
    """List all checks of all rows, to be run one by one.

    With pytest, one parametrized test runs them; the fixture `device` comes from the plugin
    `nn_tensor.testing.pytest_plugin`, without which a check runs on the CPU::

        @pytest.mark.parametrize("check", each_check(CASES), ids=str)
        def test_case(check, device):
            check(device)

    Raises:
        ValueError: if two rows have the same name and label, or `skip` names an unknown check.

    >>> from nn_tensor import exp
    >>> from nn_tensor.testing import OpCase, each_check
    >>> checks = each_check([OpCase(exp, np.exp, [("normal", (3, 4))])])
    >>> for check in checks:
    ...     check()
    >>> str(checks[0])
    'exp: forward float32'
    """
    found: dict[str, list[Check]] = {}
    for case in cases:
        checks = {" ".join(check): Check(case, *check) for check in case.checks()}
        if str(case) in found:
            raise ValueError(f"cases: two rows are named {str(case)!r}; give one a label")
        if unknown := set(case.skip) - set(checks):
            raise ValueError(f"{case}: skip: has no checks {sorted(unknown)}")
        found[str(case)] = [check for name, check in checks.items() if name not in case.skip]
    return [check for checks in found.values() for check in checks]


def missing_cases(
    names: Iterable[str], cases: Iterable[Case], exempt: Mapping[str, str] | None = None
) -> list[str]:
    """List the public names that have no row.

    Args:
        names: all that should have one, an ``__all__`` for example.
        cases: the rows.
        exempt: the names that need none, each with the reason.

    Raises:
        ValueError: if `exempt` has a name that is not among `names`, or that has a row.

    >>> from nn_tensor import exp, log
    >>> from nn_tensor.testing import OpCase, missing_cases
    >>> missing_cases(["exp", "log"], [OpCase(exp, np.exp, [("normal", (3,))])])
    ['log']
    """
    wanted, covered, exempted = set(names), {case.name for case in cases}, set(exempt or ())
    if wrong := exempted - (wanted - covered):
        raise ValueError(f"exempt: not public, or tested: {sorted(wrong)}")
    return sorted(wanted - covered - exempted)
