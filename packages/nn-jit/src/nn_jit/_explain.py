"""What a function was recorded as: a table for people."""

from __future__ import annotations

import dataclasses
from collections import Counter

from nn_jit._program import Program

__all__ = ["Explanation", "ProgramExplanation"]


@dataclasses.dataclass(frozen=True)
class ProgramExplanation:
    """One program.

    Attributes:
        shapes: dtypes and shapes of the arguments.
        operations: the number of calls of operations and backward rules in a replay; a fused
            loop counts as one.
        externals: the labels of the calls that are not operations: checks, draws, optimizers.
        dropped: the number of calls whose result nobody uses.
        nbytes: the bytes that a replay computes in all; fewer are held at a time.
        buffers: the bytes that are held from one replay to the next, for results of operations.
        verified: whether its first replay was compared with the function as written.
        replays: the number of replays since then.
        calls: label, result and line of every call.
        edges: pairs of positions in `calls`: the second call uses a result of the first.
        source: the Python text of the replay.
    """

    shapes: list[str]
    operations: int
    externals: list[str]
    dropped: int
    nbytes: int
    buffers: int
    verified: bool
    replays: int
    calls: list[tuple[str, str, str]]
    edges: list[tuple[int, int]]
    source: str

    @property
    def loops(self) -> int:
        """The number of fused loops."""
        return sum(label.startswith("fused: ") for label, _, _ in self.calls)

    @classmethod
    def of(cls, program: Program) -> ProgramExplanation:
        calls, rows = program.calls, []
        producers: dict[int, int] = {}
        edges: dict[tuple[int, int], None] = {}
        for n, call in enumerate(calls):
            results = [f"{v.dtype} {v.shape}" for v in call.results if v.shape is not None]
            rows.append((call.label.lstrip("_"), ", ".join(results), call.place))
            edges |= {(producers[id(v)], n): None for v in call.inputs if id(v) in producers}
            producers |= {id(value): n for value in call.results}
        return cls(
            shapes=[f"{value.dtype} {value.shape}" for value, _ in program.inputs],
            operations=sum(call.kind in ("operation", "fused") for call in calls),
            externals=[r[0] for r, c in zip(rows, calls, strict=True) if c.kind == "external"],
            dropped=program.dropped,
            nbytes=sum(value.nbytes for call in calls for value in call.results),
            buffers=sum(memory.nbytes for memory in program.buffers),
            verified=program.verified,
            replays=program.replays,
            calls=rows,
            edges=list(edges),
            source=program.source,
        )

    def mermaid(self) -> str:
        """Return a picture of the program as a Mermaid flowchart.

        >>> from nn_jit import jit
        >>> from nn_tensor import Tensor
        >>> f = jit(lambda x: (x * 2).sum())
        >>> for _ in range(3):
        ...     y = f(Tensor([1.0]))
        >>> print(f.explain().programs[0].mermaid())
        flowchart TD
          0["multiply<br/>float32 (1,)"]
          1["sum<br/>float32 ()"]
          0 --> 1
        """
        lines = ["flowchart TD"]
        for number, (label, result, _) in enumerate(self.calls):
            lines.append(f'  {number}["{label}{"<br/>" * bool(result)}{result}"]')
        lines += [f"  {a} --> {b}" for a, b in self.edges]
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What `JitFunction.explain` returns; print it.

    Attributes:
        name: the name of the function.
        signatures: the number of signatures that it was called with, up to the limit.
        programs: the recorded programs.
        changes: why it was recorded anew.
    """

    name: str
    signatures: int
    programs: list[ProgramExplanation]
    changes: list[str]

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.signatures} signatures, {len(self.programs)} programs"]
        lines += [f"  recorded anew: {change}" for change in self.changes]
        for program in self.programs:
            state = "verified" if program.verified else "not compared yet, or it differed"
            lines.append(f"  ({', '.join(program.shapes)}): {state}, {program.replays} replays")
            lines.append(
                f"    {program.operations} operations ({program.loops} fused loops), "
                f"{len(program.externals)} externals, {program.dropped} dropped, "
                f"{program.nbytes:,} bytes, {program.buffers:,} in buffers"
            )
            counts = Counter(label for label, _, _ in program.calls)
            width = max(map(len, counts), default=0)
            lines += [f"      {label:<{width}}  {n}" for label, n in counts.most_common()]
        return "\n".join(lines)
