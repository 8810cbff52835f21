"""Animal-10N (Song et al., 2019): animals that look alike, found on the web and labelled by people."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np

from lnlbench.data.class_prompts import ANIMAL
from lnlbench.data.imagefolder import EXTENSIONS
from lnlbench.data.known.standin import test_images
from lnlbench.data.known.standin_files import FilePainter, new_folder
from lnlbench.data.listed import ListedSource
from lnlbench.data.lists import Listing, Report, path_problem
from lnlbench.errors import DataError

# As the authors' page lists them.
ANIMAL10N_CLASSES = (
    "cat",
    "lynx",
    "wolf",
    "coyote",
    "cheetah",
    "jaguar",
    "chimpanzee",
    "orangutan",
    "hamster",
    "guinea pig",
)

FOLDERS = {"train": "training", "test": "testing"}


class Animal10N(ListedSource):
    """Animal-10N: 50,000 + 5,000 images of five pairs of animals that look alike, 64 × 64.

    About 8 % of the training labels are wrong, and nobody says which: use noise ``real``. The label of an
    image is the number before the first ``_`` in its name.
    """

    title = "Animal-10N"
    paper = "Song et al. (2019)"
    homepage = "dm.kaist.ac.kr/datasets/animal-10n"
    summary = "Animal-10N: 50,000 noisy + 5,000 images, 64 × 64, 10 classes"
    folder = "animal10n"
    family = "animal10n"
    official = MappingProxyType({"train": 50_000, "test": 5_000})
    templates = ANIMAL
    # The published list exchanges these two: the images with a 4 show jaguars (Feng et al., 2024).
    text_names = MappingProxyType({"cheetah": "jaguar", "jaguar": "cheetah"})
    by_hand = (
        "Ask for Animal-10N at dm.kaist.ac.kr/datasets/animal-10n, unpack raw_image_ver.zip and the "
        "raw_image.zip in it, and put training/ and testing/ into a folder animal10n in the data folder. "
        "`lnlbench data make-standin animal10n` makes a small stand-in for trying things out."
    )

    def required(self, folder: Path) -> list[Path]:
        return [folder / name for name in FOLDERS.values()]

    def read(self, folder: Path, report: Report) -> dict[str, Listing]:
        return {part: _read_names(folder, name, report) for part, name in FOLDERS.items()}

    def class_names(self, folder: Path) -> tuple[str, ...]:
        return ANIMAL10N_CLASSES

    def make_standin(self, root: Path, per_class: int, seed: int) -> Path:
        with new_folder(root / self.folder) as top:
            painter = FilePainter(top, len(ANIMAL10N_CLASSES), "animal10n", seed)
            painter.paint("train", per_class, lambda number, label: f"training/{label}_{number}.jpg")
            painter.paint(
                "test", test_images(per_class), lambda number, label: f"testing/{label}_{number}.jpg"
            )
        return root / self.folder


def _read_names(folder: Path, name: str, report: Report) -> Listing:
    """Return the images of a folder, sorted by name, which a file system does not do by itself."""
    names, labels = [], []
    for path in sorted((folder / name).iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in EXTENSIONS:
            continue
        text, separator, _ = path.name.partition("_")
        problem = path_problem(path.name)
        if problem is None and not (separator and text in map(str, range(len(ANIMAL10N_CLASSES)))):
            problem = "its name does not begin with a class from 0 to 9 and '_'"
        if problem is not None:
            report(DataError(f"{folder / name}, {path.name!a}: {problem}.", "Unpack the archive again."))
            continue
        names.append(f"{name}/{path.name}")
        labels.append(int(text))
    return Listing(names, np.array(labels, dtype=np.int64))
