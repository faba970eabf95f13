"""A run with everything that is random, for the tests of its resume; in a process it is killed."""

import errno
import os
import signal
import traceback

import numpy as np
from nn_data import Loader
from nn_data.transforms import GaussianNoise, RandomFlip
from nn_layers import BatchNorm1D, Dense, Dropout, Flatten, ReLU, Sequential
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import AdamW, CosineSchedule
from nn_tensor import Tensor
from nn_train import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    JSONLinesLogger,
    TensorBoardLogger,
    Trainer,
)

EPOCHS = 4
STEPS = 5  # an epoch: 14 batches in groups of three
rng = np.random.default_rng(0)
IMAGES = rng.normal(size=(110, 1, 4, 4)).astype(np.float32)
CLASSES = rng.integers(0, 3, 110)
CLASSES[::7] = -1


class Recorder(Trainer):
    """A trainer that notes the samples of all batches, and what came in.

    Within the forward pass of some batch something may happen.
    """

    def forward_loss(self, batch):
        self.forwards += 1
        if self.forwards == self.event_at:
            self.event()
        if self.model.training:
            place = (self.epoch, self.batches_done)
            samples = tuple(self.data.last_indices().tolist())
            self.seen.append((place, samples, batch[0].numpy().tobytes()))
        return super().forward_loss(batch)


class Event(Callback):
    """Something that happens after a step."""

    def __init__(self, at, event):
        self.at, self.event = at, event

    def on_step_end(self, trainer):
        if trainer.steps == self.at:
            self.event()


def build(folder, *callbacks):
    """Return the trainer and the arguments of `fit`."""
    draw, drop = np.random.default_rng(1), np.random.default_rng(2)
    model = Sequential(
        Flatten(),
        Dense(16, 12, rng=draw),
        BatchNorm1D(12),
        ReLU(),
        Dropout(0.3, rng=drop),
        Dense(12, 12, rng=draw),
        Dropout(0.2, rng=drop),
        Dense(12, 3, rng=draw),
        Dropout(0.1, rng=3),
    )
    loader = Loader(
        (IMAGES, CLASSES),
        8,
        shuffle=True,
        seed=7,
        workers=2,
        transform=([RandomFlip(), GaussianNoise(0.1)], None),
        convert=Tensor,
    )
    optimizer = AdamW(model.parameters, lr=0.01)
    trainer = Recorder(
        model,
        SoftmaxCrossEntropyLoss(ignore_index=-1),
        optimizer,
        metrics={"spread": Spread()},
        schedule=CosineSchedule(optimizer, EPOCHS * STEPS),
        clip_norm=1.0,
        accumulate=3,
    )
    trainer.seen, trainer.forwards, trainer.event_at = [], 0, None
    known = CLASSES >= 0
    stopping = EarlyStopping("val_loss", patience=9)
    given = {
        "epochs": EPOCHS,
        "validation": Loader((IMAGES[known], CLASSES[known]), 32, convert=Tensor),
        "callbacks": [stopping, *checkpoint_and_logs(folder), *callbacks],
        "progress": False,
        "resume": folder,
    }
    return trainer, loader, given


def checkpoint_and_logs(folder):
    return [
        Checkpoint(folder, every_steps=2, best="val_loss"),
        CSVLogger(os.path.join(folder, "log.csv")),
        JSONLinesLogger(os.path.join(folder, "log.jsonl")),
        TensorBoardLogger(os.path.join(folder, "tensorboard")),
    ]


class Spread:
    """A metric that can be saved within an epoch."""

    def reset(self):
        self.sum = self.count = 0.0

    def update(self, prediction, target):
        self.sum += float(prediction.numpy().astype(np.float64).std())
        self.count += 1

    def result(self):
        return self.sum / self.count

    def state_dict(self):
        return {"sum": np.float64(self.sum), "count": np.float64(self.count)}

    def load_state_dict(self, state):
        self.sum, self.count = float(state["sum"]), float(state["count"])


def crash():
    raise RuntimeError("something went wrong")


def full_disk(file):
    raise OSError(errno.ENOSPC, "No space left on device")


def no_more_than_4_kb():
    import resource  # of POSIX

    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def interrupt_twice():
    interrupt()
    interrupt()


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def run(folder, where, at, errors):
    """Train in this process, which is to be stopped, and send the error if there is one.

    Args:
        folder: for all that is written.
        where: ``"step"`` kills the process after step `at`, ``"full"`` lets it write no more than
            4 kB of a file from then on, ``"batch"`` kills it within the forward pass of that batch,
            where those of the validation are counted too.
        at: a number from 1.
        errors: a connection.
    """
    after_step = {"step": kill, "full": no_more_than_4_kb}.get(where)
    events = [] if after_step is None else [Event(at, after_step)]
    trainer, loader, given = build(folder, *events)
    if where == "batch":
        trainer.event_at, trainer.event = at, kill
    try:
        trainer.fit(loader, **given)
    except BaseException:
        errors.send(traceback.format_exc())
