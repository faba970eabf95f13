"""Train the character-level LSTM of the example, and the same in PyTorch, on the same batches.

Both take turns, step by step; the CPU time of one thread is measured, and the losses are compared.

Run it with: python benchmarks/character_lstm.py tinyshakespeare.txt
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from pathlib import Path

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parent.parent / "docs" / "examples"))

import numpy as np
import torch
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import Adam, clip_gradients_by_norm
from nn_recurrent import to_torch_recurrent
from nn_tensor import reuse_memory
from shakespeare import Text, make_loader
from shakespeare_lstm import CharacterModel

LR = 2e-3


class TorchModel(torch.nn.Module):
    """The same model in PyTorch, with the same weights."""

    def __init__(self, model):
        super().__init__()
        vocab_size, size = model.embedding.vocab_size, model.lstm.hidden_size
        self.embedding = torch.nn.Embedding(vocab_size, model.embedding.d_model)
        self.lstm = torch.nn.LSTM(
            model.embedding.d_model, size, model.lstm.num_layers, batch_first=True
        )
        self.output = torch.nn.Linear(size, vocab_size)
        state = {k: torch.from_numpy(v) for k, v in to_torch_recurrent(model.lstm).items()}
        self.lstm.load_state_dict(state)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.tensor(model.embedding.weights.numpy()))
            self.output.weight.copy_(torch.tensor(model.output.weights.numpy().T))
            self.output.bias.copy_(torch.tensor(model.output.bias.numpy()))

    def forward(self, tokens):
        return self.output(self.lstm(self.embedding(tokens))[0])


def main():
    """Train both."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    reuse_memory()
    text = Text(args.data)
    loader = make_loader(text.training, shuffle=True, drop_last=True, seed=0)
    batches = itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), args.steps)
    model, loss_fn = CharacterModel(len(text.vocabulary)), SoftmaxCrossEntropyLoss()
    there, loss_there = TorchModel(model), torch.nn.CrossEntropyLoss()
    optimizer = Adam(model.parameters, lr=LR)
    optimizer_there = torch.optim.Adam(there.parameters(), lr=LR)
    seconds, losses = {"nn": 0.0, "PyTorch": 0.0}, {"nn": [], "PyTorch": []}
    for step, (inputs, targets) in enumerate(batches, 1):
        start = time.process_time()
        loss = loss_fn(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        clip_gradients_by_norm(model.parameters, 1.0)
        optimizer.step()
        losses["nn"].append(loss.item())
        middle = time.process_time()
        inputs, targets = (torch.from_numpy(x.numpy()) for x in (inputs, targets))
        loss = loss_there(there(inputs).flatten(0, 1), targets.flatten())
        optimizer_there.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(there.parameters(), 1.0)
        optimizer_there.step()
        losses["PyTorch"].append(loss.item())
        if step > 3:  # kernels are compiled, memory has been asked for
            seconds["nn"] += middle - start
            seconds["PyTorch"] += time.process_time() - middle
        if step % 100 == 0:
            shown = ", ".join(
                f"{name} loss {np.mean(losses[name][-100:]):.4f} in {seconds[name]:.1f} s"
                for name in losses
            )
            ratio = seconds["nn"] / seconds["PyTorch"]
            print(f"step {step:5}  {shown}  ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
