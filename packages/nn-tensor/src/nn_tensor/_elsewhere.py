"""Names that PyTorch, Keras and NumPy use for what has another name here: errors give ours.

A table is one string of entries ``name=here``, separated by semicolons; it is read only when a name
is missing. Type checkers do not see it, so to them such a name is an error as any other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["keyword_hint", "missing_name", "name_here", "names_elsewhere"]

T = TypeVar("T", bound=type[Any])

# Only where the function has an argument of the second name.
_KEYWORDS = """
    dim=axis; dims=axes; dims=axis; keepdim=keepdims; dim0=axis1; dim1=axis2;
    unbiased=ddof; correction=ddof; size=shape; eps=epsilon; generator=rng; seed=rng;
    in_features=input_size; out_features=output_size; units=output_size; filters=out_channels;
    strides=stride; use_bias=bias; kernel_initializer=initialization; negative_slope=alpha;
    num_embeddings=vocab_size; embedding_dim=d_model; embed_dim=d_model; nhead=num_heads;
    dim_feedforward=d_ff; learning_rate=lr; params=parameters; factor=gamma;
    units=hidden_size; proj_size=projection; merge_mode=merge; restore_best_weights=restore;
    filepath=folder; dirpath=folder; save_freq=every_steps; period=every; every_n_epochs=every;
    every_n_train_steps=every_steps; save_top_k=keep; max_to_keep=keep; scheduler=schedule;
    lr_scheduler=schedule; criterion=loss; loss_fn=loss; gradient_clip_val=clip_norm;
    max_grad_norm=clip_norm; global_clipnorm=clip_norm; accumulate_grad_batches=accumulate;
    gradient_accumulation_steps=accumulate; validation_data=validation; val_data=validation;
    max_epochs=epochs; num_epochs=epochs; ckpt_path=resume; verbose=progress
"""

# What has no counterpart of one name: the argument of another library, an argument of the functions
# that are meant, and what to do here.
_WITHOUT_COUNTERPART = (
    ("batch_first", "hidden_size", "the batch always comes first"),
    ("batch_first", "num_heads", "the batch always comes first"),
    ("return_sequences", "hidden_size", "a layer returns all outputs and the last state"),
    ("return_state", "hidden_size", "a layer returns all outputs and the last state"),
    ("betas", "beta1", "give beta1 and beta2"),
    ("save_best_only", "best", "give best='val_loss', or the name of another column"),
    ("initial_epoch", "resume", "give resume=folder of a Checkpoint"),
    ("inplace", "name", "layers never change their input"),
)


def name_here(name: str, table: str) -> str | None:
    """Return what a table says of a name, None where it says nothing."""
    entries = (entry.strip().partition("=") for entry in table.split(";"))
    return next((here for there, _, here in entries if there == name), None)


def keyword_here(name: str, known: Any) -> str | None:
    """Return which of the arguments `known` another library calls `name`."""
    entries = (entry.strip().partition("=") for entry in _KEYWORDS.split(";"))
    return next((here for there, _, here in entries if there == name and here in known), None)


def keyword_hint(name: str, known: Any) -> str:
    """Return what an error says of the argument `name` of another library; empty for nothing.

    Args:
        name: the argument that was given.
        known: the arguments that the function has.

    >>> keyword_hint("dim", ["x", "axis"])
    "; 'dim' is 'axis' here"
    >>> keyword_hint("batch_first", ["input_size", "hidden_size"])
    '; here the batch always comes first'
    """
    if here := keyword_here(name, known):
        return f"; {name!r} is {here!r} here"
    for there, needed, advice in _WITHOUT_COUNTERPART:
        if there == name and needed in known:
            return f"; here {advice}"
    return ""


def missing_name(module: str, name: str, table: str) -> Exception:
    """Return the error for a name that a module lacks, for the module's ``__getattr__`` to raise.

    ``from module import name`` hides the message of an AttributeError: it gets an ImportError.

    >>> from nn_tensor.extend import missing_name
    >>> missing_name("nn_tensor", "cat", "cat=concatenate; mm=matmul")
    AttributeError("module 'nn_tensor' has no attribute 'cat'; here it is concatenate")
    """
    here = name_here(name, table)
    hint = f"; here it is {here}" if here else ""
    if here and sys._getframe(2).f_code.co_name == "_handle_fromlist":  # of importlib
        return ImportError(f"cannot import name {name!r} from {module!r}{hint}", name=module)
    return AttributeError(f"module {module!r} has no attribute {name!r}{hint}")


class _Elsewhere:
    """An attribute that is not there, under the name that another library has for it."""

    def __init__(self, name: str, here: str) -> None:
        self.name, self.here = name, here

    def __get__(self, instance: Any, owner: type) -> Any:
        raise AttributeError(
            f"{owner.__name__!r} object has no attribute {self.name!r}; here it is {self.here}"
        )


def names_elsewhere(table: str) -> Callable[[T], T]:
    """Let a missing attribute of the decorated class name what is meant; nothing becomes slower.

    Attributes of the same name, of a subclass or of an object, win.

    >>> from nn_tensor.extend import names_elsewhere
    >>> @names_elsewhere("cuda=set_device('cuda')")
    ... class Model:
    ...     pass
    >>> Model().cuda()
    Traceback (most recent call last):
        ...
    AttributeError: 'Model' object has no attribute 'cuda'; here it is set_device('cuda')
    """

    def decorate(cls: T) -> T:
        for entry in table.split(";"):
            name, _, here = entry.strip().partition("=")
            setattr(cls, name, _Elsewhere(name, here))
        return cls

    return decorate
