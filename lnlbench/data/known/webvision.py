"""WebVision 1.0 (Li et al., 2017): what searches for ImageNet's 1,000 classes found on the web."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from lnlbench.data.known.standin import test_images
from lnlbench.data.known.standin_files import FilePainter, new_folder, write_lines
from lnlbench.data.listed import ListedSource
from lnlbench.data.lists import Listing, Report, read_listing

HOME = "data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html"
CLASSES = 1000
VALIDATION_FOLDER = "val_images_256"
VALIDATION_LIST = "info/val_filelist.txt"
NAMES_LIST = "info/synsets.txt"


class WebVision(ListedSource):
    """WebVision 1.0: 2.4 million images found by Google and Flickr, 1,000 classes.

    Training labels are the searches that found the images: use noise ``real``. The official
    validation images, whose labels are checked, are the test set; validation samples are held out
    from the training set.
    """

    title = "WebVision"
    paper = "Li et al. (2017)"
    summary = "WebVision 1.0: 2,439,574 noisy + 50,000 images, 1,000 classes"
    folder = "webvision"
    family = "webvision"
    # Two pairs of different classes share their first name in the published list. Radford et al. (2021), for
    # ImageNet.
    text_names = MappingProxyType(
        {
            "n02012849 crane": "crane bird",
            "n03126707 crane": "construction crane",
            "n03710637 maillot": "tights",
            "n03710721 maillot": "one-piece bathing suit",
        }
    )
    official = MappingProxyType({"train": 2_439_574, "test": 50_000})
    by_hand = (
        f"Get the images resized to 256 px from {HOME}, and put google/, flickr/, val_images_256/ and info/ "
        "into a folder webvision in the data folder. `lnlbench data make-standin webvision` makes a small "
        "stand-in for trying things out."
    )
    engines: ClassVar[tuple[str, ...]] = ("google", "flickr")
    first: ClassVar[int] = CLASSES  # classes that are used

    def required(self, folder: Path) -> list[Path]:
        lists = [folder / _train_list(engine) for engine in self.engines]
        images = [folder / engine for engine in self.engines]
        return [*lists, folder / VALIDATION_LIST, *images, folder / VALIDATION_FOLDER]

    def read(self, folder: Path, report: Report) -> dict[str, Listing]:
        parts = [
            read_listing(folder / _train_list(engine), CLASSES, report, keep=self.first)
            for engine in self.engines
        ]
        test = read_listing(folder / VALIDATION_LIST, CLASSES, report, keep=self.first)
        return {
            "train": Listing(
                [name for part in parts for name in part.names],
                np.concatenate([part.labels for part in parts]),
            ),
            "test": Listing([f"{VALIDATION_FOLDER}/{name}" for name in test.names], test.labels),
        }

    def class_names(self, folder: Path) -> tuple[str, ...]:
        """Return synset and first name of each class, or its number where no list has them."""
        try:
            lines = (folder / NAMES_LIST).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            lines = []  # nothing depends on the names
        if len(lines) < CLASSES:
            return tuple(str(number) for number in range(self.first))
        return tuple(line.partition(",")[0].strip() for line in lines[: self.first])

    def make_standin(self, root: Path, per_class: int, seed: int) -> Path:
        """Write a stand-in with the classes and search engines that are used, and no others."""
        with new_folder(root / self.folder) as top:
            painter = FilePainter(top, self.first, "webvision", seed)
            # Every engine gets its share of every class.
            for position, engine in enumerate(self.engines):
                count = max(1, len(range(position, per_class, len(self.engines))))
                rows = painter.paint(engine, count, partial(_query_path, engine))
                write_lines(top / _train_list(engine), [f"{k} {y}" for k, y in rows])
            held_out = painter.paint(
                "val", test_images(per_class), lambda number, _: f"{VALIDATION_FOLDER}/val{number:08d}.jpg"
            )
            lines = [f"{key.removeprefix(f'{VALIDATION_FOLDER}/')} {label}" for key, label in held_out]
            write_lines(top / VALIDATION_LIST, lines)
            write_lines(top / NAMES_LIST, [f"n{number:08d} number {number}" for number in range(CLASSES)])
        return root / self.folder


class WebVisionMini(WebVision):
    """WebVision's first 50 classes, Google's part: what papers on noisy labels report.

    As in WebVision, the test set is the official validation set (2,500 images), and validation samples
    are held out from the training set. The files are those of WebVision.
    """

    title = "WebVision (mini)"
    summary = "WebVision mini: the first 50 classes of Google's part, 65,944 noisy + 2,500 images"
    official = MappingProxyType({"train": 65_944, "test": 2_500})
    by_hand = (
        f"Get the images resized to 256 px from {HOME}, and put google/, val_images_256/ and info/ into a "
        "folder webvision in the data folder. `lnlbench data make-standin webvision_mini` makes a small "
        "stand-in for trying things out."
    )
    engines = ("google",)
    first = 50


def _query_path(engine: str, number: int, label: int) -> str:
    return f"{engine}/q{number % 40:04d}/{number:08d}.jpg"


def _train_list(engine: str) -> str:
    return f"info/train_filelist_{engine}.txt"
