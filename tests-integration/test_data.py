"""Data beside the other packages: Tensors, losses, checkpoints and the examples with it."""

import gzip
import itertools
import re
import struct

import numpy as np
import pytest
from nn_data import Loader
from nn_data.tabular import ColumnTransformer, Impute, OneHot, Standardize
from nn_data.text import CharVocabulary
from nn_data.transforms import CutMix, MixUp
from nn_io import (
    load_checkpoint,
    load_state_dict_from_file,
    save_checkpoint,
    save_model_parameters,
)
from nn_layers import Dense, ReLU, Sequential
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import Adam
from nn_tensor import Tensor

rng = np.random.default_rng(0)
X = rng.standard_normal((100, 12)).astype(np.float32)
Y = rng.integers(0, 4, 100)


def noisy(x, rng):
    return x + 0.1 * rng.standard_normal(x.shape, dtype=np.float32)


class Run:
    """A model, what trains it, and its data."""

    def __init__(self, device, workers=0):
        draw = np.random.default_rng(0)
        self.model = Sequential(Dense(12, 16, rng=draw), ReLU(), Dense(16, 4, rng=draw))
        self.model.set_device(device)
        self.optimizer = Adam(self.model.parameters)
        self.loader = Loader(
            (X, Y),
            16,
            shuffle=True,
            transform=(noisy, None),
            workers=workers,
            convert=lambda array: Tensor(array).to(device),
        )
        self.loss_fn = SoftmaxCrossEntropyLoss()
        self.losses = []

    def train(self, steps, epochs=4):
        """Take so many steps, or all that are left."""
        for _ in range(self.loader.epoch, epochs):
            for x, y in self.loader:
                loss = self.loss_fn(self.model(x), y)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                self.losses.append(loss.item())
                if len(self.losses) == steps:
                    return


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pkl"])
def test_a_run_that_is_resumed_within_an_epoch_equals_an_uninterrupted_one(
    device, tmp_path, suffix
):
    path = tmp_path / f"run{suffix}"
    whole = Run(device)
    whole.train(None)
    assert len(whole.losses) == 28
    for stop in (1, 7, 10, 27):
        first = Run(device, workers=2)
        first.train(stop)
        parts = {"model": first.model, "optimizer": first.optimizer}
        save_checkpoint(path, **parts, extra={"data": first.loader.state_dict()})
        second = Run(device)
        found = load_checkpoint(path, model=second.model, optimizer=second.optimizer)
        second.loader.load_state_dict(found.extra["data"])
        second.train(None)
        assert first.losses + second.losses == whole.losses


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_become_tensors(workers):
    loader = Loader({"x": X, "y": Y}, 16, convert=Tensor, workers=workers)
    for batch in loader:
        assert isinstance(batch["x"], Tensor)
        assert batch["x"].dtype == np.float32
        assert batch["y"].dtype == np.int64
    assert isinstance(next(iter(Loader(Tensor(X), 16))), Tensor)


@pytest.mark.parametrize("mix", [MixUp(4), CutMix(4)])
def test_losses_take_mixed_targets(mix):
    images = rng.random((8, 1, 6, 6), dtype=np.float32)
    _, y = Loader((images, Y[:8]), transform=mix, convert=Tensor).peek()
    logits = Tensor(rng.standard_normal((8, 4)).astype(np.float32))
    expected = -(
        y.numpy() * np.log(np.exp(logits.data) / np.exp(logits.data).sum(1, keepdims=True))
    )
    loss = SoftmaxCrossEntropyLoss()(logits, y)
    np.testing.assert_allclose(loss.item(), expected.sum(axis=1).mean(), rtol=1e-5)


TABLE = {"n": np.array([1.0, np.nan, 4.0]), "s": np.array(["ä", "b", "ä"])}


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pkl"])
def test_files_hold_what_was_fitted(tmp_path, suffix):
    def make():
        return ColumnTransformer({"n": [Impute(), Standardize()], "s": OneHot()})

    path = tmp_path / f"state{suffix}"
    fitted, fresh = make().fit(TABLE), make()
    save_model_parameters(fitted, path)
    fresh.load_state_dict(load_state_dict_from_file(path))
    np.testing.assert_array_equal(fresh(TABLE), fitted(TABLE))

    vocabulary, other = (
        CharVocabulary(specials=["<pad>"], unknown="?").fit("naïve 🎭"),
        CharVocabulary(),
    )
    save_model_parameters(vocabulary, path)
    other.load_state_dict(load_state_dict_from_file(path))
    assert other.tokens == vocabulary.tokens
    assert other.encode("vain!").tolist() == vocabulary.encode("vain!").tolist()


def test_weights_of_ranks_add_up_to_the_mean():
    batches = [Loader((X, Y), 32, shard=(r, 3), uneven="weight") for r in range(3)]
    total = weight = 0.0
    for x, _, count in itertools.chain.from_iterable(zip(*batches, strict=True)):
        total += x.mean(axis=0) * count
        weight += count
    assert weight == 100
    np.testing.assert_allclose(total / weight, X.mean(axis=0), rtol=1e-4, atol=1e-6)


def test_the_picture_of_the_transforms(load_example, capsys, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    example = load_example("augmentations")
    example.main(["--figure", str(tmp_path / "a.png")])
    assert "picture in" in capsys.readouterr().out
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit):
        example.main(["--figure", str(tmp_path / "no" / "a.png")])


def test_the_convolutional_network_learns(load_example, capsys, tmp_path, device):
    """On images whose class is where the ink is."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    labels = np.random.default_rng(0).integers(0, 10, 250).astype(np.uint8)
    images = np.zeros((250, 28, 28), np.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[4 + label * 2 : 8 + label * 2, 6:22] = 255
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        path = tmp_path / f"train-{name}-ubyte.gz"
        path.write_bytes(gzip.compress(header + array.tobytes()))
    example = load_example("convnet")
    options = {"data": tmp_path, "epochs": 2, "lr": 0.003, "device": device}
    options["figure"] = tmp_path / "f.png"
    example.main([f"--{name}={value}" for name, value in options.items()])
    output = capsys.readouterr().out
    assert "200 images to train with, 50 for the test" in output
    assert len(re.findall(r"^epoch +\d/2  loss \d", output, re.MULTILINE)) == 2
    assert float(re.search(r"^test accuracy ([\d.]+)%", output, re.MULTILINE)[1]) > 60
    assert (tmp_path / "f.png").exists()
