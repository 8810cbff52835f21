"""What a plugin that brings a data set must do.

A plugin subclasses :class:`DatasetSource`, reads its files into :class:`Split` objects and
hands them to :func:`assemble`, which takes the requested part and computes the fingerprint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lnlbench.basics.paths import expand
from lnlbench.data.class_prompts import PHOTO
from lnlbench.data.dataset import Dataset, HumanLabels, Images, Index, Labels, Maps, Split
from lnlbench.data.mapped import pieces
from lnlbench.errors import DataError
from lnlbench.spec import DatasetSpec, split_reference

# All that the module of a data set needs.
__all__ = [
    "Dataset",
    "DatasetSource",
    "HumanLabels",
    "Images",
    "Index",
    "Labels",
    "Maps",
    "Split",
    "assemble",
    "fingerprint",
    "first_per_class",
    "local_path",
    "ranks_in_class",
    "spec_path",
]


class DatasetSource(ABC):
    """What an entry point of the group ``lnlbench.datasets`` names.

    The module that defines a source must not import torch at its top: ``lnlbench list`` reads
    the attributes of every source.

    Attributes
    ----------
    summary : str
        One line for ``lnlbench list datasets``.
    takes_path : bool
        Whether the data set is written ``NAME:PATH``.
    has_images : bool
        False for features, which need no backbone. Default True.
    official : mapping of str to int
        How many samples each split has where the data are complete; empty if nobody can say.
    by_hand : str or None
        How a user gets data that no program may download, as sentences.
    title : str
        How tables write its name. Default: as it is.
    paper, licence, homepage : str
        What to cite, and under what to use it; ``lnlbench list`` shows them.
    recipe : {"photo", "cifar", "digits", "crop-flip"}
        How views of its images are made where a trial does not say it; see
        :mod:`lnlbench.inputs.augment`. Default "photo", which takes images of any size.
    image_side : int or None
        Side of its images in pixels, where all of them are squares of one size. Default None.
    maps : mapping of str to sequence of int
        Maps for asymmetric noise by name, its default first: the class that each of the C classes is
        mistaken for. Every data set has ``next`` besides.
    human : HumanLabels or None
        A file of labels that people gave to the training images, for noise ``human-NAME``.
    templates : tuple of str
        Sentences in which a text model is told of a class, with ``{}`` for its name. Default "a photo of a
        {}.".
    text_names : mapping of str to str
        What to call a class there, where its name in plain words is wrong, or another class's as well.
    """

    summary: ClassVar[str]
    takes_path: ClassVar[bool] = False
    has_images: ClassVar[bool] = True
    official: ClassVar[Mapping[str, int]] = {}
    by_hand: ClassVar[str | None] = None
    # Literals, since they are read from the source: see lnlbench.plugins.describe.
    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    homepage: ClassVar[str] = ""
    recipe: ClassVar[str] = "photo"
    image_side: ClassVar[int | None] = None
    maps: ClassVar[Maps] = MappingProxyType({})
    human: ClassVar[HumanLabels | None] = None
    templates: ClassVar[tuple[str, ...]] = PHOTO
    text_names: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @abstractmethod
    def missing(self, path: str | None, root: Path | None) -> str | None:
        """Say what is missing, without reading data.

        Parameters
        ----------
        path : str or None
            What follows ``NAME:``.
        root : Path or None
            The data folder; None if the user gave none.

        Returns
        -------
        str or None
            None if the data are there, else what is missing and the step that gets it.
        """

    @abstractmethod
    def load(self, spec: DatasetSpec, root: Path | None) -> Dataset:
        """Read the data set.

        Raises
        ------
        DataError
            If files are missing or are not what they should be.
        """

    def fetch(self, root: Path) -> None:
        """Download the data set into the data folder ``root``.

        Raises
        ------
        DataError
            If this source has nothing to download, or the download fails.
        """
        raise DataError(f"There is nothing to fetch for: {self.summary}", self.by_hand)

    def inspect(self, path: str | None, root: Path | None) -> list[str]:
        """Return all that is wrong with the files, where :meth:`load` stops at the first mistake.

        Parameters
        ----------
        path, root
            As for :meth:`missing`, which has found nothing missing.

        Returns
        -------
        list of str
            Empty by default: then what :meth:`load` raises is all there is to say.
        """
        return []

    def make_standin(self, root: Path, per_class: int, seed: int) -> Path:
        """Write a small stand-in with the layout of the real data into the data folder ``root``.

        Parameters
        ----------
        root : Path
        per_class : int
            Training images of each class.
        seed : int

        Returns
        -------
        Path
            The file or folder that was written.

        Raises
        ------
        DataError
            If there is none for this data set, or the real data could be overwritten.
        """
        raise DataError(
            f"This data set has no stand-in: {self.summary}.",
            "There are stand-ins for animal10n, cifar10, cifar100, clothing1m, food101n, medmnist, webvision "
            "and webvision_mini.",
        )


def local_path(path: str | None, root: Path | None, scheme: str) -> Path:
    """Return the path of a ``scheme:path`` reference.

    A relative path is looked for in the working folder, then in the data folder.
    """
    if not path:
        raise DataError(f"Data set '{scheme}' needs a path.", f"Write {scheme}:PATH.")
    here = expand(path)
    if root is not None and not here.exists() and (root / here).exists():
        return root / here
    return here


def spec_path(spec: DatasetSpec, root: Path | None) -> Path:
    """Return the path that a specification refers to; see :func:`local_path`."""
    scheme, rest = split_reference(spec.name)
    return local_path(rest, root, scheme)


def ranks_in_class(labels: Labels) -> Index:
    """Return which of its class each sample is, counted from 0 in the order of the labels."""
    sizes = np.bincount(labels)
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[np.argsort(labels, kind="stable")] = np.arange(len(labels)) - np.repeat(
        np.cumsum(sizes) - sizes, sizes
    )
    return ranks


def first_per_class(labels: Labels, count: int, what: str) -> Index:
    """Return the indices of the first ``count`` samples of each class, in official order.

    Parameters
    ----------
    labels : int64 array of shape [N]
    count : int
    what : str
        Name of the setting, for the error message.

    Raises
    ------
    DataError
        If a class has fewer samples: a subset that is silently smaller has a false name.
    """
    sizes = np.bincount(labels)
    present = np.flatnonzero(sizes)
    smallest = present[np.argmin(sizes[present])]
    if sizes[smallest] < count:
        raise DataError(
            f"{what} is {count}, but class {smallest} has only {sizes[smallest]} samples.",
            f"Ask for at most {sizes[smallest]}, or leave {what} out to use all.",
        )
    return np.flatnonzero(ranks_in_class(labels) < count)


def fingerprint(splits: dict[str, Split | None], *, standin: bool = False) -> str:
    """Return the SHA-256, in hexadecimal, of the labels and content of some splits.

    That of a stand-in differs from that of real data in any case.
    """
    digest = hashlib.sha256(b"stand-in" if standin else b"")
    for name, split in splits.items():
        if split is None:
            continue
        kind = "images" if split.images is not None else "features"
        digest.update(json.dumps([name, kind, len(split)]).encode())
        digest.update(np.ascontiguousarray(split.labels, dtype="<i8").data)
        if split.clean is not None:
            digest.update(b"clean")
            digest.update(np.ascontiguousarray(split.clean, dtype="<i8").data)
        if split.images is not None:
            for block in split.images.content():
                digest.update(block)
        elif split.features is not None:
            values: npt.NDArray[Any] = split.features.numpy()
            digest.update(repr(values.shape).encode())
            for piece in pieces(values):
                digest.update(np.ascontiguousarray(piece, dtype="<f4").data)
    return digest.hexdigest()


def assemble(
    spec: DatasetSpec,
    *,
    family: str,
    classes: tuple[str, ...],
    train: Split,
    test: Split,
    validation: Split | None = None,
    standin: bool = False,
) -> Dataset:
    """Take the part of a data set that ``spec`` asks for, and fingerprint it.

    ``train_per_class`` and ``test_per_class`` keep the first samples of each class; a
    validation split that comes with the data is kept whole. ``resize`` concerns all images.
    """
    if spec.train_per_class is not None:
        train = train.select(first_per_class(train.labels, spec.train_per_class, "train_per_class"))
    if spec.test_per_class is not None:
        test = test.select(first_per_class(test.labels, spec.test_per_class, "test_per_class"))
    if spec.resize is not None:
        train, test = _resized(train, spec.resize), _resized(test, spec.resize)
        validation = validation and _resized(validation, spec.resize)
    return Dataset(
        name=spec.label,
        family=family,
        classes=classes,
        train=train,
        validation=validation,
        test=test,
        fingerprint=fingerprint({"train": train, "validation": validation, "test": test}, standin=standin),
        standin=standin,
    )


def _resized(split: Split, side: int) -> Split:
    if split.images is None:
        raise DataError("dataset_options.resize is for images, and these are features.", "Leave it out.")
    return dataclasses.replace(split, images=split.images.resized(side))
