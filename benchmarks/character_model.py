"""Training of the language model of docs/examples/shakespeare.py, compared with PyTorch.

Both start from the same weights and train on the same batches, in turns of a hundred steps. The
text is that of the example:

    python benchmarks/character_model.py tinyshakespeare.txt

It prints the time of all steps, the validation loss, and the ratio of the times.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs" / "examples"))

import shakespeare
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import clip_gradients_by_norm
from nn_tensor import Tensor, reuse_memory

TURN = 100


class NNTraining:
    """The model and training step of the example."""

    name = "nn"

    def __init__(self, vocab_size, steps, seed):
        self.model = shakespeare.make_model(vocab_size, seed)
        self.optimizer, self.schedule = shakespeare.make_optimizer(self.model, steps)
        self.loss_fn = SoftmaxCrossEntropyLoss()
        self.parameters = self.model.parameters

    def step(self, inputs, targets):
        """Make a step; return the loss."""
        loss = self.loss_fn(self.model(Tensor(inputs)), Tensor(targets))
        self.optimizer.zero_grad()
        loss.backward()
        clip_gradients_by_norm(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()
        return loss.item()

    def losses(self, inputs, targets):
        """Return the mean loss."""
        with self.model.no_grad():
            return self.loss_fn(self.model(Tensor(inputs)), Tensor(targets)).item()


class TorchTraining:
    """The same in PyTorch."""

    def __init__(self, torch, source, schedule, fused):
        self.torch, self.schedule = torch, schedule
        self.name = "PyTorch, fused AdamW" if fused else "PyTorch"
        self.model = make_torch_model(torch, source)
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=fused)
        self.count = 0

    def loss(self, inputs, targets):
        logits = self.model(self.torch.from_numpy(inputs))
        return self.torch.nn.functional.cross_entropy(
            logits.view(-1, logits.shape[-1]), self.torch.from_numpy(targets).view(-1)
        )

    def step(self, inputs, targets):
        """Make a step; return the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule[self.count]
        self.count += 1
        loss = self.loss(inputs, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def losses(self, inputs, targets):
        """Return the mean loss."""
        with self.torch.no_grad():
            return self.loss(inputs, targets).item()


def make_torch_model(torch, source):
    """Return the PyTorch model with the weights of `source`."""
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, d_model, heads):
            super().__init__()
            self.heads = heads
            self.attention_norm, self.feed_forward_norm = (
                nn.LayerNorm(d_model, bias=False) for _ in range(2)
            )
            self.project = nn.Linear(d_model, 3 * d_model, bias=False)
            self.output = nn.Linear(d_model, d_model, bias=False)
            self.hidden = nn.Linear(d_model, 4 * d_model, bias=False)
            self.feed_forward_output = nn.Linear(4 * d_model, d_model, bias=False)

        def forward(self, x):
            batch, length, width = x.shape
            parts = self.project(self.attention_norm(x)).split(width, dim=2)
            shape = (batch, length, self.heads, width // self.heads)
            query, key, value = (part.view(shape).transpose(1, 2) for part in parts)
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + self.output(mixed.transpose(1, 2).contiguous().view(batch, length, width))
            return x + self.feed_forward_output(
                functional.gelu(self.hidden(self.feed_forward_norm(x)))
            )

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(source.vocab_size, source.d_model)
            self.positions = nn.Embedding(source.max_seq_len, source.d_model)
            heads = source.layers[0].attention.num_heads
            self.blocks = nn.ModuleList(Block(source.d_model, heads) for _ in source.layers)
            self.final_norm = nn.LayerNorm(source.d_model, bias=False)

        def forward(self, tokens):
            x = self.tokens(tokens) + self.positions(
                torch.arange(tokens.shape[1], device=tokens.device)
            )
            for block in self.blocks:
                x = block(x)
            return functional.linear(self.final_norm(x), self.tokens.weight)

    model = Model()

    def copy(parameter, array):
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))

    with torch.no_grad():
        copy(model.tokens.weight, source.embedding.weights.data)
        copy(model.positions.weight, source.positions.weights.data)
        for block, layer in zip(model.blocks, source.layers, strict=True):
            attention = layer.attention
            projections = (attention.query, attention.key, attention.value)
            copy(block.project.weight, np.concatenate([p.weights.data.T for p in projections]))
            copy(block.output.weight, attention.output.weights.data.T)
            copy(block.hidden.weight, layer.feed_forward.hidden.weights.data.T)
            copy(block.feed_forward_output.weight, layer.feed_forward.output.weights.data.T)
    return model


def learning_rates(steps, seed, vocab_size):
    """Return the learning rate of each step, as the example's schedule sets it."""
    optimizer, schedule = shakespeare.make_optimizer(
        shakespeare.make_model(vocab_size, seed), steps
    )
    found = []
    for _ in range(steps):
        found.append(optimizer.groups[0]["lr"])
        schedule.step()
    return found


def contiguous(tokens):
    """Return the contiguous array of a Tensor: PyTorch's must be one."""
    return np.ascontiguousarray(tokens.data)


def validation_loss(training, tokens):
    """Return the mean loss over the validation set."""
    total = count = 0
    for inputs, targets in shakespeare.make_loader(tokens, shakespeare.CONTEXT_LENGTH, 64):
        total += len(inputs) * training.losses(contiguous(inputs), contiguous(targets))
        count += len(inputs)
    return total / count


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--fresh-memory", action="store_true", help="without reuse_memory()")
    args = parser.parse_args()
    if not args.fresh_memory:
        reuse_memory()  # of the whole process: PyTorch has it too
    text = shakespeare.Text(args.text)
    count = len(text.vocabulary)
    trainings = [NNTraining(count, args.steps, args.seed)]
    try:
        import torch
    except ModuleNotFoundError:
        print("PyTorch is not installed: no comparison with it")
    else:
        schedule = learning_rates(args.steps, args.seed, count)
        trainings += [
            TorchTraining(torch, trainings[0].model, schedule, fused) for fused in (False, True)
        ]
    loader = shakespeare.make_loader(text.training, shuffle=True, drop_last=True, seed=args.seed)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    times = {training.name: [] for training in trainings}
    for start in range(0, args.steps, TURN):
        count = min(TURN, args.steps - start)
        turn = [[contiguous(x) for x in pair] for pair in itertools.islice(batches, count)]
        for training in trainings:
            begin = time.perf_counter()
            losses = [training.step(*pair) for pair in turn]
            times[training.name].append(time.perf_counter() - begin)
            if start == 0:
                print(f"{training.name}: losses of the first steps {np.round(losses[:3], 5)}")
    for training in trainings:
        spent = times[training.name]
        each = statistics.median(spent) / TURN * 1e3
        ratio = statistics.median(a / b for a, b in zip(times["nn"], spent, strict=True))
        print(
            f"{training.name:<22} {sum(spent):6.1f} s, {each:5.1f} ms per step, validation loss "
            f"{validation_loss(training, text.validation):.4f}, nn takes {ratio:.2f} of its time"
        )


if __name__ == "__main__":
    main()
