"""Names that PyTorch, Keras and NumPy use for what has another name here: errors give ours.

A table is one string of entries ``name=here``, separated by semicolons; it is read only when a name
is missing. Type checkers do not see it, so to them such a name is an error as any other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["keyword_here", "missing_name", "name_here", "names_elsewhere"]

T = TypeVar("T", bound=type[Any])

# Only where the function has an argument of the second name.
_KEYWORDS = """
    dim=axis; dims=axes; dims=axis; keepdim=keepdims; dim0=axis1; dim1=axis2;
    unbiased=ddof; correction=ddof; size=shape; eps=epsilon; generator=rng; seed=rng;
    in_features=input_size; out_features=output_size; units=output_size; filters=out_channels;
    strides=stride; use_bias=bias; kernel_initializer=initialization; negative_slope=alpha;
    num_embeddings=vocab_size; embedding_dim=d_model; embed_dim=d_model; nhead=num_heads;
    dim_feedforward=d_ff; learning_rate=lr; params=parameters; factor=gamma
"""


def name_here(name: str, table: str) -> str | None:
    """Return what a table says of a name, None where it says nothing."""
    entries = (entry.strip().partition("=") for entry in table.split(";"))
    return next((here for there, _, here in entries if there == name), None)


def keyword_here(name: str, known: Any) -> str | None:
    """Return which of the arguments `known` another library calls `name`."""
    entries = (entry.strip().partition("=") for entry in _KEYWORDS.split(";"))
    return next((here for there, _, here in entries if there == name and here in known), None)


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
