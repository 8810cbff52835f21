"""What ``lnlbench data check`` says about a data set that could be loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lnlbench.basics.seeding import numpy_stream
from lnlbench.data.dataset import UNKNOWN
from lnlbench.data.source import Dataset, Images, Split
from lnlbench.errors import DataError
from lnlbench.inputs.loader import Workers

_CHUNK = 64  # images that a worker tries at a time


@dataclass(frozen=True, slots=True)
class Tried:
    """Which images of a split were decoded, and what went wrong.

    Attributes
    ----------
    decoded, total : int
    problems : tuple of str
        One for each image that cannot be decoded.
    """

    decoded: int
    total: int
    problems: tuple[str, ...]


def describe(dataset: Dataset) -> dict[str, Any]:
    """Return sizes, content and fingerprint of a data set as a JSON value."""
    splits = {}
    for part, split in splits_of(dataset).items():
        counts = np.bincount(split.labels, minlength=len(dataset.classes))
        splits[part] = {
            "samples": len(split),
            "smallest_class": int(counts.min()),
            "largest_class": int(counts.max()),
        }
        if split.clean is not None:
            known = split.clean != UNKNOWN
            wrong = (split.clean != split.labels)[known]
            splits[part] |= {"verified": int(known.sum()), "wrong": int(wrong.sum())}
    images, features = dataset.train.images, dataset.train.features
    if features is not None:
        content = f"features of length {features.shape[1]}"
    elif images is not None and images.size is not None:
        content = "images of {} × {} pixels".format(*images.size)
    else:
        content = "images of various sizes"
    return {
        "name": dataset.name,
        "family": dataset.family,
        "classes": len(dataset.classes),
        "content": content,
        "standin": dataset.standin,
        "splits": splits,
        "fingerprint": dataset.fingerprint,
    }


def splits_of(dataset: Dataset) -> dict[str, Split]:
    """Return the splits that a data set has."""
    found = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return {part: split for part, split in found.items() if split is not None}


def compare_counts(dataset: Dataset, official: Mapping[str, int]) -> list[str]:
    """Say which splits are smaller or larger than those of the complete data set."""
    return [
        f"{part} has {len(split):,} samples; the complete data set has {official[part]:,}"
        for part, split in splits_of(dataset).items()
        if part in official and len(split) != official[part]
    ]


def try_images(dataset: Dataset, sample: int | None, workers: Workers) -> dict[str, Tried]:
    """Decode the images of every split that are in files.

    Parameters
    ----------
    dataset : Dataset
    sample : int or None
        How many random images of each split, the same ones every time; None decodes all.
    workers : Workers
    """
    tried = {}
    for part, split in splits_of(dataset).items():
        images = split.images
        if images is None or not images.from_files:
            continue
        total = len(images)
        chosen = np.arange(total)
        if sample is not None and sample < total:
            stream = numpy_stream("inspection", dataset.name, part)
            chosen = np.sort(stream.choice(total, sample, replace=False))
        pieces = (images.select(chosen[start : start + _CHUNK]) for start in range(0, len(chosen), _CHUNK))
        problems = [problem for found in workers.map(unreadable, pieces) for problem in found]
        tried[part] = Tried(len(chosen), total, tuple(problems))
    return tried


def unreadable(images: Images) -> list[str]:
    """Return what is wrong with those images that cannot be decoded."""
    problems = []
    for number in range(len(images)):
        try:
            images.take(np.array([number]))
        except DataError as problem:
            problems.append(problem.message.rstrip("."))
    return problems
