"""The one error of unreadable content."""


class FileFormatError(ValueError):
    """The content of a file is damaged, hostile or of another kind; the message names the file.

    >>> issubclass(FileFormatError, ValueError)
    True
    """


def short(text: str) -> str:
    """A key as it stands in a message, which a hostile file must not make endless."""
    return repr(text if len(text) <= 100 else text[:97] + "...")
