"""Image folders: ``train/CLASS/*.png``, ``test/CLASS/*.png`` and, if there is one, ``val/CLASS/*.png``."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from lnlbench.data.source import (
    Dataset,
    DatasetSource,
    Images,
    Index,
    Split,
    assemble,
    local_path,
    spec_path,
)
from lnlbench.errors import DataError
from lnlbench.printable import check_characters
from lnlbench.spec import DatasetSpec

if TYPE_CHECKING:
    import torch

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm"})

# Pillow clips these to 8 bits instead of scaling them.
_DEEP_MODES = ("I", "F")


class FileImages(Images):
    """Images in files, decoded when they are taken.

    Parameters
    ----------
    root : Path
    names : sequence of str
        Paths below ``root``.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root = root
        self._names = tuple(names)

    @property
    def size(self) -> tuple[int, int] | None:
        sizes = {size for _, size in self._headers}
        return sizes.pop() if len(sizes) == 1 else None

    def __len__(self) -> int:
        return len(self._names)

    def take(self, index: Index) -> torch.Tensor | list[torch.Tensor]:
        import torch

        images = [torch.from_numpy(self._decode(self._names[i])).permute(2, 0, 1) for i in index]
        if self.size is None:
            return images
        for image, i in zip(images, index, strict=True):
            if image.shape[1:] != self.size:
                raise DataError(
                    f"{self._root / self._names[i]} has changed since it was first read.",
                    "Start the run again.",
                )
        return torch.stack(images)

    def select(self, index: Index) -> FileImages:
        return FileImages(self._root, [self._names[i] for i in index])

    def content(self) -> Iterator[bytes]:
        """Yield each file's name and the hash of its bytes."""
        for name, (digest, _) in zip(self._names, self._headers, strict=True):
            yield name.encode()
            yield digest

    @cached_property
    def _headers(self) -> list[tuple[bytes, tuple[int, int]]]:
        """SHA-256 and (height, width) of every file, each of which is verified on the way."""
        found = []
        for name in self._names:
            path = self._root / name
            with _image_errors(path):
                raw = path.read_bytes()
                with Image.open(io.BytesIO(raw)) as image:
                    if image.mode.partition(";")[0] in _DEEP_MODES:
                        raise DataError(f"{path} has more than 8 bits per channel.", "Convert it to 8 bits.")
                    size = image.height, image.width
                    image.verify()
            found.append((hashlib.sha256(raw).digest(), size))
        return found

    def _decode(self, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        path = self._root / name
        with _image_errors(path), Image.open(path) as image:
            return np.array(image.convert("RGB"))


@contextmanager
def _image_errors(path: Path) -> Iterator[None]:
    """Turn what Pillow raises for a bad file into one error that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as problem:
        raise DataError(f"{path} is too large an image: {problem}", "Scale it down.") from problem
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as problem:
        # Pillow's PNG reader reports broken chunks as SyntaxError.
        reason = "no known image format" if isinstance(problem, UnidentifiedImageError) else problem
        raise DataError(f"{path} cannot be decoded: {reason}.", "Replace or remove the file.") from problem


class ImageFolder(DatasetSource):
    """A folder of images: ``imagefolder:PATH``.

    Classes are the folders below ``train``, sorted by name; files are sorted by name, folders
    below a class and names that start with a dot are left out. Images are taken as they are
    stored: an orientation in their metadata is not applied.
    """

    summary = "a folder of images: train/CLASS/*.png, test/CLASS/*.png, and val/ if there is one"
    takes_path: ClassVar[bool] = True

    def missing(self, path: str | None, root: Path | None) -> str | None:
        folder = local_path(path, root, "imagefolder")
        for part in ("train", "test"):
            if not (folder / part).is_dir():
                return f"{folder / part} is not a folder. Arrange the images as {part}/CLASS/*.png."
        return None

    def load(self, spec: DatasetSpec, root: Path | None) -> Dataset:
        folder = spec_path(spec, root)
        problem = self.missing(str(folder), None)
        if problem:
            raise DataError(problem)
        classes = tuple(item.name for item in _entries(folder / "train", folder) if item.is_dir())
        if len(classes) < 2:
            raise DataError(
                f"{folder / 'train'} has {len(classes)} class folders; at least two are needed.",
                "Arrange the images as train/CLASS/*.png.",
            )
        return assemble(
            spec,
            family="custom",
            classes=classes,
            train=_read_split(folder, "train", classes),
            test=_read_split(folder, "test", classes),
            validation=_read_split(folder, "val", classes) if (folder / "val").is_dir() else None,
        )


def _entries(folder: Path, root: Path) -> list[Path]:
    """Return what is in a folder, sorted; a link that leads out of ``root`` is an error."""
    entries = sorted(item for item in folder.iterdir() if not item.name.startswith("."))
    for item in (folder, *entries):
        check_characters(item.name, f"a name in {item.parent}")
        if item.is_symlink() and not _target(item).is_relative_to(root.resolve()):
            raise DataError(
                f"{item} is a link to {_target(item)}, outside of {root}.",
                "Copy the files, or give the folder that holds them all.",
            )
        if not item.is_dir() and not item.is_file():  # a pipe or a device may have no end
            raise DataError(f"{item} is neither a file nor a folder.", "Remove it.")
    return entries


def _target(link: Path) -> Path:
    try:
        return link.resolve()
    except (OSError, RuntimeError) as error:  # the second for a circle, in Python before 3.13
        raise DataError(f"{link} is a link that leads nowhere.", "Remove it.") from error


def _read_split(root: Path, part: str, classes: tuple[str, ...]) -> Split:
    names: list[str] = []
    labels: list[int] = []
    for folder in _entries(root / part, root):
        if not folder.is_dir():
            continue
        if folder.name not in classes:
            raise DataError(
                f"{folder} is a class that {root / 'train'} does not have.",
                "Every class needs training images.",
            )
        files = [item for item in _entries(folder, root) if item.suffix.lower() in EXTENSIONS]
        if part == "train" and not files:
            raise DataError(
                f"{folder} holds no image.", f"Known extensions: {', '.join(sorted(EXTENSIONS))}."
            )
        names += [item.relative_to(root).as_posix() for item in files]
        labels += [classes.index(folder.name)] * len(files)
    if not names:
        raise DataError(f"{root / part} holds no image.", f"Arrange the images as {part}/CLASS/*.png.")
    return Split(images=FileImages(root, names), features=None, labels=np.array(labels, dtype=np.int64))
