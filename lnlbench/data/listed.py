"""What data sets of listed image files have in common: a folder, its splits, and a look at all of it."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np

from lnlbench.data.image_files import ListedFiles, measure
from lnlbench.data.lists import Listing, Report, stop
from lnlbench.data.source import Dataset, DatasetSource, Split, assemble
from lnlbench.errors import DataError
from lnlbench.spec import DatasetSpec

# A file of this name says that the folder holds a stand-in.
STANDIN_FILE = "STAND-IN.txt"


class ListedSource(DatasetSource):
    """A data set of image files that lists name.

    Its files are in a folder of its own name in the data folder, or in the data folder itself.

    Attributes
    ----------
    title : str
        The name in prose.
    folder : str
        The name of its folder.
    family : str
        See :class:`lnlbench.data.dataset.Dataset`.
    """

    title: ClassVar[str]
    folder: ClassVar[str]
    family: ClassVar[str]

    @abstractmethod
    def required(self, folder: Path) -> list[Path]:
        """Return the files and folders that must be there, if ``folder`` holds the data set."""

    @abstractmethod
    def read(self, folder: Path, report: Report) -> dict[str, Listing]:
        """Read the lists of the splits ``train``, ``test`` and, if there is one, ``validation``.

        ``report`` takes a DataError for each mistake, and raises it or returns.
        """

    @abstractmethod
    def class_names(self, folder: Path) -> tuple[str, ...]:
        """Return the names of all classes."""

    def find(self, root: Path) -> tuple[Path, list[Path]]:
        """Return the folder of the data set, and what is missing in it.

        The folder that lacks least is taken; of equals the one with the data set's name.
        """
        candidates = [root / self.folder, root]
        lacking = [[path for path in self.required(item) if not path.exists()] for item in candidates]
        best = min(range(2), key=lambda number: len(lacking[number]))
        return candidates[best], lacking[best]

    def missing(self, path: str | None, root: Path | None) -> str | None:
        if root is None:
            return (
                f"{self.title} cannot be found, because no data folder is given. Set LNLBENCH_DATA, or "
                f"give --data. {self.by_hand}"
            )
        folder, lacking = self.find(root)
        if not lacking:
            return None
        if len(lacking) == len(self.required(folder)):
            return f"{self.title} is neither in {root / self.folder} nor in {root}. {self.by_hand}"
        names = ", ".join(str(item.relative_to(folder)) for item in lacking)
        return f"{self.title} in {folder} is incomplete: it has no {names}. {self.by_hand}"

    def load(self, spec: DatasetSpec, root: Path | None) -> Dataset:
        folder = self._folder(root)
        classes = self.class_names(folder)
        splits: dict[str, Split] = {}
        for part, listing in self.read(folder, stop).items():
            for problem in empty_classes(part, listing, len(classes)):
                raise DataError(f"{self.title} in {folder}: {problem}.", "Copy its lists again.")
            images = ListedFiles(folder, listing.names)
            splits[part] = Split(images, None, listing.labels, listing.clean)
        return assemble(
            spec,
            family=self.family,
            classes=classes,
            train=splits["train"],
            test=splits["test"],
            validation=splits.get("validation"),
            standin=(folder / STANDIN_FILE).exists(),
        )

    def inspect(self, path: str | None, root: Path | None) -> list[str]:
        folder = self._folder(root)
        found: list[str] = []
        listings = self.read(folder, lambda problem: found.append(problem.message.rstrip(".")))
        classes = len(self.class_names(folder))
        for part, listing in listings.items():
            found += empty_classes(part, listing, classes)
            found += measure(folder, listing.names)[1]
        return found + overlaps(listings)

    def _folder(self, root: Path | None) -> Path:
        problem = self.missing(None, root)
        if problem is not None:
            raise DataError(problem)
        assert root is not None  # else it would be missing
        return self.find(root)[0]


def empty_classes(part: str, listing: Listing, classes: int) -> list[str]:
    """Say which classes a training split lacks, and whether a split is empty."""
    if not len(listing):
        return [f"the {part} split is empty"]
    if part != "train":
        return []
    absent = np.flatnonzero(np.bincount(listing.labels, minlength=classes) == 0)
    return [f"the train split has no image of class {number}" for number in absent]


def overlaps(listings: dict[str, Listing]) -> list[str]:
    """Say which images are in two splits, one of which would then be no test of the other."""
    found = []
    parts = list(listings.items())
    for position, (part, listing) in enumerate(parts):
        names = set(listing.names)
        for other, following in parts[position + 1 :]:
            found += [
                f"{name} is in the {part} split and in the {other} split"
                for name in following.names
                if name in names
            ]
    return found
