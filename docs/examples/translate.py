"""Train a Transformer to translate German into English, and score its translations.

    python docs/examples/translate.py --data multi30k

The folder holds the 29,000 sentence pairs of Multi30k and its data sets `val` and
`test_2016_flickr`, see multi30k.py. A small model, with three encoder and three decoder layers, is
trained as in the paper: label smoothing, Adam with warmup, checkpoint averaging, beam search. Its
translations of the test set are scored with sacreBLEU.

An interrupted run resumes from its last checkpoint. All files are written to the folder
`translation`, see --folder. Afterwards

    python docs/examples/translate.py --translate "Zwei Hunde spielen im Schnee."

translates a sentence, and --translate alone each line of the standard input.

Needs nn-data, nn-transformer, nn-losses, nn-optim, nn-io, nn-train, tokenizers, sacrebleu, tqdm and
matplotlib.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
from multi30k import END, PAD, START, Pairs, Vocabulary, read_pairs
from nn_io import (
    METADATA_KEY,
    FileFormatError,
    load_checkpoint,
    load_state_dict_from_file,
    save_checkpoint,
    save_model_parameters,
)
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import Adam, InverseSquareRoot
from nn_tensor import Tensor, reuse_memory
from nn_train import Trainer
from nn_transformer import Transformer, beam_search, generate
from sacrebleu.metrics import BLEU
from tqdm import tqdm

MODEL = {
    "d_model": 256,
    "num_heads": 4,
    "num_layers": 3,
    "d_ff": 512,
    "dropout": 0.2,
    "max_seq_len": 256,
}
VOCAB_SIZE = 5000  # BPE tokens of both languages together
BATCH_TOKENS = 2048  # in each language
WARMUP, FACTOR = 1000, 0.7  # of the paper's schedule
LABEL_SMOOTHING = 0.1
AVERAGED_EPOCHS = 5
NUM_BEAMS, LENGTH_PENALTY = 4, 0.6


def make_model(vocab_size, options, rng=None, device="cpu"):
    """Return a model that shares the weights of both embeddings and the output projection."""
    return Transformer(
        vocab_size,
        vocab_size,
        **options,
        padding_idx=PAD,
        tie_weights="all",
        rng=rng,
        device=device,
    )


def make_optimizer(model):
    """Return the paper's optimizer and schedule (Vaswani et al., 2017, section 5.3)."""
    peak = FACTOR * (MODEL["d_model"] * WARMUP) ** -0.5
    optimizer = Adam(model.parameters, lr=peak, beta1=0.9, beta2=0.98, epsilon=1e-9)
    return optimizer, InverseSquareRoot(optimizer, WARMUP)


def average(states):
    """Return the mean of several state dicts (checkpoint averaging, section 6.1 of the paper)."""
    names = [name for name in states[0] if name != METADATA_KEY]
    return {
        name: np.mean([state[name] for state in states], axis=0, dtype=np.float64) for name in names
    }


def translate(
    model, vocabulary, texts, num_beams=NUM_BEAMS, batch_size=64, progress=lambda count: None
):
    """Return the translation of each text; `progress` is called with the size of each batch.

    Sentences of similar lengths are batched together. One beam means greedy decoding.
    """
    sources = [[*row, END] for row in vocabulary.encode(texts)]
    max_length = model.max_seq_len - 1
    for i, row in enumerate(sources):
        if len(row) > max_length:
            raise ValueError(f"text {i + 1} has {len(row)} tokens, expected at most {max_length}")
    results = [""] * len(sources)
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        rows = [sources[i] for i in indices]
        prompts = [[START]] * len(rows)
        max_new_tokens = min(2 * len(rows[-1]) + 10, max_length)
        options = {"source": rows, "stop_tokens": END}
        if num_beams == 1:
            tokens = generate(model, prompts, max_new_tokens, **options)
        else:
            options |= {"num_beams": num_beams, "length_penalty": LENGTH_PENALTY}
            tokens = beam_search(model, prompts, max_new_tokens, **options)
        for i, text in zip(indices, vocabulary.decode(tokens), strict=True):
            results[i] = text
        progress(len(indices))
    return results


def bleu(translations, references):
    """Return the case-insensitive BLEU score of translations, and its signature."""
    metric = BLEU(lowercase=True)
    score = metric.corpus_score(translations, [references])
    return score.score, str(metric.get_signature())


class Run:
    """A training run: the state that a checkpoint holds."""

    def __init__(self, vocabulary, training, validation, args, started):
        self.vocabulary, self.args = vocabulary, args
        self.german, self.english = validation
        self.training = Pairs(vocabulary, *training, MODEL["max_seq_len"])
        self.validation = Pairs(vocabulary, *validation, MODEL["max_seq_len"])
        self.convert = partial(Tensor, device=args.device)
        self.loader = self.training.loader(BATCH_TOKENS, True, args.seed, self.convert)
        self.rng = np.random.default_rng(args.seed)  # of the initial weights, then of dropout
        self.model = make_model(len(vocabulary), MODEL, self.rng, args.device)
        self.optimizer, self.schedule = make_optimizer(self.model)
        self.trainer = Trainer(
            self.model,
            SoftmaxCrossEntropyLoss(ignore_index=PAD, label_smoothing=LABEL_SMOOTHING),
            self.optimizer,
            schedule=self.schedule,
            clip_norm=1.0,
        )
        self.step = 0
        self.losses, self.validations = [], []
        self.begin = self.started = started

    @property
    def checkpoint(self):
        """The file with the state of the run."""
        return self.args.folder / "run.safetensors"

    @property
    def translator(self):
        """The file with the final model."""
        return self.args.folder / "model.safetensors"

    def epoch_file(self, epoch):
        """Return the file with the weights after an epoch."""
        return self.args.folder / f"epoch-{epoch}.safetensors"

    def parts(self):
        """Return the objects whose state is saved."""
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "rng": self.rng,
        }

    def identity(self):
        """Return what must be equal for a run to resume."""
        return {
            "seed": self.args.seed,
            "pairs": [len(self.training), len(self.validation)],
            "model": MODEL,
            "vocabulary": self.vocabulary.to_text(),
        }

    def save(self):
        """Write the checkpoint."""
        extra = {
            "identity": self.identity(),
            "loader": self.loader.state_dict(),
            "losses": self.losses,
            "validations": self.validations,
            "seconds": self.seconds,
        }
        save_checkpoint(self.checkpoint, **self.parts(), step=self.step, extra=extra)

    def resume(self):
        """Restore the checkpoint, or raise a ValueError if it belongs to another run."""
        found = load_checkpoint(self.checkpoint).extra
        for name, value in self.identity().items():
            if found.get("identity", {}).get(name) != value:
                raise ValueError(f"{self.checkpoint}: was written with another {name}")
        self.step = load_checkpoint(self.checkpoint, **self.parts()).step
        self.loader.load_state_dict(found["loader"])
        self.losses, self.validations = found["losses"], found["validations"]
        self.begin -= found["seconds"]
        for path in self.averaged_files():
            if not path.is_file():
                raise ValueError(f"{path}: is missing, the run cannot resume without it")

    @property
    def seconds(self):
        """The time that the run has taken, before it was resumed too."""
        return time.perf_counter() - self.begin

    def is_done(self):
        """Return whether training has to stop."""
        epochs, steps, minutes = self.args.epochs, self.args.steps, self.args.time_limit
        if minutes is not None and self.step and time.perf_counter() > self.started + 60 * minutes:
            return True
        return self.loader.epoch >= epochs or (steps is not None and self.step >= steps)

    def train(self):
        """Train to the last epoch; after each epoch validate and save."""
        saved = self.step
        total = self.args.epochs * len(self.loader)  # about: epochs differ by a few batches
        bar = tqdm(total=total, initial=self.step, leave=False, disable=None, file=sys.stdout)
        with bar:
            while not self.is_done():
                self.model.train()
                steps = len(self.loader)
                for batch in self.loader:
                    self.training_step(batch)
                    bar.update()
                    if self.is_done():
                        break
                else:
                    bar.write(self.finish_epoch(steps), file=sys.stdout)
                    sys.stdout.flush()
                    saved = self.step
        if saved < self.step:
            self.save()

    def training_step(self, batch):
        """Update the weights with the pairs of a batch."""
        self.losses.append(self.trainer.step(batch).loss)
        self.step += 1

    def finish_epoch(self, steps):
        """Validate, save weights and checkpoint; return a line for the log."""
        epoch = self.loader.epoch  # as many are finished
        loss, score = self.validate()
        self.validations.append([self.step, loss, score])
        save_model_parameters(self.model, self.epoch_file(epoch))
        self.save()
        self.epoch_file(epoch - AVERAGED_EPOCHS).unlink(missing_ok=True)
        return (
            f"epoch {epoch:2}/{self.args.epochs}  "
            f"loss {np.mean(self.losses[-steps:]):.3f}  validation loss {loss:.3f}  "
            f"BLEU {score:.1f}  {self.seconds / 60:.1f} min"
        )

    def validate(self):
        """Return the validation loss per token, in nats, and the BLEU score."""
        loss_fn = SoftmaxCrossEntropyLoss("sum", ignore_index=PAD)
        self.model.eval()
        with self.model.no_grad():
            total = sum(
                loss_fn(self.model(sources, inputs), labels).item()
                for sources, inputs, labels in self.validation.loader(
                    BATCH_TOKENS, convert=self.convert
                )
            )
        loss = total / self.validation.lengths[:, 1].sum()
        return float(loss), bleu(self.translate_validation(), self.english)[0]

    def averaged_files(self):
        """Return the files with the weights of the last third of the epochs, at most 5."""
        epoch = self.loader.epoch
        return [self.epoch_file(epoch - i) for i in range(min(AVERAGED_EPOCHS, epoch // 3))]

    def finish(self):
        """Average the last weights, and save the final model."""
        states = [load_state_dict_from_file(path) for path in self.averaged_files()]
        if self.loader.state_dict()["batch"] or not states:  # training stopped within an epoch
            states.append(self.model.state_dict())
        self.model.load_state_dict(average(states))
        extra = {"settings": MODEL, "vocabulary": self.vocabulary.to_text()}
        save_checkpoint(self.translator, model=self.model, step=self.step, extra=extra)
        score = bleu(self.translate_validation(), self.english)[0]
        print(f"mean of the last {len(states)} weights: validation BLEU {score:.1f}")

    def translate_validation(self):
        """Return the translations of the validation set by greedy decoding."""
        return translate(self.model, self.vocabulary, self.german, num_beams=1, batch_size=128)


def load_translator(path, device="cpu"):
    """Return the model that `Run.finish` saved, and its vocabulary."""
    extra = load_checkpoint(path).extra
    if not {"settings", "vocabulary"} <= extra.keys():
        raise ValueError(f"{path}: does not hold a translation model")
    vocabulary = Vocabulary.from_text(extra["vocabulary"])
    model = make_model(len(vocabulary), extra["settings"], device=device)
    load_checkpoint(path, model=model)
    return model, vocabulary


def plot(run, path):
    """Plot the losses and the BLEU score."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    steps = np.arange(1, len(run.losses) + 1)
    axes.plot(steps, run.losses, color="0.85", linewidth=0.8, label="training loss per step")
    window = max(len(run.losses) // 50, 1)
    smooth = np.convolve(run.losses, np.ones(window) / window, mode="valid")
    label = f"training loss, mean of {window} steps (dropout, label smoothing)"
    axes.plot(steps[window - 1 :], smooth, color="C0", label=label)
    axes.set(xlabel="step", ylabel="cross-entropy per token (nats)", title="Learning curve")
    if run.validations:
        at, losses, scores = zip(*run.validations, strict=True)
        axes.plot(at, losses, "o-", color="C3", label="validation loss per epoch")
        right = axes.twinx()
        right.plot(at, scores, "s-", color="C2")
        right.set_ylabel("validation BLEU, greedy decoding", color="C2")
        right.set_ylim(bottom=0)
    axes.legend(loc="center right")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def report(run, german, english):
    """Translate the test set; print some examples and the score."""
    with tqdm(
        total=len(german), unit=" sentences", leave=False, disable=None, file=sys.stdout
    ) as bar:
        translations = translate(run.model, run.vocabulary, german, progress=bar.update)
    for i in np.linspace(0, len(german), 5, endpoint=False, dtype=int):
        print(f"\n  German   {german[i]}\n  English  {english[i]}\n  model    {translations[i]}")
    score, signature = bleu(translations, english)
    print(f"\ntest BLEU {score:.2f} ({signature})")


def read_arguments(argv):
    """Parse the command line, or exit with an error."""
    parser = argparse.ArgumentParser(prog="translate.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", help="folder of the Multi30k files")
    add(
        "--translate",
        nargs="?",
        const="",
        metavar="TEXT",
        help="only translate, with the model in the folder: a text, or lines of the standard input",
    )
    add(
        "--folder",
        type=Path,
        default=Path("translation"),
        metavar="DIR",
        help="checkpoints, from which a run resumes, and the model (%(default)s)",
    )
    add("--device", default="cpu", help="cpu or cuda (%(default)s)")
    add("--epochs", type=int, default=15, help="training epochs (%(default)s)")
    add("--steps", type=int, help="stop training after this number of steps")
    add("--time-limit", type=float, metavar="MINUTES", help="stop training after that time")
    add("--limit", type=int, metavar="N", help="use only the first N pairs of each data set")
    add("--seed", type=int, default=0, help="random seed (%(default)s)")
    add("--figure", type=Path, metavar="FILE", help="plot of the losses (loss.png in the folder)")
    args = parser.parse_args(argv)
    if args.data is None and args.translate is None:
        parser.error("expected --data DIR to train, or --translate")
    for name in ("epochs", "steps", "time_limit", "limit"):
        value = getattr(args, name)
        if value is not None and not 0 < value < float("inf"):
            parser.error(f"--{name.replace('_', '-')}: expected a positive number, got {value}")
    if args.seed < 0:
        parser.error(f"--seed: expected a non-negative number, got {args.seed}")
    if args.figure is None:
        args.figure = args.folder / "loss.png"
    elif not args.figure.parent.is_dir():
        parser.error(f"--figure {args.figure}: no such folder")
    return parser, args


def only_translate(parser, args):
    """Translate a text, or the lines of the standard input."""
    try:
        model, vocabulary = load_translator(args.folder / "model.safetensors", args.device)
    except (OSError, RuntimeError, ValueError, FileFormatError) as error:
        parser.error(str(error))
    for line in [args.translate] if args.translate else sys.stdin:
        try:
            print(*translate(model, vocabulary, [line.strip()]) if line.strip() else "", flush=True)
        except ValueError as error:
            parser.error(str(error))


def main(argv=None):
    """Run the example."""
    parser, args = read_arguments(argv)
    started = time.perf_counter()
    reuse_memory()
    if args.translate is not None:
        only_translate(parser, args)
        return
    try:
        training, validation, test = (
            read_pairs(args.data, name, args.limit) for name in ("train", "val", "test_2016_flickr")
        )
        vocabulary = Vocabulary.learn([*training[0], *training[1]], VOCAB_SIZE)
        run = Run(vocabulary, training, validation, args, started)
        args.folder.mkdir(parents=True, exist_ok=True)
        if run.checkpoint.exists():
            run.resume()
            print(f"resumes from step {run.step} of {run.checkpoint}")
    except (OSError, RuntimeError, ValueError, FileFormatError) as error:
        parser.error(str(error))
    count = sum(parameter.size for parameter in run.model.parameters)
    print(f"{len(run.training):,} training pairs, {len(vocabulary):,} BPE tokens")
    print(f"{count:,} parameters")
    try:
        run.train()
    except KeyboardInterrupt:
        hint = (
            f"; the same command resumes from {run.checkpoint}" if run.checkpoint.exists() else ""
        )
        parser.exit(130, f"\ninterrupted{hint}\n")
    run.finish()
    plot(run, args.figure)
    report(run, *test)
    print(
        f"{run.seconds / 60:.1f} minutes in total; "
        f"model in {run.translator}, figure in {args.figure}"
    )


if __name__ == "__main__":
    main()
