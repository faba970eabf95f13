"""`FileFormatError`, the one error of unreadable content."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["FileFormatError", "prefixed", "shorten"]


class FileFormatError(ValueError):
    """The content of a file is damaged, hostile or in another format; the message names the file.

    >>> issubclass(FileFormatError, ValueError)
    True
    """


@contextmanager
def prefixed(subject: Callable[[], str]) -> Iterator[None]:
    """Put ``subject()`` in front of the message of a `FileFormatError` that the block raises."""
    try:
        yield
    except FileFormatError as error:
        raise FileFormatError(f"{subject()} {error}") from error.__cause__


def shorten(text: str) -> str:
    """Return a key for a message, which a hostile file must not make endless."""
    return repr(text if len(text) <= 100 else text[:97] + "...")
