import compare
import numpy as np
import pytest
from workspace import ROOT

# Programs whose results and times a tree states, in place of those that measure.
STATED = """
import json, sys
import stated
for line in sys.stdin:
    name, *arguments = json.loads(line)
    answers = {
        "rows": ["first", "second"],
        "describe": [stated.__file__, "nothing"],
        "results": stated.results,
        "prepare": 0.001,
        "turn": stated.seconds.get(arguments[0] if arguments else None),
        "cpu": 0,
    }
    print(json.dumps(answers[name]), flush=True)
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Return a function that compares two trees of stated results and times."""
    monkeypatch.setattr(compare, "REST", 0.0)
    monkeypatch.setattr(compare, "PROGRAMS", tmp_path / "programs.py")
    (tmp_path / "programs.py").write_text(STATED)

    def compare_stated(old, new, *arguments):
        trees = []
        for name, (results, seconds) in {"old": old, "new": new}.items():
            folder = tmp_path / name / "packages" / "nn-x" / "src"
            folder.mkdir(parents=True)
            (folder / "stated.py").write_text(f"results = {results}\nseconds = {seconds}\n")
            trees.append(str(tmp_path / name))
        with pytest.raises(SystemExit) as stopped:
            compare.main([*trees, "--rounds", "2", *arguments])
        return stopped.value.code, capsys.readouterr().out

    return compare_stated


def test_a_slower_row_is_named(run):
    old, new = {"first": 1e-3, "second": 1e-4}, {"first": 1.1e-3, "second": 1.02e-4}
    status, output = run(([1.0], old), ([1.0], new))
    assert status == 1
    assert "| first | 1.00 ms | 1.10 ms | 1.100 | 1.000 | 0.0% | **slower** |" in output
    assert "| second | 100.0 µs | 102.0 µs | 1.020 | 1.000 | 0.0% |  |" in output
    assert "new / old: 1.100 1.100" in output
    assert output.endswith("slower: first\n")
    assert "first: equal" in output


def test_rows_are_chosen_by_a_part_of_their_names(run):
    times = {"first": 1.0, "second": 1.0}
    status, output = run(([1.0], times), ([1.0], times), "--rows", "sec")
    assert status == 0
    assert "first" not in output
    assert output.endswith("slower: no row\n")


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([1.0, 2.1], "first: the results differ by 5.0e-02"),
        ([1.0], "first: 2 numbers in one tree, 1 in the other"),
        ([1.0, float("nan")], "first: the results differ by nan"),
    ],
)
def test_other_results_end_the_comparison(run, results, message):
    times = {"first": 1.0, "second": 1.0}
    results = str(results).replace("nan", "float('nan')")
    status, output = run(([1.0, 2.0], times), (results, times))
    assert status.startswith(message)
    assert "| row |" not in output


def test_the_spread_is_the_median_distance_or_the_distance_of_the_median():
    assert compare.spread_of(np.array([0.9, 1.0, 1.1, 1.2, 0.8])) == pytest.approx(0.1)
    assert compare.spread_of(np.array([1.0, 1.0, 1.0, 1.5])) == 0
    assert compare.spread_of(np.array([1.05, 1.06, 1.07])) == pytest.approx(0.06)


def test_a_difference_within_the_spread_is_none(capsys):
    same = {"row": np.array([[1.0, 1.1], [1.0, 0.9], [1.0, 1.1]])}
    assert compare.report(same, {"row": np.array([[1.0, 1.09]] * 3)}) == []
    assert compare.report(same, {"row": np.array([[1.0, 1.11]] * 3)}) == ["row"]
    capsys.readouterr()


@pytest.mark.parametrize("arguments", [[], ["--cpu-time"]], ids=["wall", "cpu"])
def test_this_tree_is_timed_against_itself(arguments, capsys):
    with pytest.raises(SystemExit):
        compare.main([str(ROOT), str(ROOT), "--rounds", "1", "--rows", "small", *arguments])
    output = capsys.readouterr().out
    assert "small operations, forward and backward: equal" in output
    assert output.count("new / old: ") == 2
