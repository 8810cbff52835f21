"""Images whose encoded files are in a table, as on the Hugging Face hub: decoded when they are taken."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from PIL import Image

from lnlbench.data.decode import RESIZE_VERSION, check_depth, decode, image_errors, reduced_size
from lnlbench.data.source import Images, Index

if TYPE_CHECKING:
    import torch


class StoredImages(Images):
    """Encoded images in memory.

    Parameters
    ----------
    contents : sequence of bytes
    places : sequence of Path
        What errors call each of them.
    side : int, optional
        Length that the shorter side is brought down to; see :func:`lnlbench.data.decode.decode`.
    """

    from_files: ClassVar[bool] = True  # taking one means decoding it

    def __init__(self, contents: Sequence[bytes], places: Sequence[Path], side: int | None = None) -> None:
        self._contents = contents
        self._places = places
        self._side = side

    def __len__(self) -> int:
        return len(self._contents)

    @cached_property
    def size(self) -> tuple[int, int] | None:
        sizes = set(self._sizes())
        return sizes.pop() if len(sizes) == 1 else None

    def _sizes(self) -> Iterator[tuple[int, int]]:
        """Height and width of every image, by its header."""
        for content, place in zip(self._contents, self._places, strict=True):
            with image_errors(place), Image.open(io.BytesIO(content)) as image:
                check_depth(image, place)
                height, width = image.height, image.width
            yield (height, width) if self._side is None else reduced_size(height, width, self._side)

    def take(self, index: Index) -> torch.Tensor | list[torch.Tensor]:
        import torch

        images = [
            torch.from_numpy(decode(self._places[i], self._side, self._contents[i])).permute(2, 0, 1)
            for i in index
        ]
        return images if self.size is None else torch.stack(images)

    def select(self, index: Index) -> StoredImages:
        part = StoredImages([self._contents[i] for i in index], [self._places[i] for i in index], self._side)
        if "size" in self.__dict__ and self.size is not None:  # what is known need not be read again
            part.__dict__["size"] = self.size
        return part

    def resized(self, side: int) -> StoredImages:
        return StoredImages(self._contents, self._places, side)

    def content(self) -> Iterator[bytes]:
        if self._side is not None:
            yield f"shorter side {self._side}, version {RESIZE_VERSION}".encode()
        for content in self._contents:
            yield hashlib.sha256(content).digest()
