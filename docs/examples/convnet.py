"""Train a convolutional network on MNIST; plot the learning curve and the confusion matrix.

    python docs/examples/convnet.py --data mnist

The folder holds MNIST's IDX files, plain or compressed. Of a single set the first four fifths are
the training set and the rest is the test set. Two threads shift, rotate and scale the training
images while the network trains. With --run FOLDER the run is saved there after each epoch, with a
log, and the same command continues it. The figure is saved to convnet.png, see --figure.

Needs nn-data, nn-io, nn-layers, nn-losses, nn-optim, nn-train and matplotlib.
"""

import argparse
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
from nn_data import Loader, read_idx_folder
from nn_data.transforms import Compose, Normalize, RandomAffine, RandomCrop
from nn_layers import BaseModel, Conv2D, Dense, Flatten, MaxPool2D, ReLU
from nn_losses import Accuracy, ConfusionMatrix, SoftmaxCrossEntropyLoss
from nn_optim import Adam, CosineSchedule
from nn_tensor import Tensor
from nn_train import Checkpoint, CSVLogger, Trainer


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
    """Return images (n, 1, 28, 28) as bytes and labels: to train with, then for the test."""
    sets = read_idx_folder(folder)
    if sets[0][0].shape[1:] != (28, 28):
        raise ValueError(f"{folder}: images are {sets[0][0].shape[1:]}, expected (28, 28)")
    if len(sets) == 1:
        images, labels = sets[0]
        split = len(images) * 4 // 5
        sets = [(images[:split], labels[:split]), (images[split:], labels[split:])]
    return [(x[:, None], y.astype(np.int64)) for x, y in sets]


def make_loaders(train_set, test_set, args):
    """Return the batches to train with, augmented by threads, and those of the test."""
    normalize = Normalize(0.13, 0.31, scale=1 / 255)  # mean and deviation of MNIST's pixels
    augment = Compose(
        RandomCrop(28, padding=2),
        RandomAffine(degrees=10, scale=0.1),
        normalize,
    )
    options = {"seed": args.seed, "convert": partial(Tensor, device=args.device)}
    training = Loader(
        train_set,
        args.batch_size,
        shuffle=True,
        transform=(augment, None),
        workers=args.workers,
        **options,
    )
    return training, Loader(test_set, 250, transform=(normalize, None), **options)


def train(model, training, test, args):
    """Train, print a line per epoch, and return the trainer."""
    optimizer = Adam(model.parameters, lr=args.lr)
    trainer = Trainer(
        model,
        SoftmaxCrossEntropyLoss(),
        optimizer,
        metrics={"accuracy": Accuracy()},
        schedule=CosineSchedule(optimizer, args.epochs * len(training)),
    )
    callbacks = [Checkpoint(args.run), CSVLogger(args.run / "log.csv")] if args.run else []
    trainer.fit(training, epochs=args.epochs, validation=test, callbacks=callbacks, resume=args.run)
    return trainer


def draw(history, confusion, path):
    """Draw the learning curve and the confusion matrix."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (curve, matrix) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    history.plot(["loss", "val_loss"], ax=curve)
    curve.set(ylabel="loss", yscale="log", title="Learning curve")
    share = curve.twinx()
    share.plot(history["epoch"], 100 * np.array(history["val_accuracy"]), "o--", color="C3")
    share.set_ylabel("test accuracy, %", color="C3")
    curve.legend(["training, augmented images", "test"], loc="center right")

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
    matrix.set_title(f"Confusion matrix: {confusion.trace() / confusion.sum():.2%} correct")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv=None):
    """Run the example."""
    parser = argparse.ArgumentParser(prog="convnet.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", required=True, help="folder of MNIST's IDX files")
    add("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    add("--epochs", type=int, default=10, help="training epochs (%(default)s)")
    add("--batch-size", type=int, default=32, help="batch size (%(default)s)")
    add("--lr", type=float, default=0.001, help="initial learning rate (%(default)s)")
    add("--seed", type=int, default=0, help="random seed (%(default)s)")
    add("--workers", type=int, default=2, help="threads that load images (%(default)s)")
    add("--run", type=Path, metavar="FOLDER", help="save the run there, and continue it")
    add("--figure", type=Path, default=Path("convnet.png"), help="the figure (%(default)s)")
    args = parser.parse_args(argv)
    for name in ("epochs", "batch_size", "lr"):
        if not 0 < getattr(args, name) < float("inf"):
            parser.error(f"--{name.replace('_', '-')}: expected a positive number")
    if args.workers < 0:
        parser.error("--workers: expected a number of threads, or 0")
    if not args.figure.parent.is_dir():
        parser.error(f"--figure {args.figure}: no such folder")
    try:
        train_set, test_set = load_data(args.data)
        Tensor(0.0, device=args.device)
    except (OSError, RuntimeError, ValueError) as error:
        parser.error(str(error))
    model = ConvNet(np.random.default_rng(args.seed), args.device)
    print(model.summary((args.batch_size, 1, 28, 28)))
    print(f"{len(train_set[0])} images to train with, {len(test_set[0])} for the test")
    training, test = make_loaders(train_set, test_set, args)
    trainer = train(model, training, test, args)
    predicted = trainer.predict(images for images, _ in test)
    confusion = ConfusionMatrix(num_classes=10)(predicted, test_set[1])
    draw(trainer.history, confusion, args.figure)
    print(f"test accuracy {confusion.trace() / confusion.sum():.2%}, plot in {args.figure}")


if __name__ == "__main__":
    main()
