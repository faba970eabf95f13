"""Train a character-level LSTM on a text, and generate text with it.

    python docs/examples/shakespeare_lstm.py --data tinyshakespeare.txt

Two layers of 256 units on the batches of shakespeare.py, which trains a transformer: batch size 12,
context length 64, 2,000 steps, AdamW with the same schedule. The first 90 % of the text are the
training set, the rest is the validation set.

Needs nn-recurrent, nn-losses, nn-train and what shakespeare.py needs.
"""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
from nn_layers import BaseModel, Dense, Embedding
from nn_losses import SoftmaxCrossEntropyLoss
from nn_recurrent import LSTM
from nn_tensor import Tensor, reuse_memory
from nn_train import Trainer
from shakespeare import Text, make_loader, make_optimizer, validate


class CharacterModel(BaseModel):
    """Logits of the next character at each position."""

    def __init__(self, vocab_size, hidden_size=256, num_layers=2, seed=0):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.embedding = Embedding(vocab_size, 64, rng=rng)
        self.lstm = LSTM(64, hidden_size, num_layers, rng=rng)
        self.output = Dense(hidden_size, vocab_size, rng=rng)

    def step(self, tokens, state=None):
        """Return the logits, and the state after the last position, to continue from."""
        hidden, state = self.lstm(self.embedding(tokens), state)
        return self.output(hidden), state

    def forward(self, tokens):
        return self.step(tokens)[0]


def generate(model, text, start, count, temperature, rng):
    """Return a prompt and its continuation; the state carries all that was read."""
    tokens = text.vocabulary.encode(start).tolist()
    with model.no_grad():
        logits, state = model.step(Tensor([tokens]))
        for _ in range(count):
            scores = logits.numpy()[0, -1].astype(np.float64) / temperature
            probabilities = np.exp(scores - scores.max())
            tokens.append(int(rng.choice(len(scores), p=probabilities / probabilities.sum())))
            logits, state = model.step(Tensor([tokens[-1:]]), state)
    return text.vocabulary.decode(tokens)


def train(model, text, steps, seed, report=250):
    """Train, and return the losses of all steps and the seconds that they took."""
    optimizer, schedule = make_optimizer(model, steps)
    loss_fn, losses, seconds = SoftmaxCrossEntropyLoss(), [], 0.0
    trainer = Trainer(model, loss_fn, optimizer, schedule=schedule, clip_norm=1.0)
    loader = make_loader(text.training, shuffle=True, drop_last=True, seed=seed)
    batches = itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), steps)
    for step, batch in enumerate(batches, 1):
        start = time.perf_counter()
        losses.append(trainer.step(batch).loss)
        seconds += time.perf_counter() - start
        if step % report == 0 and step < steps:
            value = validate(model, text.validation, loss_fn, every=10)
            recent = np.mean(losses[-report:])
            print(f"step {step:5}  loss {recent:.4f}  validation loss {value:.4f}", flush=True)
    return losses, seconds


def main(argv=None):
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="a text file")
    parser.add_argument("--steps", type=int, default=2000, help="training steps (%(default)s)")
    parser.add_argument("--seed", type=int, default=1337, help="random seed (%(default)s)")
    parser.add_argument("--characters", type=int, default=600, help="to generate (%(default)s)")
    parser.add_argument("--temperature", type=float, default=0.8, help="(%(default)s)")
    args = parser.parse_args(argv)
    if args.steps < 1 or args.temperature <= 0:
        parser.error("--steps and --temperature: expected positive numbers")
    reuse_memory()
    try:
        text = Text(args.data)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    model = CharacterModel(len(text.vocabulary), seed=args.seed)
    print(f"{sum(p.size for p in model.parameters):,} parameters")
    _, seconds = train(model, text, args.steps, args.seed)
    value = validate(model, text.validation, SoftmaxCrossEntropyLoss())
    per_step = 1000 * seconds / args.steps
    print(f"{args.steps} steps in {seconds:.1f} s, {per_step:.1f} ms per step")
    print(f"validation loss {value:.4f}")
    rng = np.random.default_rng(args.seed)
    print(generate(model, text, "\n", args.characters, args.temperature, rng))


if __name__ == "__main__":
    main()
