"""Train a network to read handwritten digits, save it, and load it again.

    python docs/examples/digits.py

The digits come with this file: 1,797 images of 8×8 pixels (see data/README.md). A fifth of them
is held out, the network never trains on it. For MNIST, or anything in its format, name the folder:

    python docs/examples/digits.py --data mnist --epochs 10

Needs nn-data, nn-layers, nn-losses, nn-optim, nn-io and nn-train.
"""

import argparse
import math
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from nn_data import Loader, read_idx_folder, split
from nn_data.transforms import Compose, GaussianNoise, RandomAffine
from nn_io import load_model, save_model
from nn_layers import Dense, Flatten, ReLU, Sequential
from nn_losses import Accuracy, SoftmaxCrossEntropyLoss
from nn_optim import Adam, CosineSchedule
from nn_tensor import Tensor
from nn_train import Trainer

DIGITS = Path(__file__).parent / "data" / "optdigits.csv.gz"


def load_data(folder, seed):
    """Return images in the range 0 to 1 and labels: of the training set, then of the test set."""
    if folder is None:
        table = np.loadtxt(DIGITS, delimiter=",", dtype=np.uint8)
        sets, largest = [(table[:, :64].reshape(-1, 8, 8), table[:, 64])], 16
    else:
        sets, largest = read_idx_folder(folder), 255
    if len(sets) == 1:
        images, labels = sets[0]
        if len(images) < 5:
            raise ValueError(f"{folder}: {len(images)} images are too few to hold out a fifth")
        sets = [part[:] for part in split((images, labels), (0.8, 0.2), seed=seed)]
    return [(x.astype(np.float32) / largest, y.astype(np.int64)) for x, y in sets]


def build_model(height, width, classes, device="cpu", seed=0):
    """Return a network that gives each image a logit for each class."""
    rng = np.random.default_rng(seed)
    first, second = Dense(height * width, 256, rng=rng), Dense(256, 256, rng=rng)
    last = Dense(256, classes, rng=rng)
    return Sequential([Flatten(), first, ReLU(), second, ReLU(), last], device=device)


def predict(model, images):
    """Return the logits of all images, without recording gradients."""
    model.eval()
    with model.no_grad():
        return model(images)


def train(model, train_set, test_set, args):
    """Train, print a line per epoch, and return the accuracy on the test set."""
    height, width = train_set[0].shape[1:]
    # Images are moved by up to 0.6 pixels each way, and get noise: other ones in each epoch.
    shift = RandomAffine(translate=(0.6 / height, 0.6 / width), layout="nhw")
    loader = Loader(
        train_set,
        args.batch_size,
        shuffle=True,
        seed=args.seed,
        transform=(Compose(shift, GaussianNoise(0.1)), None),
        convert=partial(Tensor, device=args.device),
    )
    optimizer = Adam(model.parameters, lr=args.lr)
    trainer = Trainer(
        model,
        SoftmaxCrossEntropyLoss(),
        optimizer,
        metrics={"accuracy": Accuracy()},
        schedule=CosineSchedule(optimizer, args.epochs * len(loader)),
    )
    history = trainer.fit(loader, epochs=args.epochs, validation=test_set, batch_size=1000)
    return history[-1]["val_accuracy"]


def parse_arguments(argv):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="digits.py",
        description="Train a network to read handwritten digits, save it, and load it again.",
    )
    add = parser.add_argument
    add("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    add("--data", type=Path, metavar="DIR", help="folder of IDX files, such as MNIST, plain or .gz")
    add("--epochs", type=int, default=30, help="training epochs (%(default)s)")
    add("--batch-size", type=int, default=32, help="batch size (%(default)s)")
    add("--lr", type=float, default=0.003, help="initial learning rate (%(default)s)")
    add("--seed", type=int, default=0, help="random seed (%(default)s)")
    add("--output", type=Path, metavar="FILE", help="keep the model: .safetensors, .npz or .pkl")
    args = parser.parse_args(argv)
    for name in ("epochs", "batch_size", "lr"):
        if not 0 < getattr(args, name) < math.inf:
            parser.error(f"--{name.replace('_', '-')}: expected a positive number")
    if args.output and args.output.suffix not in (".safetensors", ".npz", ".pkl"):
        parser.error(f"--output {args.output}: must end in .safetensors, .npz or .pkl")
    if args.output and not args.output.parent.is_dir():
        parser.error(f"--output {args.output}: no such folder")
    return parser, args


def main(argv=None):
    """Run the example."""
    parser, args = parse_arguments(argv)
    try:
        np.random.default_rng(args.seed)  # raises for a negative one
        train_set, test_set = load_data(args.data, args.seed)
        Tensor(0.0, device=args.device)
    except (OSError, RuntimeError, ValueError) as error:
        parser.error(str(error))

    height, width = train_set[0].shape[1:]
    classes = 1 + max(labels.max() for _, labels in (train_set, test_set))
    settings = {"height": height, "width": width, "classes": classes, "device": args.device}
    model = build_model(**settings, seed=args.seed)
    print(f"{len(train_set[0])} images to train with, {len(test_set[0])} held out for the test")
    print(f"test accuracy {train(model, train_set, test_set, args):.2%}")

    with tempfile.TemporaryDirectory() as folder:
        path = args.output or Path(folder) / "digits.safetensors"
        try:
            save_model(path, model, factory=build_model, settings=settings)
        except OSError as error:
            sys.exit(f"{parser.prog}: error: {error}")
        fresh = load_model(path, classes=build_model).model
    images = Tensor(test_set[0], device=args.device)
    before, after = (predict(m, images).numpy().tobytes() for m in (model, fresh))
    if before != after:
        sys.exit("error: the loaded model predicts something else")
    place = args.output or "a temporary file (--output FILE keeps it)"
    print(f"saved to {place}")
    print(f"loaded into a new model: its {len(test_set[0])} predictions are the same, bit for bit")


if __name__ == "__main__":
    main()
