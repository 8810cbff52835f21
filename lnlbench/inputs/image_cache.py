"""Resized images, decoded once: an option for data sets that are read many times.

Decoding a JPEG takes about ten times as long as reading its pixels. Images that
``dataset_options.resize`` has brought down to one shorter side are kept as they are, uint8, in arrays of
a few thousand each. A shorter side of 256 pixels takes about 260 kB per image: 17 GB for WebVision mini,
and 260 GB for Clothing1M, which is why it is an option. The pixels are those of decoding the files anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from lnlbench.data.decode import RESIZE_VERSION
from lnlbench.data.image_files import FileImages
from lnlbench.data.source import Dataset, Images, Index, Split
from lnlbench.errors import CacheError, UsageError
from lnlbench.inputs.array_folder import ArrayFolder
from lnlbench.inputs.loader import Workers

if TYPE_CHECKING:
    import torch

# Images of one array: what is lost when making it is interrupted.
SHARD = 2048

_CHUNK = 32  # images that a worker decodes at a time


class CachedImages(Images):
    """Images of different sizes in memory-mapped arrays.

    Parameters
    ----------
    original : FileImages
        What was cached.
    shards : tuple of Path
        Files of flat uint8 arrays.
    places : int64 array of shape [N, 4]
        Of each image: number of the shard, position of its first value, height, width.
    """

    from_files: ClassVar[bool] = True

    def __init__(self, original: FileImages, shards: tuple[Path, ...], places: npt.NDArray[np.int64]) -> None:
        self._original = original
        self._shards = shards
        self._places = places

    @property
    def size(self) -> tuple[int, int] | None:
        return self._original.size

    @property
    def files(self) -> tuple[str, ...] | None:
        return self._original.files

    def __len__(self) -> int:
        return len(self._places)

    def take(self, index: Index) -> torch.Tensor | list[torch.Tensor]:
        import torch

        images = []
        for shard, start, height, width in self._places[index].tolist():
            flat = _open(self._shards[shard])[start : start + height * width * 3]
            pixels = np.array(flat).reshape(height, width, 3)
            images.append(torch.from_numpy(pixels).permute(2, 0, 1))
        return images if self.size is None else torch.stack(images)

    def select(self, index: Index) -> CachedImages:
        return CachedImages(self._original.select(index), self._shards, self._places[index])

    def content(self) -> Iterator[bytes]:
        """Yield what the files yield: they are the same images."""
        yield from self._original.content()


class ImageCache:
    """A folder of resized images, safe to share between processes.

    Parameters
    ----------
    folder : Path
        Created on first use.
    """

    def __init__(self, folder: Path) -> None:
        self._arrays = ArrayFolder(folder / "images", "cached images")

    def of_dataset(self, dataset: Dataset, workers: Workers) -> Dataset:
        """Return a data set whose images come from the cache, decoding those that are not there yet.

        Data sets whose images are not in files are returned as they are.

        Raises
        ------
        UsageError
            If the images are not resized: at their own size they are best read from their files.
        CacheError
            If the folder cannot be used.
        """

        def cached(split: Split, part: str) -> Split:
            if not isinstance(split.images, FileImages):
                return split
            if split.images.side is None:
                raise UsageError(
                    f"--cache-images keeps resized images, and those of {dataset.name} are not resized.",
                    "Add --set dataset_options.resize=256, or drop --cache-images.",
                )
            images = self._images(split.images, f"{dataset.name}, {part}", workers)
            return dataclasses.replace(split, images=images)

        return dataclasses.replace(
            dataset,
            train=cached(dataset.train, "train"),
            validation=dataset.validation and cached(dataset.validation, "validation"),
            test=cached(dataset.test, "test"),
        )

    def _images(self, images: FileImages, what: str, workers: Workers) -> CachedImages:
        shards: list[Path] = []
        places: list[npt.NDArray[np.int64]] = []
        starts = range(0, len(images), SHARD)
        for number, start in enumerate(starts):
            part = images.select(np.arange(start, min(start + SHARD, len(images))))
            name = _name(part)
            if not self._arrays.has(name):
                share = f"part {number + 1} of {len(starts)}"
                print(f"lnlbench: resizing the images of {what}: {share}", file=sys.stderr)

            def make(path: Path, part: FileImages = part) -> Mapping[str, Any]:
                return _write(path, part, workers)

            entry = self._arrays.obtain(name, make)
            sizes = np.array(entry.manifest["sizes"], dtype=np.int64)
            values = sizes.prod(axis=1) * 3
            first = np.cumsum(values) - values
            places.append(np.column_stack((np.full(len(part), number), first, sizes)))
            shards.append(self._arrays.path(name))
        return CachedImages(images, tuple(shards), np.concatenate(places))


def _name(images: FileImages) -> str:
    """Return a hash of everything that the pixels depend on."""
    digest = hashlib.sha256(f"{images.side} {RESIZE_VERSION}".encode())
    for block in images.content():
        digest.update(block)
    return digest.hexdigest()[:32]


def _write(path: Path, images: FileImages, workers: Workers) -> dict[str, Any]:
    """Write the pixels of all images one after the other, and return their sizes."""
    pieces = (
        images.select(np.arange(start, min(start + _CHUNK, len(images))))
        for start in range(0, len(images), _CHUNK)
    )
    decoded = [array for piece in workers.map(_decode, pieces) for array in piece]
    flat = np.concatenate([array.reshape(-1) for array in decoded])
    with path.open("wb") as file:
        np.save(file, flat, allow_pickle=False)
    return {"side": images.side, "sizes": [array.shape[:2] for array in decoded]}


def _decode(images: FileImages) -> list[npt.NDArray[np.uint8]]:
    taken = images.take(np.arange(len(images)))
    return [image.permute(1, 2, 0).contiguous().numpy() for image in taken]


@lru_cache(maxsize=4096)
def _open(path: Path) -> npt.NDArray[np.uint8]:
    """Map an array that this process, or the one that started it, has verified."""
    try:
        array: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as problem:
        raise CacheError(
            f"The cached images {path} are gone: {problem}.", "Start the run again."
        ) from problem
    return array
