"""What a loaded data set is made of: images or features, labels, and splits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from lnlbench.errors import DataError, PluginError

if TYPE_CHECKING:
    import torch

Index = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64]

_CHUNK = 512  # images per read while hashing


class Images(ABC):
    """N images, in memory or decoded when asked for.

    Attributes
    ----------
    size : (int, int) or None
        Height and width if all images share them, else None.
    from_files : bool
        Whether taking an image means decoding a file. Batches of such images are made ahead of time
        by worker processes, which get the pickled ``select(index)``. Default False: in memory.
    """

    from_files: ClassVar[bool] = False

    @property
    @abstractmethod
    def size(self) -> tuple[int, int] | None: ...

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, index: Index) -> torch.Tensor | list[torch.Tensor]:
        """Return some images.

        Parameters
        ----------
        index : int64 array of shape [B]

        Returns
        -------
        torch.Tensor or list of torch.Tensor
            uint8 RGB of shape [B, 3, H, W] if ``size`` is set, else B tensors of shape [3, H, W].

        Raises
        ------
        DataError
            If an image cannot be decoded.
        """

    def select(self, index: Index) -> Images:
        """Return the images at ``index``, in that order, as a collection of its own."""
        return _Selection(self, index)

    def resized(self, side: int) -> Images:
        """Return the same images with their shorter side brought down to ``side`` pixels.

        Raises
        ------
        DataError
            If these images are not decoded from files.
        """
        raise DataError(
            "dataset_options.resize is for images in files, and these are in memory.",
            "Leave it out; backbone_options.image_size sets what the backbone sees.",
        )

    def content(self) -> Iterator[bytes]:
        """Yield bytes that identify the images; the fingerprint is made from them."""
        for start in range(0, len(self), _CHUNK):
            batch = self.take(np.arange(start, min(start + _CHUNK, len(self))))
            for image in batch:
                yield repr(tuple(image.shape)).encode()
                yield image.contiguous().numpy().tobytes()


class _Selection(Images):
    def __init__(self, images: Images, index: Index) -> None:
        self._images = images
        self._index = index

    @property
    def size(self) -> tuple[int, int] | None:
        return self._images.size

    def __len__(self) -> int:
        return len(self._index)

    def take(self, index: Index) -> torch.Tensor | list[torch.Tensor]:
        return self._images.take(self._index[index])


@dataclass(frozen=True, eq=False)
class Split:
    """A part of a data set: images or features, with the labels the source gives.

    Attributes
    ----------
    images : Images or None
    features : torch.Tensor or None
        float32 of shape [N, d]. Exactly one of images and features is set.
    labels : int64 array of shape [N]
        In [0, C).
    """

    images: Images | None
    features: torch.Tensor | None
    labels: Labels

    def __post_init__(self) -> None:
        content = self.images if self.images is not None else self.features
        if content is None or (self.images is not None and self.features is not None):
            raise PluginError("A split needs either images or features.")
        if len(content) != len(self.labels):
            raise PluginError(f"A split has {len(content)} samples and {len(self.labels)} labels.")

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: Index) -> Split:
        """Return the samples at ``index``, in that order."""
        return Split(
            images=None if self.images is None else self.images.select(index),
            features=None if self.features is None else self.features[index],
            labels=self.labels[index],
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A loaded data set.

    Attributes
    ----------
    name : str
        Label for tables, free of paths.
    family : str
        ``cifar10``, ``cifar100``, ``digits``, ``custom`` …: chooses the asymmetric map, the
        augmentations and the methods' defaults.
    classes : tuple of str
        Names of the C classes.
    train, test : Split
    validation : Split or None
        None if the data set has none of its own; see :mod:`lnlbench.data.split`.
    fingerprint : str
        SHA-256 of the labels and the pixels (or features, or image files) that are used.
        It does not depend on where they are.
    standin : bool
        Whether this only has the layout of the data set whose name it bears; see
        :mod:`lnlbench.data.standin`.
    """

    name: str
    family: str
    classes: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split
    fingerprint: str
    standin: bool = False

    @property
    def kind(self) -> str:
        """``"images"`` or ``"features"``."""
        return "images" if self.train.images is not None else "features"
