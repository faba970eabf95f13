"""An update rule as calls of NumPy that write into arrays which are there already.

The rule as it is written makes an array for each operation. Here the operations are the same, in
the same order, and so are the results to the last bit; but what is computed on the way is written
into a few rows of scratch memory, which are used again and stay in the cache.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

__all__ = ["NumpyCalls"]

_FUNCTIONS: dict[type[ast.AST], str] = {
    ast.Add: "np.add",
    ast.Sub: "np.subtract",
    ast.Mult: "np.multiply",
    ast.Div: "np.divide",
    ast.USub: "np.negative",
}
_BY_NAME = ("np.maximum", "np.minimum")  # of which NumPy refuses a third array by position


class NumpyCalls:
    """The statements of an update rule as calls.

    Args:
        statements: assignments and branches, as `update_rule` allows them.

    Attributes:
        lines: the calls, one a line, and the branches; none for a rule that compares elements,
            whose comparisons are not floating.
        rows: the names of the rows of scratch memory.
    """

    def __init__(self, statements: Sequence[ast.stmt]) -> None:
        self.lines: list[str] = []
        self.rows: list[str] = []
        self._held: set[str] = set()  # rows that are read later
        nodes = (node for statement in statements for node in ast.walk(statement))
        tests = (ast.unparse(node) for node in nodes if isinstance(node, ast.Compare))
        if all(test.endswith(" is not None") for test in tests):
            self._write(statements, "")

    def _write(self, statements: Sequence[ast.stmt], indent: str) -> None:
        for statement in statements:
            match statement:
                case ast.If(test=test, body=body, orelse=orelse):
                    before, after = self._held, {*self._held}
                    for head, part in ((f"if {ast.unparse(test)}:", body), ("else:", orelse)):
                        if part:
                            self._held = {*before}
                            self.lines.append(indent + head)
                            self._write(part, indent + " ")
                            after |= self._held
                    self._held = after
                case ast.Assign(targets=[target], value=value):
                    # a row that a local variable names is not used again
                    operand = self._value(value, indent)
                    self.lines.append(f"{indent}{ast.unparse(target)} = {operand}")
                case ast.AugAssign(target=target, op=op, value=value):
                    operand, name = self._value(value, indent), ast.unparse(target)
                    self.lines.append(f"{indent}{_FUNCTIONS[type(op)]}({name}, {operand}, {name})")
                    self._held.discard(operand)

    def _value(self, node: ast.AST, indent: str) -> str:
        """Write the calls that compute an expression, and return the name of what holds it."""
        operands: Sequence[ast.AST]
        match node:
            case ast.BinOp(left=left, op=op, right=right):
                function, operands = _FUNCTIONS[type(op)], (left, right)
            case ast.UnaryOp(op=op, operand=operand):
                function, operands = _FUNCTIONS[type(op)], (operand,)
            case ast.Call(func=func, args=args):
                function, operands = ast.unparse(func), args
            case _:
                return ast.unparse(node)
        names = [self._value(operand, indent) for operand in operands]
        self._held.difference_update(names)
        result = self._row()
        out = f"out={result}" if function in _BY_NAME else result
        self.lines.append(f"{indent}{function}({', '.join(names)}, {out})")
        return result

    def _row(self) -> str:
        """Return a row of which the content is not read any more."""
        for row in self.rows:
            if row not in self._held:
                break
        else:
            self.rows.append(row := f"_row{len(self.rows)}")
        self._held.add(row)
        return row
