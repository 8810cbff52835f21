"""Images in files, decoded when they are taken.

Two kinds differ in what is known about the files before that. :class:`VerifiedFiles` reads, hashes
and verifies every file when it is loaded, for folders of any origin. :class:`ListedFiles` only asks
for their sizes: a data set of a million images must not be read in full to be loaded.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from PIL import Image

from lnlbench.data.decode import RESIZE_VERSION, check_depth, decode, image_errors, reduced_size
from lnlbench.data.source import Images, Index
from lnlbench.errors import DataError

if TYPE_CHECKING:
    import torch

# Questions to a file system that are under way at the same time; a network's answer after a while.
_STAT_THREADS = 16
_STAT_CHUNK = 4096


class FileImages(Images):
    """Images in files below a folder.

    Parameters
    ----------
    root : Path
    names : sequence of str
        Paths below ``root``.
    side : int, optional
        Length that the shorter side is brought down to; see :func:`lnlbench.data.decode.decode`.
    """

    from_files: ClassVar[bool] = True

    def __init__(self, root: Path, names: Sequence[str], side: int | None = None) -> None:
        self._root = root
        self._names = tuple(names)
        self.side = side

    @property
    def root(self) -> Path:
        """The folder that the files are below."""
        return self._root

    @property
    def files(self) -> tuple[str, ...]:
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def path(self, number: int) -> Path:
        """Return the file of an image."""
        return self._root / self._names[number]

    def take(self, index: Index) -> torch.Tensor | list[torch.Tensor]:
        import torch

        images = [torch.from_numpy(decode(self.path(i), self.side)).permute(2, 0, 1) for i in index]
        if self.size is None:
            return images
        for image, i in zip(images, index, strict=True):
            if image.shape[1:] != self.size:
                raise DataError(
                    f"{self.path(i)} has changed since it was first read.", "Start the run again."
                )
        return torch.stack(images)

    @abstractmethod
    def select(self, index: Index) -> Self: ...

    def content(self) -> Iterator[bytes]:
        if self.side is not None:
            yield f"shorter side {self.side}, version {RESIZE_VERSION}".encode()
        yield from self.identities()

    @abstractmethod
    def identities(self) -> Iterator[bytes]:
        """Yield what identifies each file, one after the other."""

    @abstractmethod
    def resized(self, side: int) -> Self:
        """Return the same images with their shorter side brought down to ``side`` pixels."""


class VerifiedFiles(FileImages):
    """Files of which every one is read, hashed and verified before the first is used."""

    @cached_property
    def size(self) -> tuple[int, int] | None:
        sizes = {size for _, size in self._headers}
        if len(sizes) != 1:
            return None
        height, width = sizes.pop()
        return (height, width) if self.side is None else reduced_size(height, width, self.side)

    def select(self, index: Index) -> Self:
        part = type(self)(self._root, [self._names[i] for i in index], self.side)
        if "_headers" in self.__dict__:  # what is known need not be read again
            part._headers = [self._headers[i] for i in index]
        return part

    def resized(self, side: int) -> Self:
        return type(self)(self._root, self._names, side)

    def identities(self) -> Iterator[bytes]:
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
            with image_errors(path):
                raw = path.read_bytes()
                with Image.open(io.BytesIO(raw)) as image:
                    check_depth(image, path)
                    size = image.height, image.width
                    image.verify()
            found.append((hashlib.sha256(raw).digest(), size))
        return found


class ListedFiles(FileImages):
    """Files that a list names: each must be there, and is not read before it is taken.

    They are identified by their paths below the root and their sizes in bytes.
    """

    @property
    def size(self) -> tuple[int, int] | None:
        return None  # nobody knows without opening them all

    def select(self, index: Index) -> Self:
        return type(self)(self._root, [self._names[i] for i in index], self.side)

    def resized(self, side: int) -> Self:
        return type(self)(self._root, self._names, side)

    def identities(self) -> Iterator[bytes]:
        """Yield each file's name and its size in bytes."""
        sizes, problems = measure(self._root, self._names)
        if problems:
            more = f" (and {len(problems) - 1:,} more listed images)" if len(problems) > 1 else ""
            raise DataError(
                f"{problems[0]}{more}.", "See all of them with `lnlbench data check`, and copy them again."
            )
        for name, size in zip(self._names, sizes.tolist(), strict=True):
            yield f"{name}\0{size}\n".encode()


def measure(root: Path, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return the sizes of files in bytes, and what is wrong with those that cannot be used.

    Parameters
    ----------
    root : Path
    names : sequence of str
        Paths below ``root``.

    Returns
    -------
    sizes : int64 array of shape [N]
        0 where there is a problem.
    problems : list of str
        For files that are missing, empty, no regular files, or (through a link) outside of ``root``.
    """
    top = root.resolve()
    folders = {name.rpartition("/")[0] for name in names}
    # A link in the middle of a path concerns all files behind it, so folders are looked at once.
    outside = {
        folder: there
        for folder in sorted(folders)
        if not (there := (root / folder).resolve()).is_relative_to(top)
    }
    if outside:
        leads = [
            f"{root / folder} is a link to {there}, outside of {root}" for folder, there in outside.items()
        ]
        return np.zeros(len(names), dtype=np.int64), leads
    base = str(root)

    def look(start: int) -> tuple[list[int], list[str]]:
        sizes, problems = [], []
        for name in names[start : start + _STAT_CHUNK]:
            size, problem = _size_of(f"{base}/{name}", top)
            sizes.append(size)
            if problem:
                problems.append(problem)
        return sizes, problems

    starts = range(0, len(names), _STAT_CHUNK)
    if len(starts) <= 1:
        found = [look(start) for start in starts]
    else:
        with ThreadPoolExecutor(_STAT_THREADS) as threads:
            found = list(threads.map(look, starts))
    sizes = np.array([size for part, _ in found for size in part], dtype=np.int64)
    return sizes, [problem for _, part in found for problem in part]


def _size_of(path: str, top: Path) -> tuple[int, str | None]:
    """Return the size of a file, and what is wrong with it (None if nothing is)."""
    try:
        info = os.lstat(path)
        if stat.S_ISLNK(info.st_mode):
            there = Path(path).resolve()
            if not there.is_relative_to(top):
                return 0, f"{path} is a link to {there}, outside of {top}"
            info = there.stat()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        return 0, f"{path} does not exist" if missing else f"{path} cannot be read: {error.strerror}"
    if not stat.S_ISREG(info.st_mode):
        return 0, f"{path} is no file"
    return (info.st_size, None) if info.st_size else (0, f"{path} is empty")
