"""Names that PyTorch and Keras use for what has another name here: errors give ours."""

import sys

__all__ = ["keyword_hint", "missing_name"]

# An argument of another library, one that the functions have that are meant, and what to do here.
_ARGUMENTS = (
    ("dataset", "data", "it is data"),
    ("lengths", "fractions", "it is fractions"),
    ("collate_fn", "collate", "it is collate"),
    ("num_workers", "workers", "it is workers"),
    ("prefetch_factor", "prefetch", "it is prefetch"),
    ("generator", "seed", "it is seed, an integer"),
    ("random_state", "seed", "it is seed"),
    ("worker_init_fn", "seed", "it is not needed: batches depend on the seed alone"),
    ("persistent_workers", "workers", "it is not needed: workers are threads"),
    ("multiprocessing_context", "workers", "it is not needed: workers are threads"),
    ("pin_memory", "convert", "it is convert, such as convert=lambda x: Tensor(x, device='cuda')"),
    ("padding_value", "value", "it is value"),
    ("test_size", "fractions", "it is fractions, such as (0.8, 0.2)"),
    ("train_size", "fractions", "it is fractions, such as (0.8, 0.2)"),
    ("shuffle", "fractions", "it is not needed: split always draws at random"),
)


def keyword_hint(name: str, known: list[str]) -> str:
    """Return what an error says of an argument of another library; empty for nothing.

    >>> keyword_hint("collate_fn", ["data", "collate"])
    ': here it is collate'
    """
    for there, needed, advice in _ARGUMENTS:
        if there == name and needed in known:
            return f": here {advice}"
    return ""


def missing_name(name: str, table: str) -> Exception:
    """Return the error for a name that nn_data lacks, for its ``__getattr__`` to raise.

    ``from nn_data import name`` hides the message of an AttributeError: it gets an ImportError.

    Args:
        name: the name.
        table: entries ``name=here``, separated by semicolons.

    >>> missing_name("DataLoader", "DataLoader=Loader; Dataset=Source")
    AttributeError("module 'nn_data' has no attribute 'DataLoader'; here it is Loader")
    """
    entries = (entry.strip().partition("=") for entry in table.split(";"))
    here = next((here for there, _, here in entries if there == name), None)
    hint = f"; here it is {here}" if here else ""
    if here and sys._getframe(2).f_code.co_name == "_handle_fromlist":  # of importlib
        return ImportError(f"cannot import name {name!r} from 'nn_data'{hint}", name="nn_data")
    return AttributeError(f"module 'nn_data' has no attribute {name!r}{hint}")
