"""Classify sequences of unequal lengths: are the brackets balanced?

    python docs/examples/sequence_classifier.py

Random strings of three kinds of brackets and a letter, 4 to 60 characters long, half of them
balanced; the others are balanced strings with one bracket changed. Batches of similar lengths are
padded by nn-data, whose mask goes to the LSTM as its lengths.

Needs nn-recurrent, nn-data, nn-losses, nn-optim and nn-train.
"""

import argparse

import numpy as np
from nn_data import ByLength, Loader, Pad
from nn_layers import BaseModel, Dense, Embedding
from nn_losses import Accuracy, SoftmaxCrossEntropyLoss
from nn_optim import Adam
from nn_recurrent import LSTM
from nn_tensor import Tensor
from nn_train import Forward, Trainer

CHARACTERS = "([{)]}a"  # a bracket and its partner are three apart
TOKENS = {character: i + 1 for i, character in enumerate(CHARACTERS)}  # 0 is padding


def balanced(rng, length):
    """Return a balanced string of an even length."""
    text, open_brackets = [], []
    while len(text) < length:
        left = length - len(text)
        if open_brackets and (len(open_brackets) == left or rng.random() < 0.4):
            text.append(CHARACTERS[open_brackets.pop() + 3])
        elif rng.random() < 0.2:
            text.append("a")
        elif len(open_brackets) + 2 <= left:
            open_brackets.append(int(rng.integers(3)))
            text.append(CHARACTERS[open_brackets[-1]])
        else:
            text.append("a")
    return "".join(text)


def make_data(rng, count):
    """Return strings, and whether each is balanced."""
    texts, labels = [], rng.integers(0, 2, count)
    for label in labels:
        text = balanced(rng, int(rng.integers(4, 61)))
        while not label and (places := [i for i, c in enumerate(text) if c != "a"]) == []:
            text = balanced(rng, int(rng.integers(4, 61)))
        if not label:
            i = int(rng.choice(places))
            other = [c for c in CHARACTERS[:6] if c != text[i]]
            text = text[:i] + str(rng.choice(other)) + text[i + 1 :]
        texts.append(text)
    return texts, labels


class Classifier(BaseModel):
    """Logits of two classes, from the states of both directions after their last steps."""

    def __init__(self, hidden_size=48, seed=0):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.embedding = Embedding(len(CHARACTERS) + 1, 16, padding_idx=0, rng=rng)
        self.lstm = LSTM(16, hidden_size, bidirectional=True, rng=rng)
        self.output = Dense(2 * hidden_size, 2, rng=rng)

    def forward(self, tokens, mask):
        _, (hidden, _) = self.lstm(self.embedding(tokens), lengths=mask)
        return self.output(hidden.swapaxes(0, 1).reshape(len(tokens), -1))


def make_loader(texts, labels, shuffle):
    """Return batches ``((tokens, mask), labels)`` of similar lengths."""
    tokens = [np.array([TOKENS[c] for c in text]) for text in texts]
    samples = list(zip(tokens, labels, strict=True))
    sampler = ByLength([len(t) for t in tokens], max_tokens=2000, shuffle=shuffle)
    return Loader(samples, batch_sampler=sampler, collate=Pad(value=0), convert=Tensor)


class SequenceTrainer(Trainer):
    """A trainer for batches of `make_loader`."""

    def forward_loss(self, batch):
        (tokens, mask), labels = batch
        logits = self.model(tokens, mask)
        return Forward(self.loss(logits, labels), len(labels), logits, labels)


def main(argv=None):
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=12, help="epochs (%(default)s)")
    parser.add_argument("--samples", type=int, default=8000, help="for training (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (%(default)s)")
    args = parser.parse_args(argv)
    if args.epochs < 1 or args.samples < 1:
        parser.error("--epochs and --samples: expected positive numbers")
    rng = np.random.default_rng(args.seed)
    train = make_loader(*make_data(rng, args.samples), shuffle=True)
    test = make_loader(*make_data(rng, 1000), shuffle=False)
    model = Classifier(seed=args.seed)
    trainer = SequenceTrainer(
        model,
        SoftmaxCrossEntropyLoss(),
        Adam(model.parameters, lr=0.003),
        metrics={"accuracy": Accuracy()},
        clip_norm=1.0,
    )
    return trainer.fit(train, epochs=args.epochs, validation=test)[-1]["val_accuracy"]


if __name__ == "__main__":
    main()
