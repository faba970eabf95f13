"""`RecordedSession`: decoding in which the step of one token is recorded once and replayed.

The shapes of a step are constant while rows are decoded: the buffer of the KV cache does not grow,
and rows that have ended stay in the batch until half of it has. A program belongs to a model and
to these shapes, and serves later calls; sizes are rounded up, so that few programs serve many
prompts.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import (
    array_module,
    array_of,
    check_bool,
    current_modes,
    device_of,
    device_scope,
    new_tensor,
    put,
)

from nn_transformer.decoding.prompts import GenerativeModel, Prompts
from nn_transformer.decoding.session import DecodingSession
from nn_transformer.models.transformer import Transformer
from nn_transformer.modules.static_kv_cache import (
    StaticDecoderCache,
    count_position,
    new_state,
    selected_state,
)

__all__ = ["RecordedSession", "check_jit", "new_session"]

_MOST = 8  # programs of a model, each of which keeps a KV cache
_LEAST = 32  # positions in a buffer
_ATTRIBUTE = "_recorded_steps"

Step = Callable[..., Tensor]


def _require_jit() -> Any:
    """Return `nn_jit.jit`.

    Raises:
        ModuleNotFoundError: if nn-jit is not installed, with the line that installs it.
    """
    try:
        from nn_jit import jit
    except ModuleNotFoundError as error:
        if error.name != "nn_jit":
            raise
        raise ModuleNotFoundError(
            "jit=True needs nn_jit: pip install 'nn-transformer[jit]'", name=error.name
        ) from None
    return jit


def check_jit(jit: bool, use_cache: bool) -> None:
    """Check the options, and that nn-jit is there if it is needed."""
    if check_bool("jit", jit):
        if not use_cache:
            raise ValueError("jit: a step is recorded with a KV cache, expected use_cache=True")
        _require_jit()


def new_session(
    model: GenerativeModel, prompts: Prompts, use_cache: bool, jit: bool
) -> DecodingSession:
    """Return the session that the options ask for; `autocast` casts weights as no program does."""
    if jit and current_modes()[2] is None:
        return RecordedSession(model, prompts)
    return DecodingSession(model, prompts, use_cache)


class _RecordedSteps:
    """The steps of a model by the shapes of their arguments; copies and pickles have none."""

    def __init__(self, model: GenerativeModel | None = None) -> None:
        self.steps: OrderedDict[Any, Step] = OrderedDict()
        self._owner = (lambda: None) if model is None else weakref.ref(model)
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return _RecordedSteps, ()

    @classmethod
    def of(cls, model: GenerativeModel) -> _RecordedSteps:
        """Return the steps of a model, which a copy of it may share the attribute with."""
        found: Any = vars(model).get(_ATTRIBUTE)
        if found is None or found._owner() is not model:
            found = vars(model)[_ATTRIBUTE] = cls(model)
        steps: _RecordedSteps = found
        return steps

    def get(self, model: GenerativeModel, key: Any) -> Step:
        """Return the step for some shapes, and forget the one that was used least lately."""
        with self._lock:
            step = self.steps.get(key)
            if step is None:
                step = self.steps[key] = _require_jit()(_make_step(model))
                if len(self.steps) > _MOST:
                    self.steps.popitem(last=False)
            self.steps.move_to_end(key)
        return step


def _make_step(model: GenerativeModel) -> Step:
    def token_step(tokens: Tensor, state: Tensor, buffer: Tensor, *memory: Tensor) -> Tensor:
        cache = StaticDecoderCache(state, buffer, *memory)
        if isinstance(model, Transformer):
            # the cache has the keys and values of the encoder's output, which is not read
            logits = model.decode(tokens, buffer[0, :1, 0], None, None, cache)
        else:
            logits = model(tokens, cache=cache)
        return logits.reshape(tokens.shape[0], -1)

    return token_step


def _round_up(size: int) -> int:
    return max(_LEAST, 1 << (size - 1).bit_length())


class RecordedSession(DecodingSession):
    """A session whose steps of one token are recorded and replayed by nn-jit.

    The prompt is processed as in a `DecodingSession`, and so is what is done with the logits. The
    numbers that change from token to token (the length of the cache, and with it the positions)
    are in an array that the program reads anew.
    """

    def __init__(self, model: GenerativeModel, prompts: Prompts) -> None:
        super().__init__(model, prompts, use_cache=True)
        longest = prompts.tokens.shape[1] + prompts.max_new_tokens
        self._capacity = min(model.max_seq_len, _round_up(longest))
        self._arguments: list[Tensor] = []  # of the step, after the tokens
        self._step: Step | None = None
        self._on_host = model.device == "cpu"
        self._rows = 0  # of the batch that is computed; those at its end may have ended

    def step(self, tokens: np.ndarray) -> Tensor:
        """Return the logits ``(rows, vocab_size)`` of the token after ``(rows, new)`` tokens."""
        assert self._cache is not None
        if not self._arguments:
            if not self._cache.length:
                return super().step(tokens)
            self._fill(len(tokens))
        rows = len(tokens)
        if rows < self._rows:
            tokens = np.concatenate([tokens, np.zeros((self._rows - rows, 1), tokens.dtype)])
        if self._step is None:
            steps = _RecordedSteps.of(self._model)
            self._step = steps.get(self._model, tuple(x.shape for x in self._arguments))
        ids = new_tensor(tokens) if self._on_host else Tensor(tokens, device=self._model.device)
        logits = self._step(ids, *self._arguments)
        count_position(array_of(self._arguments[0]))
        return logits if rows == self._rows else logits[:rows]

    def _fill(self, rows: int) -> None:
        """Move the KV cache into buffers of constant shape."""
        cache = self._cache
        assert cache is not None
        self._rows = rows
        stored = [tuple(layer.stored()) for layer in cache.layers]
        memory, sources = [], 0
        if self._memory is not None:
            kept = [[x.data for x in layer.memory_kv or ()] for layer in cache.layers]
            sources = kept[0][0].shape[-2]
            memory.append(_with_room(kept, _round_up(sources)))
            if self._memory_mask is not None:
                mask = self._memory_mask.data[..., None]  # as with one feature
                memory.append(_with_room([[mask]], _round_up(sources))[0, 0, ..., 0])
        state = Tensor(new_state(cache.length, sources, cache.padding), device="cpu")
        buffer = _with_room(stored, self._capacity)
        self._arguments = [state, *map(Tensor, (buffer, *memory))]
        for layer in cache.layers:
            layer.truncate(0)  # so that its memory is free

    def select(self, rows: np.ndarray, same_sources: bool = False) -> None:
        """Keep these rows, in this order; see `DecodingSession.select`."""
        if not self._arguments:
            super().select(rows, same_sources)
            return
        size = self._rows
        while len(rows) <= size // 2:
            size -= size // 2
        size = max(size, len(rows))
        index = np.concatenate([rows, np.full(size - len(rows), rows[0])])
        state, *others = self._arguments
        length, _, sources, *_ = state.data.tolist()
        self._arguments[0] = Tensor(selected_state(state.data, index), device="cpu")
        # the buffer, the encoder's output, and its mask: where they have the rows, and how many
        # positions of them are used
        for n, (x, axis, used) in enumerate(
            zip(others, (2, 2, 0), (length, sources, None), strict=False), start=1
        ):
            if n == 1 or not (same_sources or x.shape[axis] == 1):
                self._arguments[n] = Tensor(_selected(x.data, axis, index, used))
        if size != self._rows:
            self._rows, self._step = size, None


def _with_room(pairs: Sequence[Sequence[Any]], length: int) -> Any:
    """Return keys and values of all layers, ``(..., positions, features)``, in one longer array."""
    first = pairs[0][0]
    with device_scope(first):
        shape = (len(pairs), len(pairs[0]), *first.shape[:-2], length, first.shape[-1])
        out = array_module(first).zeros(shape, first.dtype)
        for n, pair in enumerate(pairs):
            for i, part in enumerate(pair):
                out[n, i, ..., : part.shape[-2], :] = part
    return out


def _selected(x: Any, axis: int, rows: np.ndarray, used: int | None) -> Any:
    """Return these rows of an array, along the axis before the last of its first `used` places."""
    with device_scope(x):
        index = put(rows, device_of(x))
        shape = (*x.shape[:axis], len(rows), *x.shape[axis + 1 :])
        out = array_module(x).empty(shape, x.dtype)
        part = (..., slice(used), slice(None))
        out[part] = x[part].take(index, axis=axis)
    return out
