"""Text files, whole or line by line."""

from __future__ import annotations

from nn_data._checks import keyword_only
from nn_data._readers._files import PathLike, decoded_text

__all__ = ["read_lines", "read_text"]


@keyword_only
def read_text(path: PathLike, *, encoding: str = "utf-8") -> str:
    r"""Return the content of a text file, plain or compressed with gzip.

    Line endings ``\r\n`` and ``\r`` become ``\n``; a byte order mark is left out.

    Args:
        path: the path of the file.
        encoding: the encoding of the text.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not text in this encoding, or a damaged gzip file; it names the file.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "text.txt")
    ...     _ = path.write_bytes(b"To be,\r\nor not to be\r\n")
    ...     read_text(path)
    'To be,\nor not to be\n'
    """
    return decoded_text(path, encoding).replace("\r\n", "\n").replace("\r", "\n")


@keyword_only
def read_lines(path: PathLike, *, encoding: str = "utf-8") -> list[str]:
    r"""Return the lines of a text file, plain or compressed with gzip, without their endings.

    Lines end with ``\n``, ``\r\n`` or ``\r`` and nothing else, so that the lines of two files that
    belong together stay together: ``str.splitlines`` splits at rarer characters too.

    Args:
        path: the path of the file.
        encoding: the encoding of the text.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not text in this encoding, or a damaged gzip file; it names the file.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "text.txt")
    ...     _ = path.write_text("To be,\nor not to be\n")
    ...     read_lines(path)
    ['To be,', 'or not to be']
    """
    text = read_text(path, encoding=encoding)
    return text.removesuffix("\n").split("\n") if text else []
