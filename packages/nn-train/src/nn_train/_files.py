"""A run as one file of nn-io: what is saved, and what is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nn_tensor.extend import METADATA_KEY

from nn_train._optional import require
from nn_train._protocols import HasState

__all__ = ["checkpoint_files", "resume", "save"]

_NAME = re.compile(r"step-(\d{8,})\.safetensors")


def checkpoint_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the checkpoints in a folder, the newest last."""
    if not os.path.isdir(folder):
        return []
    found = [
        (match, path) for path in Path(folder).iterdir() if (match := _NAME.fullmatch(path.name))
    ]
    return [path for match, path in sorted(found, key=lambda pair: int(pair[0][1]))]


def save(trainer: Any, path: str | os.PathLike[str]) -> None:
    """Write the run to a file, all of it or nothing."""
    states = _states(trainer)
    require("nn_io", "files", "a checkpoint").save_checkpoint(
        path, step=trainer.steps, parts=_parts(trainer, states), **states
    )


def resume(trainer: Any, place: str | os.PathLike[str]) -> bool:
    """Load the newest checkpoint of a folder, or a file; False if the folder has none.

    Raises:
        ValueError: saying what differs, if it is of another run; then nothing is changed.
        FileNotFoundError: for a file that is not there.
    """
    path = Path(place)
    if path.suffix != ".safetensors":
        files = checkpoint_files(path)
        if not files:
            return False
        path = files[-1]
    states = _states(trainer)
    require("nn_io", "files", "resume").load_checkpoint(
        path, parts=_parts(trainer, states), **states
    )
    return True


def _states(trainer: Any) -> dict[str, Any]:
    """Return what nn-io has arguments for."""
    given = {
        "model": trainer.model,
        "optimizer": trainer.optimizer,
        "schedule": trainer.schedule,
        "loader": trainer.data if isinstance(trainer.data, HasState) else None,
    }
    return {name: part for name, part in given.items() if part is not None}


def _parts(trainer: Any, states: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rest, by names that are the same in every process."""
    parts: dict[str, Any] = {}
    for callback in trainer.callbacks:
        if isinstance(callback, HasState):
            kind = type(callback).__name__
            number = sum(name.partition("#")[0] == kind for name in parts) + 1
            parts[kind if number == 1 else f"{kind}#{number}"] = callback
    run = _Run(trainer, sorted([*states, *parts]))
    # First: it is the one that says what differs.
    return {"run": run, "history": trainer.history, **parts}


class _Run:
    """Where the run is, and what must be the same when it goes on."""

    def __init__(self, trainer: Any, names: list[str]) -> None:
        self._trainer = trainer
        self._same = {
            "accumulate": trainer.accumulate,
            "clip_norm": trainer.clip_norm,
            "loss": _kind(trainer.loss),
            "optimizer": _kind(trainer.optimizer),
            "metrics": list(trainer.metrics),
            "schedule_every": trainer.schedule_every,
            "sample_weight": trainer.sample_weight or None,
            "class_weight": trainer.class_weight and trainer.class_weight.numbers(),
            "what is saved": names,
        }

    def state_dict(self) -> dict[str, Any]:
        trainer = self._trainer
        position = {
            "steps": trainer.steps,
            "epoch": trainer.epoch,
            "batches_done": trainer.batches_done,
            "epoch_over": trainer.epoch_over,
        }
        return {
            **trainer.running.state_dict(),
            METADATA_KEY: {"same": self._same, "position": position},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        metadata = state[METADATA_KEY]
        saved = metadata["same"]
        names = [*saved, *(name for name in self._same if name not in saved)]
        differing = [
            f"{name} was {saved.get(name)!r}, is {self._same.get(name)!r}"
            for name in names
            if saved.get(name) != self._same.get(name)
        ]
        if differing:
            raise ValueError(f"resume: the saved run differs: {'; '.join(differing)}")
        trainer, position = self._trainer, metadata["position"]
        sums = {k: v for k, v in state.items() if k != METADATA_KEY}
        trainer.running.load_state_dict(sums)
        trainer.steps, trainer.epoch = position["steps"], position["epoch"]
        trainer.batches_done = position["batches_done"]
        trainer.epoch_over = position["epoch_over"]


def _kind(part: Any) -> str:
    named = getattr(part, "__qualname__", None)
    return str(named or type(part).__qualname__)
