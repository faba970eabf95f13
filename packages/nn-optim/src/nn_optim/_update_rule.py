"""Update rules: one elementwise statement, from which all implementations are derived."""

from __future__ import annotations

import ast
import functools
import inspect
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from nn_tensor.extend import Kernel, compile_parts

from nn_optim._aligned import LINE
from nn_optim._blocks import Blocks, NumpyRule
from nn_optim._multi_tensor import MultiTensorKernel
from nn_optim._numpy_calls import NumpyCalls

__all__ = ["UpdateRule", "update_rule"]

_FEW = 4096  # elements, of which the rule as written takes least

_CUDA_FUNCTIONS = {
    "np.abs": "T np_abs(T x) { return fabs(x); }",
    "np.maximum": "T np_maximum(T x, T y) { return x != x || x > y ? x : y; }",
    "np.minimum": "T np_minimum(T x, T y) { return x != x || x < y ? x : y; }",
    "np.sign": "T np_sign(T x) { return x > 0 ? T(1) : x < 0 ? T(-1) : x; }",
    "np.sqrt": "T np_sqrt(T x) { return sqrt(x); }",
}
_NODES = (ast.If, ast.operator, ast.unaryop, ast.cmpop, ast.expr_context)
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub, ast.Lt, ast.Gt)


class UpdateRule(Kernel):
    """The step of one parameter, element by element: a `Kernel` that `update_rule` makes.

    Attributes:
        arrays: the arguments that are arrays, in order.
        state: the names of those that are kept from step to step: all but parameter and gradient.
        several: a kernel of several parameters: ``(xp, tensors, *options)``, for each tensor its
            arrays; parameter and gradient may be half precision. On CUDA it is one launch.
        options: the arguments that are numbers, in order.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self.function: Callable[..., None] = function
        signature = inspect.signature(function)
        parameters = signature.parameters.values()
        self.arrays: list[str] = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]
        self.options: list[str] = [p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY]
        if self.arrays[:2] != ["parameter", "gradient"]:
            expected = "(parameter, gradient, *state, /, *options)"
            raise TypeError(f"{function.__name__}: expected arguments {expected}, got {signature}")
        self.state: list[str] = self.arrays[2:]
        super().__init__(self._in_blocks())
        self.several: Kernel = Kernel(self._one_by_one)
        self._translation: _Translation | None = None
        try:
            source = textwrap.dedent(inspect.getsource(function))
        except OSError:  # typed into a console: only the reference
            return
        translation = _Translation(self, source)
        self.cpu(translation.loop())
        self.cuda(translation.launch)
        self.several.cuda(translation.launch_for_several)
        self._translation = translation

    def _in_blocks(self) -> Callable[..., None]:
        """Return the reference: the function itself, on NumPy arrays as calls, block by block."""
        count = len(self.arrays)

        @functools.wraps(self.function)
        def reference(xp: Any, *arguments: Any) -> None:
            first, gradient, *state = arguments[:count]
            if xp is not np or first.ndim != 1 or first.size <= _FEW:
                return self.function(*arguments)
            dtypes = {a.dtype for a in (first, gradient, *state) if a is not None}
            if len(dtypes) == 1:
                rule = self.on_numpy(first.size, first.dtype)
            else:
                rule = NumpyRule(self.function, 0, None, first.size, first.dtype)
            rule.set(*arguments[count:])
            Blocks(rule, first, *state).update(gradient)

        return reference

    def on_numpy(self, size: int, dtype: Any) -> NumpyRule:
        """Return the rule for arrays of up to `size` elements and of one dtype."""
        if self._translation is None or not self._translation.calls.lines:
            return NumpyRule(self.function, 0, None, size, dtype)
        return self._translation.on_numpy(size, dtype)

    def _one_by_one(self, xp: Any, tensors: Sequence[Sequence[Any]], *options: Any) -> None:
        """Update several parameters: the reference of `several`."""
        for parameter, gradient, *state in tensors:
            dtype = np.result_type(parameter, np.float32)
            x = parameter.astype(dtype, order="C", copy=False)
            arrays = [x, gradient.astype(dtype, copy=False), *state]
            self(xp, *(a if a is None else a.reshape(-1) for a in arrays), *options)
            if x is not parameter:
                parameter[...] = x

    def loop_for_several(
        self, dtype: str | None, state: Iterable[str]
    ) -> Callable[[Sequence[Any]], Callable[[int, int], None]] | None:
        """Return the compiled rule for many parameters, or None where no compiled kernels run.

        It is a job to be bound (see `nn_tensor.extend.compile_parts`) to these arguments:

        - the addresses of each parameter's arrays, contiguous and of one dtype: parameter,
          gradient, and those of `state`, the arrays that are kept, in the order of the rule;
        - the options, an array of float64;
        - slices of the parameters: the number of the parameter, the first element, and the end;
        - for each part the number of its first slice, and that of all slices.

        `dtype` is ``"f"`` or ``"d"``, NumPy's letters for float32 and float64, or None for others.
        """
        if self._translation is None or dtype is None:
            return None
        return compile_parts(self._translation.source_for_several(dtype, tuple(state)))


def update_rule(function: Callable[..., None]) -> UpdateRule:
    """Derive the NumPy, CPU and CUDA implementations of the decorated function.

    The function describes the update of one element. Its arguments before the ``/`` are the
    parameter, its gradient and the state arrays, all of one shape and dtype; those after it are
    numbers. The parameter and the state arrays are changed in place (``mean += ...``), and nothing
    else is. A state array that is not kept (see `Optimizer.init_state`) is None.

    On NumPy arrays the function itself runs, on large ones its operations, block by block. A loop
    for numba and a CUDA kernel are translated from its source, which may have ``+ - * /``, ``<``
    and ``>``, local variables, ``np.abs``, ``np.maximum``, ``np.minimum``, ``np.sign`` and
    ``np.sqrt``, and ``if`` on options or on ``state is not None``. Expressions of options alone may
    use all of Python and `math`: they are computed once for all elements, in float64, even those in
    a branch.

    Raises:
        TypeError: if the arguments are not of this form, or a statement cannot be translated.

    >>> import numpy as np
    >>> from nn_optim.extend import update_rule
    >>> @update_rule
    ... def sign_step(parameter, gradient, /, lr):
    ...     parameter -= lr * np.sign(gradient)
    >>> x = np.zeros(3)
    >>> sign_step(np, x, np.array([2.0, 0.0, -3.0]), 0.5)
    >>> x
    array([-0.5,  0. ,  0.5])
    """
    return UpdateRule(function)


class _Translation(ast.NodeTransformer):
    """An update rule in which coefficients replace expressions of options alone."""

    def __init__(self, rule: UpdateRule, source: str) -> None:
        self.name, self.filename = rule.function.__name__, rule.function.__code__.co_filename
        self.arrays, self.options = rule.arrays, rule.options
        self.changed = {*rule.arrays} - {"gradient"}
        self.known = {*_CUDA_FUNCTIONS, *rule.arrays, *(f"{a} is not None" for a in rule.arrays)}
        self.scalars = {"math", *rule.options}
        self.prelude: list[str] = []  # assignments of expressions of options alone
        self.coefficients: dict[str, str] = {}  # from other such expressions to their names
        self.body: list[ast.stmt] = []
        definition: Any = ast.parse(source).body[0]
        for statement in definition.body[ast.get_docstring(definition) is not None :]:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=v) if self._is_scalar(v):
                    self.prelude.append(ast.unparse(statement))
                    self.scalars.add(name)
                case _:
                    self.body.append(self.visit(statement))
        self.calls = NumpyCalls(self.body)

    def _is_scalar(self, node: ast.AST) -> bool:
        return all(n.id in self.scalars for n in ast.walk(node) if isinstance(n, ast.Name))

    def visit(self, node: ast.AST) -> Any:
        """Return the node with coefficients, or raise if it has no translation."""
        text = ast.unparse(node)
        match node:
            case ast.expr() if text in self.known:
                return node
            case ast.expr() if self._is_scalar(node):
                name = f"coefficient{len(self.coefficients)}"
                return ast.Name(self.coefficients.setdefault(text, name))
            case ast.Assign(targets=[ast.Name(id=name)]):
                accepted = name not in self.scalars and name not in self.arrays
                self.known.add(name)  # a local variable
            case ast.AugAssign(target=ast.Name(id=name), op=op):
                accepted = name in self.changed and isinstance(op, _OPERATORS)
            case ast.BinOp(op=op) | ast.UnaryOp(op=op) | ast.Compare(ops=[op]):
                accepted = isinstance(op, _OPERATORS)
            case ast.Call(func=func, keywords=[]):
                accepted = ast.unparse(func) in _CUDA_FUNCTIONS
            case _:
                accepted = isinstance(node, _NODES)
        if not accepted:
            raise TypeError(f"{self.name}: cannot translate {text!r}; see update_rule")
        return self.generic_visit(node)

    def loop(self) -> Callable[..., None]:
        """Return the rule as a loop over the elements, in numba's subset of Python."""
        body = "\n".join(map(ast.unparse, self.body))
        body = re.sub(_words(self.arrays) + "(?! is not )", r"\g<0>[element]", body)
        lines = [
            *(f"{name} = 1.0 * {name}" for name in self.options),  # powers of floats as in Python
            *self.prelude,
            *(f"{c} = parameter.dtype.type({text})" for text, c in self.coefficients.items()),
            f"for element in range(parameter.size):\n{textwrap.indent(body, ' ')}",
        ]
        # Numba keeps what it compiles beside the file of the rule, until that file changes.
        return self._define([*self.arrays, *self.options], lines, self.filename)

    @functools.cached_property
    def numpy_function(self) -> Callable[..., None]:
        """The rule as calls of NumPy: it takes the arrays, scratch memory and coefficients."""
        arguments = *self.arrays, *self.calls.rows, *self.coefficients.values()
        return self._define(arguments, self.calls.lines, "<calls of NumPy>")

    def on_numpy(self, size: int, dtype: Any) -> NumpyRule:
        """Return the rule as calls of NumPy for arrays of up to `size` elements."""
        rows, numbers = len(self.calls.rows), self._coefficient_values
        return NumpyRule(self.numpy_function, rows, numbers, size, dtype)

    @functools.cache  # noqa: B019 - a rule lives as long as its module
    def source_for_several(self, dtype: str, state: tuple[str, ...]) -> str:
        """Return a module's text: the rule for the slices of parameters that make a part.

        A loop over the few elements before the next cache line comes first: with vectors that cross
        lines the loop over the others takes twice the time.
        """
        statements = ast.parse("\n".join(map(ast.unparse, self.body))).body
        present = [name for name in self.arrays if name in ("parameter", "gradient", *state)]
        kept = _WithoutTests(present).visit(ast.Module(statements, []))
        body = re.sub(_words(self.arrays), r"\g<0>[element]", ast.unparse(kept))
        pointer, number = {"f": ("floats", "float32"), "d": ("doubles", "float64")}[dtype]
        size = np.dtype(dtype).itemsize
        lines = [
            "_addresses, _options = integers(_arguments[2]), doubles(_arguments[3])",
            "_slices, _firsts = integers(_arguments[4]), integers(_arguments[5])",
            *(f"{name} = _options[{n}]" for n, name in enumerate(self.options)),
            *self.prelude,
            *(f"{c} = np.{number}({text})" for text, c in self.coefficients.items()),
            "for _slice in range(_firsts[_part], _firsts[_part + 1]):",
            f" _row = _slices[3 * _slice] * {len(present)}",
            *(f" {name} = {pointer}(_addresses[_row + {n}])" for n, name in enumerate(present)),
            " _first, _end = _slices[3 * _slice + 1], _slices[3 * _slice + 2]",
            f" _line = _first + -(_addresses[_row] + {size} * _first) % {LINE} // {size}",
            " _line = np.uintp(min(_end, _line))",
            " for _start, _stop in ((np.uintp(_first), _line), (_line, np.uintp(_end))):",
            f"  for element in range(_start, _stop):\n{textwrap.indent(body, '   ')}",
        ]
        text = textwrap.indent("\n".join(lines), " ")
        arguments = "_arguments, _part, _thread"
        return f"import math\n\nimport numpy as np\n\n\ndef run({arguments}):\n{text}\n"

    def launch(self, cp: Any, *arguments: Any) -> None:
        """Run the rule as a CUDA kernel."""
        given = zip(self.arrays, arguments, strict=False)
        present = {name: array for name, array in given if array is not None}
        coefficients = self._coefficient_values(*arguments[len(self.arrays) :])
        kernel = self._cuda_kernel(cp, tuple(present))
        kernel(present.pop("gradient"), *coefficients, *present.values())

    @functools.cached_property
    def _coefficient_values(self) -> Callable[..., tuple[float, ...]]:
        values = "".join(f"{text}, " for text in self.coefficients)
        return self._define(self.options, [*self.prelude, f"return ({values})"], "<coefficients>")

    @functools.cache  # noqa: B019 - a rule lives as long as its module
    def _cuda_kernel(self, cp: Any, present: tuple[str, ...]) -> Any:
        preamble = "".join(f"template<typename T> __device__ {f}" for f in _CUDA_FUNCTIONS.values())
        return cp.ElementwiseKernel(*self.cuda_source(present), preamble=preamble)

    def launch_for_several(self, cp: Any, tensors: Sequence[Sequence[Any]], *options: Any) -> None:
        """Run the rule for several parameters as one CUDA kernel."""
        first = zip(self.arrays, tensors[0], strict=True)
        present = tuple(name for name, array in first if array is not None)
        kernel = self._kernel_for_several(present)
        kernel(cp, [[a for a in t if a is not None] for t in tensors], *self._coefficients(options))

    def _coefficients(self, options: Sequence[Any]) -> list[float]:
        return [float(value) for value in self._coefficient_values(*options)]

    @functools.cache  # noqa: B019 - a rule lives as long as its module
    def _kernel_for_several(self, present: tuple[str, ...]) -> MultiTensorKernel:
        _, _, operation, name = self.cuda_source(present)
        reads = "".join(f"T {a}_ = load({a}, i); " for a in present)
        writes = "".join(f"store({a}, i, {a}_); " for a in present if a in self.changed)
        loop = "for (long long i = start + threadIdx.x; i < stop; i += blockDim.x)"
        return MultiTensorKernel(
            f"{name}_of_several",
            present,
            list(self.coefficients.values()),
            f"{loop} {{ {reads}{operation}{writes}}}",
            "".join(f"__device__ {f}\n" for f in _CUDA_FUNCTIONS.values()),
        )

    def cuda_source(self, present: Sequence[str]) -> list[str]:
        """Return inputs, outputs, operation and name of the kernel for the arrays `present`."""
        names = [name for name in sorted(self.known) if name.isidentifier()]
        operation = "".join(f"T {name} = 0; " for name in names if name not in present)
        operation += "".join(f"bool has_{n} = {int(n in present)}; " for n in self.arrays)
        operation += re.sub(r"(\w+) is not None", r"has_\1", _in_c(self.body))
        inputs = ", ".join(f"T {name}" for name in ("gradient", *self.coefficients.values()))
        outputs = ", ".join(f"T {name}" for name in present if name in self.changed)
        # No name may be a word of C++ or of CuPy.
        texts = (re.sub(_words(names), r"\g<0>_", text) for text in (inputs, outputs, operation))
        return [*(text.replace("np.", "np_") for text in texts), f"nn_optim_{self.name}"]

    def _define(self, arguments: Iterable[str], lines: Iterable[str], filename: str) -> Any:
        source = f"def {self.name}({', '.join(arguments)}):\n"
        source += textwrap.indent("\n".join(lines), " ")
        namespace: dict[str, Any] = {"np": np, "math": math, "__name__": __name__}
        exec(compile(source, filename, "exec"), namespace)
        return namespace[self.name]


class _WithoutTests(ast.NodeTransformer):
    """Replaces tests whether a state array is kept by what they give for those `present`."""

    def __init__(self, present: Iterable[str]) -> None:
        self.tests = {f"{name} is not None" for name in present}

    def visit_Compare(self, node: ast.Compare) -> Any:
        text = ast.unparse(node)
        return ast.Constant(text in self.tests) if text.endswith(" is not None") else node

    def visit_If(self, node: ast.If) -> Any:
        test = self.visit(node.test)
        if isinstance(test, ast.Constant):
            parts = node.body if test.value else node.orelse
            return [self.visit(part) for part in parts] or ast.Pass()
        return self.generic_visit(node)


def _words(names: Iterable[str]) -> str:
    """Return the pattern of names that are not attributes."""
    return rf"(?<![.\w])({'|'.join(names)})\b"


def _in_c(statements: Iterable[ast.stmt]) -> str:
    """Return statements in C, but for tests for None and functions of NumPy."""
    text = ""
    for s in statements:
        if isinstance(s, ast.If):
            text += f"if ({ast.unparse(s.test)}) {{ {_in_c(s.body)}}} else {{ {_in_c(s.orelse)}}} "
        else:
            text += f"{ast.unparse(s)}; "
    return text
