"""Parts of stand-ins for data sets of listed image files: JPEGs of various sizes, and lists."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lnlbench.basics.seeding import numpy_stream
from lnlbench.data.known.standin import NOTICE, Painter
from lnlbench.data.listed import STANDIN_FILE
from lnlbench.errors import DataError

# Share of the training labels that are wrong: as estimated for the data sets themselves (Song et al., 2022).
_NOISE = {"animal10n": 0.08, "clothing1m": 0.385, "food101n": 0.2, "webvision": 0.2}

_SIDES = (64, 129)  # range of the images' sides in pixels, the upper one excluded
_QUALITY = 90


class FilePainter:
    """Writes the images of a stand-in, numbered through all of its parts."""

    def __init__(self, top: Path, classes: int, name: str, seed: int) -> None:
        self._top = top
        self._classes = classes
        self._name = name
        self._seed = seed
        self._number = 0
        self.shown: dict[str, int] = {}  # by path, the class that an image truly shows

    def paint(self, part: str, per_class: int, key_of: Callable[[int, int], str]) -> list[tuple[str, int]]:
        """Write ``per_class`` images of each class, and return their paths and labels in random order.

        In parts for training, some images show another class than their label says. A path is made of an
        image's number and its label.
        """
        training = part not in ("val", "test", "clean_val", "clean_test")
        noisy = training and part != "clean_train"
        painter = Painter(self._classes, training)
        rng = numpy_stream("stand-in", self._name, part, self._seed)
        entries = []
        for label in rng.permutation(np.repeat(np.arange(self._classes), per_class)).tolist():
            shown = label
            if noisy and rng.random() < _NOISE[self._name]:
                shown = (label + int(rng.integers(1, self._classes))) % self._classes
            self._number += 1
            key = key_of(self._number, label)
            self.shown[key] = shown
            height, width = (int(side) for side in rng.integers(*_SIDES, 2))
            path = self._top / key
            path.parent.mkdir(parents=True, exist_ok=True)
            painter.paint(shown, height, width, rng).save(path, quality=_QUALITY)
            entries.append((key, label))
        return entries


def write_lines(path: Path, lines: list[str]) -> None:
    """Write a list, a line for each entry."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Fill a folder under another name, and give it its own when it is complete."""
    if folder.exists():
        what = "a stand-in" if (folder / STANDIN_FILE).exists() else "something else"
        raise DataError(
            f"{folder} is there already, and is {what}.",
            "Remove it first, or choose another folder with --data.",
        )
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        (part / STANDIN_FILE).write_text(NOTICE, encoding="utf-8")
        yield part
        part.rename(folder)
    except OSError as problem:
        raise DataError(
            f"{folder} cannot be written: {problem.strerror}.", "Choose another --data."
        ) from problem
    finally:
        shutil.rmtree(part, ignore_errors=True)
