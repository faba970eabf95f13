"""Train a convolutional network on MNIST; plot the learning curve and the confusion matrix.

    python docs/examples/convnet.py --data mnist

The folder holds MNIST's IDX files, plain or compressed. Of a single set the first four fifths are
the training set and the rest is the test set. The figure is saved to convnet.png, see --figure.

Needs nn-data, nn-layers, nn-losses, nn-optim, tqdm and matplotlib.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
from nn_data import Loader, read_idx_folder
from nn_layers import BaseModel, Conv2D, Dense, Flatten, MaxPool2D, ReLU
from nn_losses import ConfusionMatrix, SoftmaxCrossEntropyLoss
from nn_optim import Adam
from nn_tensor import Tensor
from tqdm import tqdm


class ConvNet(BaseModel):
    """Two convolutions, each followed by max pooling, and two fully connected layers."""

    def __init__(self, rng, device="cpu"):
        super().__init__()
        self.conv1 = Conv2D(1, 32, kernel_size=3, padding=1, rng=rng, device=device)
        self.conv2 = Conv2D(32, 64, kernel_size=3, padding=1, rng=rng, device=device)
        self.fc1 = Dense(64 * 7 * 7, 128, rng=rng, device=device)
        self.fc2 = Dense(128, 10, rng=rng, device=device)
        self.relu = ReLU()
        self.pool = MaxPool2D(kernel_size=2, stride=2)
        self.flatten = Flatten()

    def forward(self, x):
        """Return ten logits for each image (n, 1, 28, 28)."""
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        x = self.relu(self.fc1(self.flatten(x)))
        return self.fc2(x)


def load_data(folder):
    """Return images (n, 1, 28, 28) from 0 to 1 and labels: to train with, then for the test."""
    sets = read_idx_folder(folder)
    if sets[0][0].shape[1:] != (28, 28):
        raise ValueError(f"{folder}: images are {sets[0][0].shape[1:]}, expected (28, 28)")
    if len(sets) == 1:
        images, labels = sets[0]
        split = len(images) * 4 // 5
        sets = [(images[:split], labels[:split]), (images[split:], labels[split:])]
    return [(x[:, None].astype(np.float32) / 255, y.astype(np.int64)) for x, y in sets]


def confusion_on(model, batches):
    """Return the matrix of true (rows) and predicted (columns) digits."""
    confusion = ConfusionMatrix(num_classes=10)
    total = np.zeros((10, 10), dtype=np.int64)
    model.eval()
    with model.no_grad():
        for images, labels in batches:
            total += np.asarray(confusion(model(images), labels))
    return total


def train(model, train_set, test_set, args):
    """Train, print a line per epoch; return the losses of all steps and the accuracies."""
    loss_function = SoftmaxCrossEntropyLoss()
    optimizer = Adam(model.parameters, lr=args.lr)
    losses, accuracies = [], []
    convert = partial(Tensor, device=args.device)
    batches = Loader(train_set, args.batch_size, shuffle=True, seed=args.seed, convert=convert)
    test_batches = Loader(test_set, 250, convert=convert)
    steps = args.epochs * len(batches)
    with tqdm(total=steps, unit="batch", leave=False, disable=None, file=sys.stdout) as bar:
        for epoch in range(args.epochs):
            optimizer.lr = args.lr * (1 - epoch / args.epochs)
            model.train()
            for images, labels in batches:
                loss = loss_function(model(images), labels)
                model.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                bar.update()
            confusion = confusion_on(model, test_batches)
            accuracies.append(confusion.trace() / confusion.sum())
            recent = np.mean(losses[-len(batches) :])
            bar.write(
                f"epoch {epoch + 1:2}/{args.epochs}  loss {recent:.4f}  "
                f"test accuracy {accuracies[-1]:.2%}"
            )
            sys.stdout.flush()
    return losses, accuracies, confusion


def draw(losses, accuracies, confusion, path):
    """Draw the learning curve and the confusion matrix."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (curve, matrix) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    epochs = np.linspace(0, len(accuracies), len(losses), endpoint=False)
    curve.semilogy(epochs, losses, color="0.75", linewidth=0.8, label="loss of each step")
    window = max(len(losses) // 50, 1)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    curve.semilogy(epochs[window - 1 :], smooth, color="C0", label=f"mean of {window} steps")
    curve.set(xlabel="epoch", ylabel="training loss", title="How it learned")
    share = curve.twinx()
    share.plot(np.arange(1, len(accuracies) + 1), np.array(accuracies) * 100, "o-", color="C3")
    share.set_ylabel("test accuracy, %", color="C3")
    curve.legend(loc="upper center")

    matrix.imshow(np.log1p(confusion), cmap="Blues")
    for row, column in np.argwhere(confusion):
        dark = confusion[row, column] > np.sqrt(confusion.max())
        matrix.text(
            column,
            row,
            confusion[row, column],
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else "black",
        )
    matrix.set(xticks=range(10), yticks=range(10), xlabel="predicted", ylabel="true digit")
    matrix.set_title(f"What it confuses: {confusion.trace() / confusion.sum():.2%} right")
    figure.savefig(path, dpi=110)


def main(argv=None):
    """Run the example."""
    parser = argparse.ArgumentParser(prog="convnet.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", required=True, help="folder of MNIST's IDX files")
    add("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    add("--epochs", type=int, default=6, help="training epochs (%(default)s)")
    add("--batch-size", type=int, default=32, help="batch size (%(default)s)")
    add("--lr", type=float, default=0.001, help="initial learning rate (%(default)s)")
    add("--seed", type=int, default=0, help="random seed (%(default)s)")
    add("--figure", type=Path, default=Path("convnet.png"), help="the figure (%(default)s)")
    args = parser.parse_args(argv)
    for name in ("epochs", "batch_size", "lr"):
        if not 0 < getattr(args, name) < float("inf"):
            parser.error(f"--{name.replace('_', '-')}: expected a positive number")
    if not args.figure.parent.is_dir():
        parser.error(f"--figure {args.figure}: no such folder")
    try:
        train_set, test_set = load_data(args.data)
        Tensor(0.0, device=args.device)
    except (OSError, RuntimeError, ValueError) as error:
        parser.error(str(error))
    rng = np.random.default_rng(args.seed)
    model = ConvNet(rng, args.device)
    print(model.summary((args.batch_size, 1, 28, 28)))
    print(f"{len(train_set[0])} images to train with, {len(test_set[0])} for the test")
    losses, accuracies, confusion = train(model, train_set, test_set, args)
    draw(losses, accuracies, confusion, args.figure)
    print(f"test accuracy {accuracies[-1]:.2%}, picture in {args.figure}")


if __name__ == "__main__":
    main()
