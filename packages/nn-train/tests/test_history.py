"""The history of a run."""

import csv
import math

import pytest
from nn_train import History

ROWS = [
    {"epoch": 1, "loss": 0.5, "val_loss": 0.7},
    {"epoch": 2, "loss": 0.1 + 0.2, "val_loss": math.inf},
    {"epoch": 3, "loss": 1 / 3, "lr": 1e-3},
]


def test_slices():
    history = History(ROWS)
    assert history["loss"] == [0.5, 0.1 + 0.2, 1 / 3]
    assert history[-1] == ROWS[-1]
    assert history[1:] == History(ROWS[1:])
    assert history[1:, "loss"] == [0.1 + 0.2, 1 / 3]
    assert history[0, "loss"] == 0.5
    assert history[0, ("epoch", "loss")] == (1, 0.5)
    assert history[:2, ("epoch", "val_loss")] == [(1, 0.7), (2, math.inf)]
    assert math.isnan(history["lr"][0])
    assert list(history) == ROWS
    with pytest.raises(KeyError, match="did you mean 'val_loss'"):
        history["val_los"]


def test_state():
    history, other = History(ROWS), History()
    other.load_state_dict(history.state_dict())
    assert other == history
    assert [type(v) for row in other for v in row.values()] == [
        type(v) for row in ROWS for v in row.values()
    ]
    other.load_state_dict(History().state_dict())
    assert len(other) == 0


def test_csv(tmp_path):
    History(ROWS).to_csv(tmp_path / "history.csv")
    with open(tmp_path / "history.csv", newline="") as file:
        read = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    assert read == ROWS


def test_table():
    html = History([{"epoch": 1, "<loss>": 0.25}])._repr_html_()
    assert "<th>&lt;loss&gt;</th>" in html
    assert "<td>0.25</td>" in html


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    axes = History(ROWS).plot()
    assert axes.figure is pyplot.gcf()  # a notebook shows it
    pyplot.close(axes.figure)
    assert [line.get_label() for line in axes.lines] == ["loss", "val_loss"]
    assert list(axes.lines[0].get_ydata()) == History(ROWS)["loss"]
