"""What a loaded data set is made of: images or features, labels, and splits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from lnlbench.data.class_prompts import PHOTO, class_prompts
from lnlbench.errors import DataError, PluginError

if TYPE_CHECKING:
    import torch

Index = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64]
# Maps for asymmetric noise: name → the class that each of the C classes is mistaken for.
Maps = Mapping[str, Sequence[int]]

# In the place of a true label: nobody knows whether the given one is right; or it is wrong, and nobody says
# what would be right.
UNKNOWN, WRONG = -1, -2

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
    def files(self) -> tuple[str, ...] | None:
        """Path of each image below the data set's folder; None, the default, where none has a file."""
        return None

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

    @property
    def files(self) -> tuple[str, ...] | None:
        names = self._images.files
        return None if names is None else tuple(names[i] for i in self._index)

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
        In [0, C), as given.
    clean : int64 array of shape [N] or None
        True labels, where the source has them beside given ones that may be wrong: in [0, C),
        :data:`UNKNOWN` or :data:`WRONG`. No method sees them.
    """

    images: Images | None
    features: torch.Tensor | None
    labels: Labels
    clean: Labels | None = None

    @property
    def base(self) -> Labels:
        """What noise is put on: the true labels if all are known, else those that are given."""
        return self.labels if self.clean is None or self.clean.min() < 0 else self.clean

    def __post_init__(self) -> None:
        content = self.images if self.images is not None else self.features
        if content is None or (self.images is not None and self.features is not None):
            raise PluginError("A split needs either images or features.")
        if len(content) != len(self.labels):
            raise PluginError(f"A split has {len(content)} samples and {len(self.labels)} labels.")
        if self.clean is not None and len(self.clean) != len(self.labels):
            raise PluginError(f"A split has {len(self.labels)} labels and {len(self.clean)} true ones.")

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: Index) -> Split:
        """Return the samples at ``index``, in that order."""
        return Split(
            images=None if self.images is None else self.images.select(index),
            features=None if self.features is None else self.features[index],
            labels=self.labels[index],
            clean=None if self.clean is None else self.clean[index],
        )


@dataclass(frozen=True)
class HumanLabels:
    """A published file with labels that people gave to a data set whose true labels are known.

    It lies in the data folder, beside the data. Its labels are those of the whole training set, in its
    official order.

    Attributes
    ----------
    file : str
        Its name, as published: a ``.pt`` file, see :mod:`lnlbench.noise.label_pickle`.
    clean : str
        Key of the true labels, which tell whether the file belongs to the data set.
    keys : mapping of str to str
        What follows ``human-`` in the name of a noise → key of its labels.
    homepage, paper, licence : str
        Where it comes from, what to cite, and under what to use it.
    folder : Path or None
        The data folder; None if there is none.
    """

    file: str
    clean: str
    keys: Mapping[str, str]
    homepage: str
    paper: str
    licence: str
    folder: Path | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The noises that it holds."""
        return tuple(f"human-{name}" for name in self.keys)

    @property
    def advice(self) -> str:
        """Where to get the file, and what its licence is."""
        return (
            f"Get {self.file} from {self.homepage} ({self.paper}; {self.licence}) and put it into the data "
            "folder."
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A loaded data set.

    Attributes
    ----------
    name : str
        Label for tables, free of paths.
    family : str
        ``cifar10``, ``webvision``, ``custom`` …: which data sets have the same classes. Nothing goes by it.
    classes : tuple of str
        Names of the C classes.
    train, test : Split
    validation : Split or None
        None if the data set has none of its own; see :mod:`lnlbench.data.holdout`.
    fingerprint : str
        SHA-256 of the labels and the pixels (or features, or image files) that are used.
        It does not depend on where they are.
    standin : bool
        Whether this only has the layout of the data set whose name it bears; see
        :mod:`lnlbench.data.known.standin`.
    recipe : str
        Augmentation recipe of its views. A source need not set it: a trial's data set gets what the
        trial asks for, else the source's :attr:`~lnlbench.data.source.DatasetSource.recipe`.
    maps : mapping of str to sequence of int
        Its own maps for asymmetric noise. As the next one: a trial's data set gets the source's.
    human : HumanLabels or None
        Labels that people gave, with the data folder.
    templates : tuple of str
        Sentences for texts of its classes, with ``{}`` for the name. As the maps.
    text_names : mapping of str to str
        What texts call a class, where that is not its name in plain words. As the maps.
    """

    name: str
    family: str
    classes: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split
    fingerprint: str
    standin: bool = False
    recipe: str = "photo"
    maps: Maps = field(default_factory=dict)
    human: HumanLabels | None = None
    templates: tuple[str, ...] = PHOTO
    text_names: Mapping[str, str] = field(default_factory=dict)

    def prompts(self, templates: Sequence[str] = ()) -> tuple[tuple[str, ...], ...]:
        """Return C tuples of texts, by its own templates or by others; see :func:`.class_prompts`."""
        return class_prompts(self.classes, templates or self.templates, self.text_names)

    @property
    def kind(self) -> str:
        """``"images"`` or ``"features"``."""
        return "images" if self.train.images is not None else "features"
