"""scikit-learn's digits: 1,797 real 8 × 8 images, with no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lnlbench.data.arrays import ArrayImages
from lnlbench.data.class_prompts import NUMBER
from lnlbench.data.source import Dataset, DatasetSource, Split, assemble
from lnlbench.spec import DatasetSpec

_LEVELS = 16  # the images' values are 0 … 16


class Digits(DatasetSource):
    """Hand-written digits of the UCI repository, as scikit-learn ships them.

    The data come without a split: of each class the first 80 % in official order, rounded
    down, are the training set. Values are scaled to 0 … 255 and rounded.
    """

    summary = "scikit-learn's 1,797 hand-written digits, 8 × 8, embedded"
    recipe = "digits"
    image_side = 8
    templates = NUMBER

    def missing(self, path: str | None, root: Path | None) -> str | None:
        return None

    def load(self, spec: DatasetSpec, root: Path | None) -> Dataset:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        labels = bunch.target.astype(np.int64)
        pixels = ArrayImages(np.rint(bunch.images * (255 / _LEVELS)).astype(np.uint8))
        everything = Split(images=pixels, features=None, labels=labels)
        training = np.zeros(len(labels), dtype=bool)
        for number in range(10):
            members = np.flatnonzero(labels == number)
            training[members[: len(members) * 4 // 5]] = True
        return assemble(
            spec,
            family="digits",
            classes=tuple(str(number) for number in range(10)),
            train=everything.select(np.flatnonzero(training)),
            test=everything.select(np.flatnonzero(~training)),
        )
