"""Food-101N (Lee et al., 2018): what searches for the dishes of Food-101 found, a part of it verified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from lnlbench.data.class_prompts import FOOD
from lnlbench.data.dataset import UNKNOWN, WRONG
from lnlbench.data.known.standin import test_images
from lnlbench.data.known.standin_files import FilePainter, new_folder, write_lines
from lnlbench.data.listed import ListedSource
from lnlbench.data.lists import Listing, Report, mistake, path_problem, text_lines
from lnlbench.data.source import Labels
from lnlbench.errors import DataError

NOISY, CLEAN = "Food-101N_release", "food-101"
CLASSES_LIST = f"{NOISY}/meta/classes.txt"
TRAIN_LIST = f"{NOISY}/meta/imagelist.tsv"
VERIFIED_LISTS = (f"{NOISY}/meta/verified_train.tsv", f"{NOISY}/meta/verified_val.tsv")
TEST_LIST = f"{CLEAN}/meta/test.txt"
_HEADINGS = ("class_name", "class_name/key", "class_name/key verification_label")

# The published lists name one image as of another class than the list of images does.
_TOLERATED = 10


class Food101N(ListedSource):
    """Food-101N: 310,009 noisy images of 101 dishes, and the 25,250 clean test images of Food-101.

    About 20 % of the training labels are wrong: use noise ``real``. People verified 57,609 of them, as right
    or wrong; this is the truth that realised rate, purity, recall and AUC are measured on. Which class a
    wrong one should have nobody says. All 310,009 images are for training, and validation samples are held
    out from them.
    """

    title = "Food-101N"
    paper = "Lee et al. (2018)"
    homepage = "kuanghuei.github.io/Food-101N"
    summary = "Food-101N: 310,009 noisy + 25,250 images of Food-101, 101 classes, 57,609 labels verified"
    folder = "food101n"
    family = "food101n"
    templates = FOOD
    official = MappingProxyType({"train": 310_009, "test": 25_250})
    by_hand = (
        "Get Food-101N from kuanghuei.github.io/Food-101N and Food-101, whose test images are used, from "
        "data.vision.ee.ethz.ch/cvl/datasets_extra/food-101, and put the folders Food-101N_release/ and "
        "food-101/ into a folder food101n in the data folder. `lnlbench data make-standin food101n` makes a "
        "small stand-in for trying things out."
    )

    def required(self, folder: Path) -> list[Path]:
        names = (CLASSES_LIST, TRAIN_LIST, *VERIFIED_LISTS, TEST_LIST, f"{NOISY}/images", f"{CLEAN}/images")
        return [folder / name for name in names]

    def read(self, folder: Path, report: Report) -> dict[str, Listing]:
        classes = self.class_names(folder)
        train = _read_list(folder / TRAIN_LIST, classes, report)
        test = _read_list(folder / TEST_LIST, classes, report)
        return {
            "train": Listing(
                [f"{NOISY}/images/{key}" for key in train],
                _labels(train, classes),
                _read_truth(folder, train, classes, report),
            ),
            "test": Listing([f"{CLEAN}/images/{key}.jpg" for key in test], _labels(test, classes)),
        }

    def class_names(self, folder: Path) -> tuple[str, ...]:
        path = folder / CLASSES_LIST
        names = tuple(line for _, line in text_lines(path) if line not in _HEADINGS)
        if len(names) < 2 or len(set(names)) < len(names):
            raise DataError(f"{path} does not have different names of classes.", "Copy it again.")
        return names

    def make_standin(self, root: Path, per_class: int, seed: int) -> Path:
        """Write a stand-in, of whose training images every second one is verified."""
        names = [f"dish_{number:03d}" for number in range(101)]
        with new_folder(root / self.folder) as top:
            painter = FilePainter(top, len(names), "food101n", seed)
            rows = painter.paint("train", per_class, lambda n, y: f"{NOISY}/images/{names[y]}/{n:08d}.jpg")
            held_out = painter.paint(
                "test", test_images(per_class), lambda n, y: f"{CLEAN}/images/{names[y]}/{n}.jpg"
            )
            keys = [
                (path.removeprefix(f"{NOISY}/images/"), int(painter.shown[path] == y)) for path, y in rows
            ]
            write_lines(top / CLASSES_LIST, [_HEADINGS[0], *names])
            write_lines(top / TRAIN_LIST, [_HEADINGS[1], *(key for key, _ in keys)])
            for name, part in zip(VERIFIED_LISTS, (keys[::4], keys[1::4]), strict=True):
                heading = _HEADINGS[2].replace(" ", "\t")
                write_lines(top / name, [heading, *(f"{key}\t{right}" for key, right in part)])
            tests = [path.removeprefix(f"{CLEAN}/images/").removesuffix(".jpg") for path, _ in held_out]
            write_lines(top / TEST_LIST, tests)
        return root / self.folder


def _read_list(path: Path, classes: Sequence[str], report: Report) -> list[str]:
    """Return the keys ``CLASS/FILE`` of a list, each once."""
    known, keys = frozenset(classes), dict[str, int]()
    for number, key in text_lines(path):
        if key in _HEADINGS:
            continue
        problem = path_problem(key)
        if problem is None and key.partition("/")[0] not in known:
            problem = f"'{key}' is of no class in {CLASSES_LIST}"
        if problem is None and keys.setdefault(key, number) != number:
            problem = f"'{key}' is in line {keys[key]} already"
        if problem is not None:
            report(mistake(path, number, problem))
    return [key for key in keys if key.partition("/")[0] in known and path_problem(key) is None]


def _read_truth(folder: Path, keys: Sequence[str], classes: Sequence[str], report: Report) -> Labels:
    """Return the label of each image that was verified as right, WRONG, or UNKNOWN of those that were not."""
    places = {key: number for number, key in enumerate(keys)}
    labels = _labels(keys, classes)
    clean = np.full(len(keys), UNKNOWN, dtype=np.int64)
    absent: list[DataError] = []
    for name in VERIFIED_LISTS:
        path = folder / name
        for number, line in text_lines(path):
            if line in _HEADINGS:
                continue
            key, _, verdict = line.rpartition(" ")
            place = places.get(key.rstrip())
            if verdict not in ("0", "1"):
                report(mistake(path, number, f"the verification '{verdict}' is neither 0 nor 1"))
            elif place is None:
                absent.append(mistake(path, number, f"'{key}' is no image of {TRAIN_LIST}"))
            else:
                truth = labels[place] if verdict == "1" else WRONG
                if clean[place] not in (UNKNOWN, truth):
                    report(mistake(path, number, f"'{key}' was verified otherwise before"))
                clean[place] = truth
    if len(absent) > _TOLERATED:
        for problem in absent:
            report(problem)
    return clean


def _labels(keys: Sequence[str], classes: Sequence[str]) -> Labels:
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[key.partition("/")[0]] for key in keys], dtype=np.int64)
