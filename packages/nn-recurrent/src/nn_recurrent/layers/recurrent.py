"""`RecurrentLayer`: stacks of cells over whole sequences, in one or both directions."""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar, Self

import numpy as np
from nn_layers import Base_Layer
from nn_layers.ops.dropout import dropout
from nn_tensor import Tensor, concatenate, ones, random_generator, stack
from nn_tensor.extend import check_bool, check_integer, check_probability, describe

from nn_recurrent.layers.cell import RecurrentCell, as_floating, check_state
from nn_recurrent.layers.lengths import read_lengths
from nn_recurrent.ops.packing import Packing

__all__ = ["RecurrentLayer"]


class RecurrentLayer(Base_Layer, ABC):
    """A stack of layers of cells over a batch of sequences; the base of `LSTM`, `GRU`, `RNN`."""

    cell: ClassVar[type[RecurrentCell]]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bidirectional: bool,
        reverse: bool,
        dropout: float,
        recurrent_dropout: float,
        rng: np.random.Generator | int | None,
        name: str | None,
        options: dict[str, Any],
    ) -> None:
        super().__init__()
        self.num_layers: int = check_integer("num_layers", num_layers, 1)
        self.bidirectional: bool = check_bool("bidirectional", bidirectional)
        self.reverse: bool = check_bool("reverse", reverse)
        if bidirectional and reverse:
            raise ValueError("reverse: a bidirectional layer processes both; leave out one")
        self.dropout: float = check_probability("dropout", dropout)
        self.recurrent_dropout: float = check_probability("recurrent_dropout", recurrent_dropout)
        if self.dropout and self.num_layers == 1:
            raise ValueError(
                "dropout: acts between layers, and num_layers is 1; put nn_layers.Dropout after it"
            )
        self.rng: np.random.Generator = random_generator(rng)
        self.name = name
        self._options = {
            **options,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "reverse": self.reverse,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
        }
        directions = ["forward", "backward"] if bidirectional else ["forward"]
        if reverse:
            directions = ["backward"]
        self.layers: list[dict[str, RecurrentCell]] = []
        size = input_size
        for _ in range(self.num_layers):
            cells = {
                direction: self.cell(size, hidden_size, rng=self.rng, **options)
                for direction in directions
            }
            self.layers.append(cells)
            size = sum(cell.output_size for cell in cells.values())

    @property
    def _cells(self) -> list[RecurrentCell]:
        return [cell for cells in self.layers for cell in cells.values()]

    @property
    def input_size(self) -> int:
        """The number of features of the input."""
        return self._cells[0].input_size

    @property
    def hidden_size(self) -> int:
        """The number of units of each layer and direction."""
        return self._cells[0].hidden_size

    @property
    def output_size(self) -> int:
        """The number of features of the output."""
        return sum(cell.output_size for cell in self.layers[-1].values())

    @property
    def device(self) -> str:
        """The device of the parameters."""
        return self._cells[0].device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters."""
        return self._cells[0].dtype

    def like(self, **options: Any) -> Self:
        """Return a new layer of the same sizes and options, with other weights.

        Args:
            options: options that differ, `rng` for example.
        """
        given = {"device": self.device, "dtype": self.dtype, "name": self.name}
        return type(self)(
            self.input_size, self.hidden_size, **{**self._options, **given, **options}
        )

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        """Return the outputs of all steps, and the state after the last step of each sequence.

        Args:
            x: ``(batch, time, input_size)``.
            state: the initial state, of the form of the returned one; zeros by default.
            lengths: the length of each sequence, in any order: integers as a list, array or Tensor,
                or a boolean mask ``(batch, time)`` that is False at the padding on the right. Steps
                after the end of a sequence are never read, so they may be NaN.

        Raises:
            ValueError: if a shape does not fit, or a length is out of range.
            TypeError: if `x` or a state is not floating, or a length not an integer.
        """
        x = x if isinstance(x, Tensor) else Tensor(x)
        if x.ndim != 3:
            raise ValueError(
                f"input has {x.ndim} dimensions, expected 3: (batch, time, features) (its shape "
                f"is {x.shape})"
            )
        batch, time, features = x.shape
        if features != self.input_size:
            raise ValueError(
                f"input has {features} features, expected {self.input_size} (its shape is "
                f"{x.shape})"
            )
        x = as_floating(x, self.dtype)
        counts = None if lengths is None else read_lengths(lengths, batch, time)
        states = self._initial_states(state, batch)
        packing = Packing(batch, time, counts, x.device)
        rows = packing.pack(x)
        finals: list[list[Tensor]] = []
        for index, cells in enumerate(self.layers):
            if index and self.training and self.dropout:
                rows = dropout(rows, self.dropout, self.rng)
            outputs = []
            for direction, cell in cells.items():
                initial = [packing.sort(s) for s in states[len(finals)]]
                backward = direction == "backward"
                given = packing.reverse(rows) if backward else rows
                mask = self._mask(cell, packing)
                output, *final = cell.run(given, initial, packing.steps, mask)
                outputs.append(packing.reverse(output) if backward else output)
                finals.append([packing.unsort(s) for s in final])
            rows = outputs[0] if len(outputs) == 1 else concatenate(outputs, axis=1)
        stacked = tuple(stack(list(parts)) for parts in zip(*finals, strict=True))
        return packing.unpack(rows), stacked[0] if len(stacked) == 1 else stacked

    def _mask(self, cell: RecurrentCell, packing: Packing) -> Any:
        if not (self.training and self.recurrent_dropout):
            return 1.0
        shape = packing.batch, cell.output_size
        kept = ones(*shape, dtype=cell.dtype, device=cell.device)
        return packing.sort(dropout(kept, self.recurrent_dropout, self.rng))

    def _initial_states(self, state: Any, batch: int) -> list[list[Tensor]]:
        """Return for each layer and direction the initial states."""
        cells, names = self._cells, self.cell.states
        if state is None:
            return [cell.initial_states(batch) for cell in cells]
        if len(names) == 1:
            given: Any = [state]
        elif isinstance(state, (tuple, list)) and len(state) == len(names):
            given = state
        else:
            raise ValueError(f"state: expected a tuple ({', '.join(names)}), got {describe(state)}")
        tensors = [
            check_state(f"state: {name}", one, (len(cells), batch, size), self.dtype)
            for name, one, size in zip(names, given, cells[0].state_sizes, strict=True)
        ]
        return [[tensor[k] for tensor in tensors] for k in range(len(cells))]

    def extra_repr(self) -> str:
        """Return the sizes and options."""
        parts = [self._cells[0].extra_repr()]
        if self.num_layers > 1:
            parts.append(f"num_layers={self.num_layers}")
        parts += [f"{name}=True" for name in ("bidirectional", "reverse") if getattr(self, name)]
        parts += [
            f"{name}={getattr(self, name):g}"
            for name in ("dropout", "recurrent_dropout")
            if getattr(self, name)
        ]
        return ", ".join(parts)
