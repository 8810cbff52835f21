"""Checks of a data set: what loading it gives, for the real data and for its stand-in."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lnlbench.conformance.rules import Rule, Verdict, rule
from lnlbench.data.dataset import UNKNOWN, WRONG
from lnlbench.data.source import Dataset, DatasetSource, Index, Split
from lnlbench.noise.maps import resolve_map
from lnlbench.spec import DatasetSpec

LOOKED_AT = 8  # random samples of each split, beside the first and the last


@dataclass
class DatasetSubject:
    """A data set in one place, loaded when a rule first asks for it.

    Attributes
    ----------
    source : DatasetSource
    spec : DatasetSpec
    root : Path or None
        The data folder.
    standin : bool
        Whether what lies there is the stand-in.
    classes : int or None
        What a stand-in must have as many of; None where the real data are not there.
    """

    source: DatasetSource
    spec: DatasetSpec
    root: Path | None
    standin: bool = False
    classes: int | None = None

    @cached_property
    def dataset(self) -> Dataset:
        """The whole data set."""
        return self.source.load(self.spec, self.root)

    def splits(self) -> dict[str, Split]:
        """Return the splits that it has, by name."""
        data = self.dataset
        found = {"train": data.train, "validation": data.validation, "test": data.test}
        return {name: split for name, split in found.items() if split is not None}


DATASET_SOURCE_RULES: list[Rule[DatasetSource]] = []
DATASET_RULES: list[Rule[DatasetSubject]] = []


@rule("documented", DATASET_SOURCE_RULES)
def has_summary(source: DatasetSource) -> Verdict:
    """The class has a line that lists can show: its attribute summary."""
    if (getattr(source, "summary", None) or "").strip():
        return None
    return f"class {type(source).__name__} has none"


@rule("loads", DATASET_RULES)
def dataset_loads(subject: DatasetSubject) -> Verdict:
    """It loads, has images or features as its class says, and says truly whether it is a stand-in."""
    data = subject.dataset
    if not isinstance(data, Dataset):
        return f"load() returns {type(data).__name__}, not a Dataset: return assemble(…)"
    if (data.kind == "images") != subject.source.has_images:
        return f"it holds {data.kind}, but has_images = {subject.source.has_images}"
    if subject.standin and not data.standin:
        return "its stand-in does not say that it is one: assemble(…, standin=True)"
    if subject.classes is not None and subject.classes != len(data.classes):
        return f"its stand-in has {len(data.classes)} classes, and the real data have {subject.classes}"
    return None


@rule("splits", DATASET_RULES)
def splits_have_samples(subject: DatasetSubject) -> Verdict:
    """No split is empty, and all hold the same kind of samples."""
    for name, split in subject.splits().items():
        if not len(split):
            return f"the {name} split is empty"
        if (split.images is None) != (subject.dataset.train.images is None):
            return f"the {name} split holds another kind of samples than the train split"
    return None


@rule("labels", DATASET_RULES)
def labels_are_classes(subject: DatasetSubject) -> Verdict:
    """Labels are int64 of shape [N], from 0 to C − 1; true ones beside them also UNKNOWN or WRONG."""
    classes = len(subject.dataset.classes)
    for name, split in subject.splits().items():
        wrong = _labels(split.labels, len(split), 0, classes)
        if wrong is None and split.clean is not None:
            wrong = _labels(split.clean, len(split), min(UNKNOWN, WRONG), classes)
            wrong = wrong and f"true {wrong}"
        if wrong:
            return f"{name} split: {wrong}"
    return None


def _labels(labels: Any, samples: int, least: int, classes: int) -> str | None:
    if not isinstance(labels, np.ndarray) or labels.dtype != np.int64 or labels.shape != (samples,):
        kind = getattr(labels, "dtype", type(labels).__name__)
        return f"labels are {kind}, of shape {np.shape(labels)}"
    outside = labels[(labels < least) | (labels >= classes)]
    return f"label {outside[0]} is none of {classes} classes" if len(outside) else None


@rule("classes", DATASET_RULES)
def classes_are_named_and_present(subject: DatasetSubject) -> Verdict:
    """There are two classes or more, each with a name of its own and with training samples."""
    names = subject.dataset.classes
    if len(names) < 2:
        return f"it has {len(names)}"
    if not all(isinstance(name, str) and name.strip() for name in names):
        return "a name is empty or no text"
    if len(set(names)) < len(names):
        return f"two are called '{next(name for name in names if names.count(name) > 1)}'"
    absent = np.flatnonzero(np.bincount(subject.dataset.train.labels, minlength=len(names)) == 0)
    return f"the train split has no sample of '{names[absent[0]]}'" if len(absent) else None


@rule("samples", DATASET_RULES)
def samples_are_readable(subject: DatasetSubject) -> Verdict:
    """Images are uint8 RGB of the size they say, features finite float32 [N, d]: first, last, some random."""
    for name, split in subject.splits().items():
        count = len(split)
        some = np.random.default_rng(0).integers(0, count, LOOKED_AT)
        index = np.unique([0, count - 1, *some]).astype(np.int64)[::-1]  # an order other than the stored one
        wrong = _features(split) if split.images is None else _images(split, index)
        if wrong:
            return f"{name} split: {wrong}"
    return None


def _features(split: Split) -> str | None:
    features = split.features
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or features.dtype != torch.float32:
        return "features are no float32 tensor of shape [N, d]"
    return None if bool(torch.isfinite(features).all()) else "a feature is not finite"


def _images(split: Split, index: Index) -> str | None:
    assert split.images is not None
    taken, size = split.images.take(index), split.images.size
    if len(taken) != len(index):
        return f"take() returns {len(taken)} images for {len(index)} indices"
    for number, image in zip(index, taken, strict=True):
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
            return f"image {number} is {image.dtype} of shape {tuple(image.shape)}, not uint8 [3, H, W]"
        if size is not None and tuple(image.shape[1:]) != size:
            return f"image {number} has shape {tuple(image.shape[1:])}; size says {size}"
        if not torch.equal(split.images.take(np.array([number], dtype=np.int64))[0], image):
            return f"image {number} is another one when it is taken alone"
    return None


@rule("fingerprint", DATASET_RULES)
def fingerprint_is_stable(subject: DatasetSubject) -> Verdict:
    """Loading it again gives the same fingerprint and the same labels."""
    first, again = subject.dataset, subject.source.load(subject.spec, subject.root)
    if first.fingerprint != again.fingerprint:
        return f"{first.fingerprint[:12]} becomes {again.fingerprint[:12]}"
    if not np.array_equal(first.train.labels, again.train.labels):
        return "the same fingerprint stands for two orders of the training labels"
    return None


@rule("subset", DATASET_RULES)
def subsets_are_the_first(subject: DatasetSubject) -> Verdict:
    """train_per_class and test_per_class keep the first samples of each class, with another fingerprint."""
    data = subject.dataset
    few = subject.source.load(
        dataclasses.replace(subject.spec, train_per_class=1, test_per_class=1), subject.root
    )
    for name, whole, part in (("train", data.train, few.train), ("test", data.test, few.test)):
        present, first = np.unique(whole.labels, return_index=True)
        if sorted(part.labels) != list(present):
            return f"{name}_per_class = 1 gives {len(part)} samples for {len(present)} classes"
        index = np.array([first.min()], dtype=np.int64)
        if not torch.equal(_sample(part, np.array([0], dtype=np.int64)), _sample(whole, index)):
            return f"{name}_per_class = 1 does not give the first sample: return assemble(spec, …)"
    smaller = len(few.train) + len(few.test) < len(data.train) + len(data.test)
    if smaller and few.fingerprint == data.fingerprint:
        return "a subset has the fingerprint of the whole"
    return None


def _sample(split: Split, index: Index) -> torch.Tensor:
    if split.images is not None:
        return split.images.take(index)[0]
    assert split.features is not None
    return split.features[index][0]


@rule("noise map", DATASET_RULES)
def noise_maps_fit(subject: DatasetSubject) -> Verdict:
    """Its maps for asymmetric noise have a target for each class, and move at least one."""
    classes = len(subject.dataset.classes)
    for name, targets in subject.source.maps.items():
        if len(targets) != classes:
            return f"'{name}' is for {len(targets)} classes, not for {classes}"
        resolve_map(name, subject.source.maps, classes)
    return None
