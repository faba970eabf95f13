"""A folder of images, one folder for each class."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_choice, check_size, keyword_only
from nn_data._readers._files import PathLike
from nn_data._sources import ItemSource

__all__ = ["ImageFolder"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


class ImageFolder(ItemSource):
    """Images in folders that are named after their classes: ``root/cat/1.png``.

    A sample is an image and its class index. Images are decoded when they are read, so a loader
    with workers decodes several at once. Needs Pillow: ``pip install nn-data[image]``.

    Args:
        root: the folder with a folder for each class.
        size: ``(height, width)`` that images are resized to, bilinearly; by default they keep their
            sizes, which must be equal within a batch.
        mode: ``'RGB'`` or ``'L'`` for gray.
        layout: the layout of a batch, ``'nchw'`` or ``'nhwc'``.
        suffixes: the suffixes of image files.

    Raises:
        ImportError: without Pillow.
        ValueError: for a folder without images, naming it.
    """

    @keyword_only
    def __init__(
        self,
        root: PathLike,
        *,
        size: tuple[int, int] | None = None,
        mode: Literal["RGB", "L"] = "RGB",
        layout: Literal["nchw", "nhwc"] = "nchw",
        suffixes: Sequence[str] = _SUFFIXES,
    ) -> None:
        super().__init__()
        try:
            import PIL.Image  # noqa: F401
        except ImportError as error:
            raise ImportError("ImageFolder needs Pillow: pip install nn-data[image]") from error
        self.root: Path = Path(root)
        self.mode: str = check_choice("mode", mode, ("RGB", "L"))
        self.layout: str = check_choice("layout", layout, ("nchw", "nhwc"))
        if size is not None:
            size = check_size("size", size)
        self.size = size
        if not self.root.is_dir():
            raise ValueError(f"{self.root}: no such folder")
        folders = sorted(path for path in self.root.iterdir() if path.is_dir())
        self.classes: list[str] = [path.name for path in folders]
        """The names of the classes, in alphabetical order."""
        found = [
            (path, label)
            for label, folder in enumerate(folders)
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in suffixes and path.is_file()
        ]
        if not found:
            raise ValueError(f"{self.root}: no images in folders that are named after classes")
        self.paths: list[Path] = [path for path, _ in found]
        self.labels: NDArray[np.int64] = np.array([label for _, label in found], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> tuple[NDArray[np.uint8], int]:
        """Return an image as uint8, and its class index.

        Raises:
            ValueError: for a file that is not an image, naming it.
        """
        from PIL import Image

        path = self.paths[index]
        try:
            with Image.open(path) as image:
                converted: Any = image.convert(self.mode)
                if self.size is not None and converted.size != self.size[::-1]:
                    converted = converted.resize(self.size[::-1], Image.Resampling.BILINEAR)
                pixels = np.asarray(converted)
        except (OSError, SyntaxError) as error:
            if isinstance(error, FileNotFoundError | PermissionError):
                raise
            raise ValueError(f"{path}: is not an image, or a damaged one ({error})") from error
        channels = pixels[..., None] if pixels.ndim == 2 else pixels
        if self.layout == "nchw":
            channels = np.moveaxis(channels, -1, 0)
        return channels, int(self.labels[index])

    def signature(self) -> str:
        """Hash the names of the files, below the folder."""
        names = "\n".join(path.relative_to(self.root).as_posix() for path in self.paths)
        digest = hashlib.blake2b(names.encode(), digest_size=4).hexdigest()
        return f"ImageFolder({self.mode} {self.size} {self.layout}):{digest}"
