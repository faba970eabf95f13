"""The example on MNIST: it learns, continues a run that was stopped, and explains its errors."""

import csv
import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest

DIGITS = Path(__file__).parent.parent / "docs" / "examples" / "data" / "optdigits.csv.gz"


def idx_bytes(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    """Return a folder with 400 digits of 8×8 pixels, enlarged to MNIST's 28×28."""
    table = np.loadtxt(DIGITS, delimiter=",", dtype=np.uint8)[:400]
    images = np.kron(table[:, :64].reshape(-1, 8, 8) * 15, np.ones((3, 3), int))
    images = np.pad(images, [(0, 0), (2, 2), (2, 2)])
    folder = tmp_path / "mnist"
    folder.mkdir()
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(table[:, 64]))
    return folder


@pytest.fixture
def run(load_example, folder, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    module = load_example("convnet")

    def run(*arguments):
        figure = tmp_path / "figure.png"
        arguments = ["--data", folder, "--figure", figure, *arguments]
        module.main([str(argument) for argument in arguments])
        assert figure.read_bytes().startswith(b"\x89PNG")
        return capsys.readouterr().out

    return run


def test_learns_with_augmentation(run):
    output = run("--epochs", 5)
    assert "320 images to train with, 80 for the test" in output
    assert len(re.findall(r"^epoch \d/5  loss \d", output, re.MULTILINE)) == 5
    assert float(re.search(r"^test accuracy ([\d.]+)%", output, re.MULTILINE)[1]) > 70


def test_a_run_that_is_continued_is_the_run_that_was_not_stopped(run, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run("--epochs", 2, "--run", whole)
    run("--epochs", 2, "--run", parts, "--workers", 0)  # threads change nothing
    newest = max(parts.glob("step-*"))
    newest.unlink()  # what a stop after one epoch would have left
    assert "epoch 2/2" in run("--epochs", 2, "--run", parts)
    assert newest.read_bytes() == (whole / newest.name).read_bytes()
    with open(whole / "log.csv", newline="") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [1, 2]
    assert (whole / "log.csv").read_bytes() == (parts / "log.csv").read_bytes()
    output = run("--epochs", 2, "--run", whole)
    assert "epoch 2/2" not in output  # there is nothing left to do
    assert "test accuracy" in output


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--epochs", "0", "positive number"),
        ("--workers", "-1", "--workers: expected"),
        ("--data", "missing", "no such folder"),
        ("--device", "tpu", "'tpu'"),
        ("--figure", "no/such/folder/figure.png", "no such folder"),
    ],
)
def test_wrong_options_are_refused(run, option, value, reason, capsys):
    with pytest.raises(SystemExit):
        run(option, value)
    assert reason in capsys.readouterr().err
