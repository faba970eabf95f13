"""Train a language model on the characters of a text, and let it write a page.

    python docs/examples/shakespeare.py --data tinyshakespeare.txt

The model and its settings are those that nanoGPT recommends for a processor: 4 layers of 4 heads,
128 numbers for a character, 64 characters at a time, 12 pieces in a batch, 2,000 steps. The first
nine tenths of the text are trained on, the rest tells how well unseen text is foreseen.

A run that was interrupted goes on where its last checkpoint was written. The picture goes to
shakespeare.png, see --figure. `--write` only writes, with the model of a checkpoint.

Needs nn-transformer, nn-losses, nn-optim, nn-io, tqdm and matplotlib.
"""

import argparse
import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from nn_io import FileFormatError, load_checkpoint, save_checkpoint
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import (
    AdamW,
    CosineSchedule,
    LinearWarmup,
    SequentialSchedules,
    clip_gradients_by_norm,
)
from nn_tensor import Tensor, reuse_memory
from nn_transformer import LanguageModel, generate
from tqdm import tqdm

LENGTH = 64  # characters that the model sees at once
BATCH = 12
WARMUP, LR, LAST_LR = 100, 1e-3, 1e-4
EVALUATE_EVERY = 250


class Text:
    """A text as numbers, one for each of its characters."""

    def __init__(self, path):
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: is not text in UTF-8 ({error})") from error
        self.characters = sorted(set(text))
        numbers = {character: i for i, character in enumerate(self.characters)}
        self.numbers = numbers
        tokens = np.array([numbers[character] for character in text], dtype=np.int64)
        split = len(tokens) * 9 // 10
        self.training, self.validation = tokens[:split], tokens[split:]
        if len(self.validation) <= LENGTH:
            raise ValueError(
                f"{path}: has {len(text)} characters, expected more than {LENGTH * 10}"
            )

    def encode(self, text):
        """Return the numbers of characters, or raise if the text that was read lacks one."""
        unknown = sorted(set(text) - set(self.numbers))
        if unknown:
            raise ValueError(f"the text has no character {unknown[0]!r}")
        return [self.numbers[character] for character in text]

    def decode(self, tokens):
        """Return the characters of numbers."""
        return "".join(self.characters[token] for token in tokens)


def make_model(vocab_size, seed):
    """Return nanoGPT's small model: no dropout, no biases."""
    return LanguageModel(
        vocab_size,
        d_model=128,
        num_heads=4,
        num_layers=4,
        max_seq_len=LENGTH,
        dropout=0.0,
        bias=False,
        rng=seed,
    )


def make_optimizer(model, steps):
    """Return AdamW, which lets only matrices decay, and the schedule of its learning rate."""
    matrices = [p for p in model.parameters if p.ndim >= 2]
    vectors = [p for p in model.parameters if p.ndim < 2]
    optimizer = AdamW(
        [{"parameters": matrices}, {"parameters": vectors, "weight_decay": 0.0}],
        lr=LR,
        beta1=0.9,
        beta2=0.99,
        weight_decay=0.1,
    )
    warmup = min(WARMUP, max(1, steps // 2))
    rise = LinearWarmup(optimizer, warmup, start=1 / warmup)
    fall = CosineSchedule(optimizer, max(1, steps - warmup), min_lr=LAST_LR)
    return optimizer, SequentialSchedules([rise, fall], milestones=[warmup])


def batch(tokens, rng):
    """Return pieces of the text, and each with its characters moved on by one."""
    starts = rng.integers(0, len(tokens) - LENGTH, BATCH)
    pieces = tokens[starts[:, None] + np.arange(LENGTH + 1)]
    return Tensor(pieces[:, :-1]), Tensor(pieces[:, 1:])


def validate(model, tokens, loss_fn, every=1):
    """Return the mean loss over the whole text, or over each `every`-th part of it."""
    count = (len(tokens) - 1) // LENGTH
    starts = np.arange(0, count, every) * LENGTH
    total = 0.0
    with model.no_grad():
        for part in np.array_split(starts, -(-len(starts) // 64)):
            pieces = tokens[part[:, None] + np.arange(LENGTH + 1)]
            total += (
                len(part) * loss_fn(model(Tensor(pieces[:, :-1])), Tensor(pieces[:, 1:])).item()
            )
    return total / len(starts)


class Run:
    """A training run: all that has to be kept for it to go on."""

    def __init__(self, text, args):
        self.text, self.args = text, args
        self.model = make_model(len(text.characters), args.seed)
        self.optimizer, self.schedule = make_optimizer(self.model, args.steps)
        self.rng = np.random.default_rng(args.seed)
        self.step = 0
        self.losses, self.validations = [], []
        self.seconds = 0.0

    def parts(self):
        """Return what a checkpoint holds."""
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "rng": self.rng,
        }

    def save(self):
        """Write the checkpoint."""
        extra = {
            "characters": self.text.characters,
            "steps": self.args.steps,
            "losses": self.losses,
            "validations": self.validations,
            "seconds": self.seconds,
        }
        save_checkpoint(self.args.checkpoint, **self.parts(), step=self.step, extra=extra)

    def resume(self):
        """Go back to the checkpoint, or raise if it is of another run."""
        found = load_checkpoint(self.args.checkpoint).extra
        for name, here in (("characters", self.text.characters), ("steps", self.args.steps)):
            if found.get(name) != here:
                raise ValueError(f"{self.args.checkpoint}: was written with other {name}")
        self.step = load_checkpoint(self.args.checkpoint, **self.parts()).step
        self.losses, self.validations = found["losses"], found["validations"]
        self.seconds = found["seconds"]

    def train(self):
        """Train to the end; show where it is, validate and write checkpoints on the way."""
        loss_fn = SoftmaxCrossEntropyLoss()
        parameters = self.model.parameters
        bar = tqdm(
            total=self.args.steps, initial=self.step, unit="step", disable=None, file=sys.stdout
        )
        with bar:
            while self.step < self.args.steps:
                start = time.perf_counter()
                inputs, targets = batch(self.text.training, self.rng)
                loss = loss_fn(self.model(inputs), targets)
                self.optimizer.zero_grad()
                loss.backward()
                clip_gradients_by_norm(parameters, 1.0)
                self.optimizer.step()
                self.schedule.step()
                self.step += 1
                self.losses.append(loss.item())
                self.seconds += time.perf_counter() - start
                bar.update()
                last = self.step == self.args.steps
                if last or self.step % EVALUATE_EVERY == 0:
                    every = 1 if last else 10
                    value = validate(self.model, self.text.validation, loss_fn, every)
                    self.validations.append([self.step, value])
                    recent = np.mean(self.losses[-EVALUATE_EVERY:])
                    bar.write(
                        f"step {self.step:5}  loss {recent:.4f}  validation loss {value:.4f}",
                        file=sys.stdout,
                    )
                    self.save()
        each = 1000 * self.seconds / max(1, self.step)
        print(f"{self.step} steps in {self.seconds:.1f} s, {each:.1f} ms each")


def draw(run, path):
    """Draw how the loss fell."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    steps = np.arange(1, len(run.losses) + 1)
    axes.plot(steps, run.losses, color="0.8", linewidth=0.8, label="training loss of each step")
    window = max(len(run.losses) // 50, 1)
    smooth = np.convolve(run.losses, np.ones(window) / window, mode="valid")
    axes.plot(steps[window - 1 :], smooth, color="C0", label=f"mean of {window} steps")
    at, values = zip(*run.validations, strict=True)
    axes.plot(at, values, "o-", color="C3", label=f"validation loss, {values[-1]:.3f} at the end")
    axes.set(xlabel="step", ylabel="loss of a character, nats", title="How it learned to spell")
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write(model, text, args):
    """Return what the model writes after a beginning.

    It sees the last part of what it wrote: where its window is full, it goes on from its half.
    """
    rng = np.random.default_rng(args.seed)
    tokens = text.encode(args.start)
    wanted = len(tokens) + args.characters
    while len(tokens) < wanted:
        seen = tokens[-LENGTH // 2 :]
        count = min(LENGTH - len(seen), wanted - len(tokens))
        tokens += generate(model, [seen], count, temperature=args.temperature, rng=rng)[0]
    return text.decode(tokens)


def read_arguments(argv):
    """Return the options, or end with a line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="shakespeare.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, metavar="FILE", required=True, help="a text")
    add("--steps", type=int, default=2000, help="of training (%(default)s)")
    add("--seed", type=int, default=1337, help="of everything random (%(default)s)")
    add(
        "--checkpoint",
        type=Path,
        default=Path("shakespeare.safetensors"),
        metavar="FILE",
        help="the run, written on the way and gone on with (%(default)s)",
    )
    add(
        "--figure",
        type=Path,
        default=Path("shakespeare.png"),
        metavar="FILE",
        help="the picture (%(default)s)",
    )
    add("--write", action="store_true", help="only write, with the model of the checkpoint")
    add("--start", default="\n", help="what the page begins with (a new line)")
    add("--characters", type=int, default=1500, help="how many to write (%(default)s)")
    add("--temperature", type=float, default=0.8, help="0 takes the likeliest (%(default)s)")
    args = parser.parse_args(argv)
    for name in ("steps", "characters"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}: expected a positive number")
    if not args.start:
        parser.error("--start: expected a character at least")
    for path in (args.checkpoint, args.figure):
        if not path.parent.is_dir():
            parser.error(f"{path}: no such folder")
    return parser, args


def main(argv=None):
    """Run the example."""
    parser, args = read_arguments(argv)
    reuse_memory()
    try:
        run = Run(Text(args.data), args)
        run.text.encode(args.start)
        if args.checkpoint.exists() or args.write:
            run.resume()
            print(f"goes on from step {run.step} of {args.checkpoint}")
    except (OSError, ValueError, FileFormatError) as error:
        parser.error(str(error))
    if not args.write:
        count = sum(parameter.size for parameter in run.model.parameters)
        print(f"{count:,} parameters, {len(run.text.training):,} characters to train with")
        run.train()
        draw(run, args.figure)
        print(f"validation loss {run.validations[-1][1]:.4f}, picture in {args.figure}")
    print(write(run.model, run.text, args))


if __name__ == "__main__":
    main()
