"""Train a character-level language model on a text, and generate text with it.

    python docs/examples/shakespeare.py --data tinyshakespeare.txt

The model and its hyperparameters are those that nanoGPT recommends for a CPU: 4 layers, 4 heads,
embedding dimension 128, context length 64, batch size 12, 2,000 steps. The first 90 % of the text
are the training set, the rest is the validation set.

An interrupted run resumes from its last checkpoint. The loss curve is saved to shakespeare.png, see
--figure. `--generate` only generates text, with the model of a checkpoint.

Needs nn-data, nn-transformer, nn-losses, nn-optim, nn-io, nn-train, tqdm and matplotlib.
"""

import argparse
import itertools
import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from nn_data import Loader, read_text
from nn_data.text import CharVocabulary
from nn_io import FileFormatError, load_checkpoint, save_checkpoint
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import AdamW, CosineSchedule, LinearWarmup, SequentialSchedules
from nn_tensor import Tensor, reuse_memory
from nn_train import Trainer
from nn_transformer import LanguageModel, generate
from tqdm import tqdm

CONTEXT_LENGTH = 64
BATCH_SIZE = 12
WARMUP, LR, MIN_LR = 100, 1e-3, 1e-4
EVAL_INTERVAL = 250


class Text:
    """A text as token ids, one for each character; its last tenth is the validation set."""

    def __init__(self, path):
        text = read_text(path)
        self.vocabulary = CharVocabulary().fit(text)
        tokens = self.vocabulary.encode(text)
        self.training, self.validation = np.split(tokens, [len(tokens) * 9 // 10])
        if len(self.validation) <= CONTEXT_LENGTH:
            raise ValueError(
                f"{path}: has {len(text)} characters, expected more than {CONTEXT_LENGTH * 10}"
            )


def make_model(vocab_size, seed):
    """Return nanoGPT's small model: no dropout, no biases."""
    return LanguageModel(
        vocab_size,
        d_model=128,
        num_heads=4,
        num_layers=4,
        max_seq_len=CONTEXT_LENGTH,
        dropout=0.0,
        bias=False,
        rng=seed,
    )


def make_optimizer(model, steps):
    """Return AdamW, with weight decay of matrices only, and its learning rate schedule."""
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
    linear = LinearWarmup(optimizer, warmup, start_factor=1 / warmup)
    cosine = CosineSchedule(optimizer, max(1, steps - warmup), min_lr=MIN_LR)
    return optimizer, SequentialSchedules([linear, cosine], milestones=[warmup])


def make_loader(tokens, stride=1, batch_size=BATCH_SIZE, **options):
    """Return batches of the sequences of a text, and of the next token at each of their positions.

    Sequences start at every `stride`-th token.
    """
    windows = np.lib.stride_tricks.sliding_window_view(tokens, CONTEXT_LENGTH + 1)[::stride]

    def shift(batch):
        return batch[:, :-1], batch[:, 1:]

    return Loader(windows, batch_size, transform=shift, convert=Tensor, **options)


def validate(model, tokens, loss_fn, every=1):
    """Return the mean loss over all sequences of the text, or over every `every`-th of them."""
    total = count = 0
    with model.no_grad():
        for inputs, targets in make_loader(tokens, CONTEXT_LENGTH * every, 64):
            total += len(inputs) * loss_fn(model(inputs), targets).item()
            count += len(inputs)
    return total / count


class Run:
    """A training run: the state that a checkpoint holds."""

    def __init__(self, text, args):
        self.text, self.args = text, args
        self.model = make_model(len(text.vocabulary), args.seed)
        self.optimizer, self.schedule = make_optimizer(self.model, args.steps)
        options = {"shuffle": True, "drop_last": True, "seed": args.seed}
        self.loader = make_loader(text.training, **options)
        self.step = 0
        self.losses, self.validations = [], []
        self.seconds = 0.0

    def parts(self):
        """Return the objects whose state is saved."""
        return {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}

    def save(self):
        """Write the checkpoint."""
        extra = {
            "characters": self.text.vocabulary.tokens,
            "loader": self.loader.state_dict(),
            "steps": self.args.steps,
            "losses": self.losses,
            "validations": self.validations,
            "seconds": self.seconds,
        }
        save_checkpoint(self.args.checkpoint, **self.parts(), step=self.step, extra=extra)

    def resume(self):
        """Restore the checkpoint, or raise if it belongs to another run."""
        found = load_checkpoint(self.args.checkpoint).extra
        for name, own in (
            ("characters", self.text.vocabulary.tokens),
            ("steps", self.args.steps),
        ):
            if found.get(name) != own:
                raise ValueError(f"{self.args.checkpoint}: was written with other {name}")
        self.step = load_checkpoint(self.args.checkpoint, **self.parts()).step
        self.loader.load_state_dict(found["loader"])
        self.losses, self.validations = found["losses"], found["validations"]
        self.seconds = found["seconds"]

    def train(self):
        """Train to the last step, with a progress bar, validation and checkpoints."""
        loss_fn = SoftmaxCrossEntropyLoss()
        trainer = Trainer(
            self.model, loss_fn, self.optimizer, schedule=self.schedule, clip_norm=1.0
        )
        bar = tqdm(
            total=self.args.steps, initial=self.step, unit="step", disable=None, file=sys.stdout
        )
        epochs = itertools.chain.from_iterable(itertools.repeat(self.loader))
        with bar:
            for batch in itertools.islice(epochs, self.args.steps - self.step):
                start = time.perf_counter()
                self.losses.append(trainer.step(batch).loss)
                self.step += 1
                self.seconds += time.perf_counter() - start
                bar.update()
                last = self.step == self.args.steps
                if last or self.step % EVAL_INTERVAL == 0:
                    every = 1 if last else 10
                    value = validate(self.model, self.text.validation, loss_fn, every)
                    self.validations.append([self.step, value])
                    recent = np.mean(self.losses[-EVAL_INTERVAL:])
                    bar.write(
                        f"step {self.step:5}  loss {recent:.4f}  validation loss {value:.4f}",
                        file=sys.stdout,
                    )
                    self.save()
        per_step = 1000 * self.seconds / max(1, self.step)
        print(f"{self.step} steps in {self.seconds:.1f} s, {per_step:.1f} ms per step")


def plot(run, path):
    """Plot training and validation loss."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    steps = np.arange(1, len(run.losses) + 1)
    axes.plot(steps, run.losses, color="0.8", linewidth=0.8, label="training loss per step")
    window = max(len(run.losses) // 50, 1)
    smooth = np.convolve(run.losses, np.ones(window) / window, mode="valid")
    axes.plot(
        steps[window - 1 :], smooth, color="C0", label=f"training loss, mean of {window} steps"
    )
    at, values = zip(*run.validations, strict=True)
    axes.plot(at, values, "o-", color="C3", label=f"validation loss, finally {values[-1]:.3f}")
    axes.set(xlabel="step", ylabel="cross-entropy per character (nats)", title="Learning curve")
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def generate_text(model, vocabulary, args):
    """Return a prompt and its continuation.

    The context is limited: where it is full, generation continues from its second half.
    """
    rng = np.random.default_rng(args.seed)
    tokens = vocabulary.encode(args.start).tolist()
    total = len(tokens) + args.characters
    while len(tokens) < total:
        context = tokens[-CONTEXT_LENGTH // 2 :]
        count = min(CONTEXT_LENGTH - len(context), total - len(tokens))
        tokens += generate(model, [context], count, temperature=args.temperature, rng=rng)[0]
    return vocabulary.decode(tokens)


def read_arguments(argv):
    """Parse the command line, or exit with an error."""
    parser = argparse.ArgumentParser(prog="shakespeare.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, metavar="FILE", required=True, help="a text file")
    add("--steps", type=int, default=2000, help="training steps (%(default)s)")
    add("--seed", type=int, default=1337, help="random seed (%(default)s)")
    add(
        "--checkpoint",
        type=Path,
        default=Path("shakespeare.safetensors"),
        metavar="FILE",
        help="checkpoint, from which a run resumes (%(default)s)",
    )
    add(
        "--figure",
        type=Path,
        default=Path("shakespeare.png"),
        metavar="FILE",
        help="plot of the loss (%(default)s)",
    )
    add("--generate", action="store_true", help="only generate, with the model of the checkpoint")
    add("--start", default="\n", help="the prompt (a newline)")
    add("--characters", type=int, default=1500, help="characters to generate (%(default)s)")
    add("--temperature", type=float, default=0.8, help="0 for greedy decoding (%(default)s)")
    args = parser.parse_args(argv)
    for name in ("steps", "characters"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}: expected a positive number")
    if not args.start:
        parser.error("--start: expected at least one character")
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
        run.text.vocabulary.encode(args.start)
        if args.checkpoint.exists() or args.generate:
            run.resume()
            print(f"resumes from step {run.step} of {args.checkpoint}")
    except (OSError, ValueError, FileFormatError) as error:
        parser.error(str(error))
    if not args.generate:
        count = sum(parameter.size for parameter in run.model.parameters)
        print(f"{count:,} parameters, {len(run.text.training):,} training characters")
        run.train()
        plot(run, args.figure)
        print(f"validation loss {run.validations[-1][1]:.4f}, figure in {args.figure}")
    print(generate_text(run.model, run.text.vocabulary, args))


if __name__ == "__main__":
    main()
