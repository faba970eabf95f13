"""What `explain` says of a program."""

import numpy as np
import pytest
from nn_jit import jit
from nn_tensor import Tensor, no_grad
from nn_tensor.extend import external


def recorded(fuse):
    w = Tensor([1.0, 2.0, 3.0], requires_grad=True)

    @jit(fuse=fuse)
    def step(x):
        y = (x * w + 1) * 2
        y.sum().backward()
        external(np.max, x)
        with no_grad():
            y.exp()
        return w.grad

    for n in range(6):
        w.zero_grad()
        step(Tensor([float(n), 1.0, 2.0]))
    return step.explain()


def test_a_table_of_the_program():
    explanation = recorded(False)
    (program,) = explanation.programs
    assert program.verified
    assert program.replays == 3
    assert program.shapes == ["float32 (3,)"]
    assert program.externals == ["max"]
    labels = [label for label, _, _ in program.calls]
    assert labels[:3] == ["multiply", "add", "multiply"]
    assert program.dropped >= 1  # exp, which nobody uses
    assert "exp" not in labels
    assert program.nbytes > 0
    assert "test_explain.py" in program.calls[0][2]
    assert "1 signatures, 1 programs" in str(explanation)
    compile(program.source, "replay", "exec")


def test_fused_loops_are_shown():
    pytest.importorskip("numba", reason="without it nothing is fused")
    (program,) = recorded(True).programs
    assert program.loops == 1
    fused = [label for label, _, _ in program.calls if label.startswith("fused")]
    assert fused == ["fused: multiply, add, multiply"]
    assert recorded(False).programs[0].loops == 0


def test_a_picture_of_the_program():
    (program,) = recorded(False).programs
    lines = program.mermaid().splitlines()
    assert lines[0] == "flowchart TD"
    assert '  0["multiply<br/>float32 (3,)"]' in lines
    assert "  0 --> 1" in lines
    for a, b in program.edges:
        assert a < b
