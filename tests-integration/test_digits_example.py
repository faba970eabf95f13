"""The example that newcomers run first: it learns, keeps its promises and explains its errors."""

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


@pytest.fixture
def digits(load_example):
    return load_example("digits")


@pytest.fixture(scope="module")
def images_and_labels():
    """The digits as they are in MNIST files: bytes from 0 to 255."""
    path = EXAMPLES / "data" / "optdigits.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    return (table[:, :64].astype(int) * 255 // 16).astype(np.uint8).reshape(-1, 8, 8), table[:, 64]


def idx_bytes(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_pair(folder, name, images, labels):
    (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
    (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))


def run(module, capsys, *arguments):
    """Return what the example prints and the accuracy that it reports at its end."""
    module.main([str(a) for a in arguments])
    output = capsys.readouterr().out
    return output, float(re.search(r"^test accuracy ([\d.]+)%$", output, re.MULTILINE)[1])


def fail(module, capsys, *arguments):
    """Return the line with which the example refuses its arguments."""
    with pytest.raises(SystemExit) as exit_:
        module.main([str(a) for a in arguments])
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1]


def test_the_data_is_what_its_readme_says():
    path = EXAMPLES / "data" / "optdigits.csv.gz"
    assert path.stat().st_size < 60_000
    table = np.loadtxt(path, delimiter=",", dtype=int)
    assert table.shape == (1797, 65)
    assert (table[:, :64].min(), table[:, :64].max()) == (0, 16)
    assert np.bincount(table[:, 64]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_learns_the_digits_and_keeps_them(digits, capsys, device, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output, accuracy = run(digits, capsys, "--epochs", 8, "--device", device)
    assert accuracy >= 95
    assert "1438 images to train with, 359 held out" in output
    assert len(re.findall(r"^epoch +\d/8  loss \d", output, re.MULTILINE)) == 8
    assert "359 predictions are the same, bit for bit" in output
    assert "\r" not in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pkl"])
def test_output_is_kept(digits, capsys, tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    output, _ = run(digits, capsys, "--epochs", 1, "--output", path)
    assert f"saved to {path}\n" in output
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert "bit for bit" in output


def test_a_model_that_cannot_be_written_is_an_error_without_traceback(digits, tmp_path):
    (tmp_path / "model.pkl").mkdir()
    with pytest.raises(SystemExit, match=r"error: .*model\.pkl"):
        digits.main(["--epochs", "1", "--output", str(tmp_path / "model.pkl")])


def test_the_seed_decides_everything(digits, capsys):
    outputs = [run(digits, capsys, "--epochs", 1, "--seed", s)[0] for s in (1, 1, 2)]
    outputs = [re.sub(r"  \d+\.\d s$", "", text, flags=re.MULTILINE) for text in outputs]
    assert outputs[0] == outputs[1] != outputs[2]


def test_learns_from_a_training_and_a_test_set(digits, capsys, tmp_path, images_and_labels):
    images, labels = images_and_labels
    write_pair(tmp_path, "train", images[:1500], labels[:1500])
    write_pair(tmp_path, "t10k", images[1500:], labels[1500:])
    output, accuracy = run(digits, capsys, "--data", tmp_path, "--epochs", 8)
    assert "1500 images to train with, 297 held out" in output
    assert accuracy >= 88  # the file is not shuffled, and its last digits are harder
    assert "297 predictions are the same, bit for bit" in output


@pytest.mark.parametrize("name", ["train", "t10k"])
def test_holds_out_a_fifth_of_a_single_set(digits, capsys, tmp_path, images_and_labels, name):
    write_pair(tmp_path, name, *images_and_labels)
    output, accuracy = run(digits, capsys, "--data", tmp_path, "--epochs", 8, "--batch-size", 50)
    assert "1438 images to train with, 359 held out" in output
    assert accuracy >= 94


IMAGES, LABELS = np.zeros((6, 2, 2)), np.zeros(6)
WHOLE = idx_bytes(IMAGES)
DAMAGED = {
    "cut": (WHOLE[:-1], "has 23 bytes of values, its header (6, 2, 2) says 24"),
    "too long": (WHOLE + b"\0", "has 25 bytes of values"),
    "within its header": (WHOLE[:9], "ends within its header"),
    "empty file": (b"", "not an IDX file"),
    "labels": (idx_bytes(LABELS), "starts with '00 00 08 01', expected '00 00 08 03'"),
    "floats": (b"\0\0\x0d" + WHOLE[3:], "starts with '00 00 0d 03'"),
    "text": (b"<!DOCTYPE html>", "not an IDX file"),
    "huge": (b"\0\0\x08\x03" + b"\xff" * 12, "has 0 bytes of values"),
    "gzip cut": (gzip.compress(WHOLE)[:-9], "damaged or incomplete gzip file"),
    "gzip flipped": (gzip.compress(WHOLE)[:-8] + bytes(8), "damaged or incomplete gzip file"),
    "no images": (idx_bytes(np.zeros((0, 2, 2))), "holds 0 images"),
    "other count": (idx_bytes(IMAGES[:5]), "holds 5 images, t10k-labels-idx1-ubyte 6 labels"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_images_are_refused(digits, capsys, tmp_path, name):
    content, reason = DAMAGED[name]
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(content)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS))
    message = fail(digits, capsys, "--data", tmp_path)
    assert reason in message
    assert str(tmp_path / "t10k-images-idx3-ubyte") in message


def test_folders_that_lack_something_are_refused(digits, capsys, tmp_path):
    def message():
        return fail(digits, capsys, "--data", tmp_path / "mnist")

    assert f"{tmp_path / 'mnist'}: no such folder" in message()
    (tmp_path / "mnist").mkdir()
    assert "no IDX files" in message()
    write_pair(tmp_path / "mnist", "train", IMAGES[:4], LABELS[:4])
    assert "4 images are too few" in message()
    (tmp_path / "mnist" / "train-labels-idx1-ubyte").unlink()
    assert "train-labels-idx1-ubyte[.gz] is missing" in message()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").unlink()
    (tmp_path / "mnist" / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS))
    assert "train-images-idx3-ubyte[.gz] is missing" in message()
    write_pair(tmp_path / "mnist", "train", IMAGES, LABELS)
    write_pair(tmp_path / "mnist", "t10k", np.zeros((6, 3, 2)), LABELS)
    assert "train images are (2, 2), t10k images (3, 2)" in message()
    write_pair(tmp_path / "mnist", "train", np.zeros((0, 3, 2)), np.zeros(0))
    assert "holds no image" in message()


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--epochs", "0", "positive number"),
        ("--batch-size", "-3", "positive number"),
        ("--lr", "nan", "positive number"),
        ("--lr", "inf", "positive number"),
        ("--seed", "-1", "non-negative"),
        ("--device", "tpu", "'tpu'"),
        ("--device", "cuda:99", "cuda:99"),
        ("--epochs", "many", "invalid int"),
        ("--output", "no/such/folder/model.pkl", "no such folder"),
        ("--output", "model.txt", "must end in .safetensors, .npz or .pkl"),
    ],
)
def test_wrong_options_are_refused_before_training(digits, capsys, option, value, reason):
    assert reason in fail(digits, capsys, option, value)


def test_help(digits, capsys):
    with pytest.raises(SystemExit) as exit_:
        digits.main(["--help"])
    assert exit_.value.code == 0
    output = capsys.readouterr().out
    for option in ("device", "data", "epochs", "batch-size", "lr", "seed", "output"):
        assert f"--{option} " in output
