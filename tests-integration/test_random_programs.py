"""Random programs give PyTorch's values, first and second derivatives."""

import runpy
from pathlib import Path

import pytest

pytest.importorskip("torch")
TOOL = Path(__file__).resolve().parents[1] / "tools" / "random_programs.py"


@pytest.mark.parametrize("seed", [0, 10_000_000])
def test_random_programs(seed, capsys):
    tool = runpy.run_path(str(TOOL))
    assert tool["main"](["500", "--seed", str(seed)]) == 0, capsys.readouterr().out
    *classes, last = capsys.readouterr().out.splitlines()
    counts = {line.split()[1]: int(line.split()[0]) for line in classes}
    assert sum(counts.values()) == 500
    assert counts["all"] > 350  # most are compared to the end
    assert last.startswith("500 programs, 0 differ")


def test_a_difference_is_found(monkeypatch, capsys):
    tool = runpy.run_path(str(TOOL))
    for name in ("exp", "tanh", "square"):
        monkeypatch.setitem(tool["BINARY"], "add", (lambda x, y: x + y * 1.001, lambda x, y: x + y))
        monkeypatch.setattr(tool["nn"], name, lambda x: x * 1.5)
    assert tool["main"](["200"]) == 1
    assert "differ" in capsys.readouterr().out
