"""Clothing1M (Xiao et al., 2015): a million images of clothes with the labels of web shops."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np

from lnlbench.data.class_prompts import CLOTHES
from lnlbench.data.known.standin import test_images
from lnlbench.data.known.standin_files import FilePainter, new_folder, write_lines
from lnlbench.data.listed import ListedSource
from lnlbench.data.lists import Listing, Report, read_keys, read_listing
from lnlbench.errors import DataError

CLOTHING1M_CLASSES = (
    "T-shirt",
    "Shirt",
    "Knitwear",
    "Chiffon",
    "Sweater",
    "Hoodie",
    "Windbreaker",
    "Jacket",
    "Down coat",
    "Suit",
    "Shawl",
    "Dress",
    "Vest",
    "Underwear",
)

# Split → the list of its images, and the list that has their labels.
SPLITS = {
    "train": ("noisy_train_key_list.txt", "noisy_label_kv.txt"),
    "validation": ("clean_val_key_list.txt", "clean_label_kv.txt"),
    "test": ("clean_test_key_list.txt", "clean_label_kv.txt"),
}


class Clothing1M(ListedSource):
    """Clothing1M: a million noisy training images, 14 classes, clean validation and test images.

    The labels of the training images are those of the shops: use noise ``real``. The 47,570 training
    images with clean labels are not used. Validation and test labels are clean.
    """

    title = "Clothing1M"
    paper = "Xiao et al. (2015)"
    summary = "Clothing1M: 1,000,000 noisy + 14,313 + 10,526 images, 14 classes"
    folder = "clothing1m"
    family = "clothing1m"
    templates = CLOTHES
    official = MappingProxyType({"train": 1_000_000, "validation": 14_313, "test": 10_526})
    by_hand = (
        "Clothing1M is given out by its authors on request (see github.com/Cysu/noisy_label). Put its "
        "images/ and its lists (noisy_label_kv.txt, clean_label_kv.txt and the key lists; they may be in "
        "annotations/) into a folder clothing1m in the data folder. `lnlbench data make-standin clothing1m` "
        "makes a small stand-in for trying things out."
    )

    def required(self, folder: Path) -> list[Path]:
        lists = dict.fromkeys(name for pair in SPLITS.values() for name in pair)
        return [folder / "images", *(_list(folder, name) for name in lists)]

    def read(self, folder: Path, report: Report) -> dict[str, Listing]:
        known: dict[str, dict[str, int]] = {}
        listings = {}
        for part, (keys_file, labels_file) in SPLITS.items():
            if labels_file not in known:
                every = read_listing(_list(folder, labels_file), len(CLOTHING1M_CLASSES), report)
                known[labels_file] = dict(zip(every.names, every.labels.tolist(), strict=True))
            labels = known[labels_file]
            keys = []
            for key in read_keys(_list(folder, keys_file), report):
                if key in labels:
                    keys.append(key)
                else:
                    where = _list(folder, keys_file)
                    report(DataError(f"{where}: '{key}' has no label in {labels_file}.", "Copy both again."))
            listings[part] = Listing(keys, np.array([labels[key] for key in keys], dtype=np.int64))
        return listings

    def class_names(self, folder: Path) -> tuple[str, ...]:
        return CLOTHING1M_CLASSES

    def make_standin(self, root: Path, per_class: int, seed: int) -> Path:
        classes, held_out = len(CLOTHING1M_CLASSES), test_images(per_class)
        counts = {"noisy_train": per_class, "clean_train": 1, "clean_val": held_out, "clean_test": held_out}
        with new_folder(root / self.folder) as top:
            painter = FilePainter(top, classes, "clothing1m", seed)
            lists = {part: painter.paint(part, count, _key) for part, count in counts.items()}
            for part, entries in lists.items():
                write_lines(top / "annotations" / f"{part}_key_list.txt", [key for key, _ in entries])
            for kind in ("noisy", "clean"):
                lines = [f"{k} {y}" for part, rows in lists.items() if part.startswith(kind) for k, y in rows]
                write_lines(top / "annotations" / f"{kind}_label_kv.txt", lines)
        return root / self.folder


def _key(number: int, label: int) -> str:
    return f"images/{number % 10}/{number % 100:02d}/{number:09d}.jpg"


def _list(folder: Path, name: str) -> Path:
    """Return where a list is: at the top, or in ``annotations``."""
    below = folder / "annotations" / name
    return below if below.exists() else folder / name
