"""Stand-ins for data sets of listed image files: JPEGs of various sizes, and the real lists."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from lnlbench.data.clothing1m import CLOTHING1M_CLASSES
from lnlbench.data.listed import STANDIN_FILE
from lnlbench.data.standin import NOTICE, Painter, test_images
from lnlbench.data.webvision import CLASSES, NAMES_LIST, VALIDATION_FOLDER, VALIDATION_LIST
from lnlbench.errors import DataError
from lnlbench.seeding import numpy_stream

# Share of the training labels that are wrong: as estimated for the data sets themselves (Song et al., 2022).
_NOISE = {"clothing1m": 0.385, "webvision": 0.2}

_SIDES = (64, 129)  # range of the images' sides in pixels, the upper one excluded
_QUALITY = 90


def write_clothing1m(folder: Path, per_class: int, seed: int) -> Path:
    """Write a stand-in for Clothing1M; see :meth:`lnlbench.data.source.DatasetSource.make_standin`."""
    classes = len(CLOTHING1M_CLASSES)
    held_out = test_images(per_class)
    with _new_folder(folder) as top:
        painter = _FilePainter(top, classes, "clothing1m", seed)
        lists = {
            part: painter.paint(
                part, count, lambda number: f"images/{number % 10}/{number % 100:02d}/{number:09d}.jpg"
            )
            for part, count in (
                ("noisy_train", per_class),
                ("clean_train", 1),
                ("clean_val", held_out),
                ("clean_test", held_out),
            )
        }
        for part, entries in lists.items():
            _write_lines(top / "annotations" / f"{part}_key_list.txt", [key for key, _ in entries])
        for kind in ("noisy", "clean"):
            lines = [f"{k} {y}" for part, rows in lists.items() if part.startswith(kind) for k, y in rows]
            _write_lines(top / "annotations" / f"{kind}_label_kv.txt", lines)
    return folder


def write_webvision(folder: Path, engines: tuple[str, ...], classes: int, per_class: int, seed: int) -> Path:
    """Write a stand-in for WebVision, with its first classes and some of its search engines only."""
    with _new_folder(folder) as top:
        painter = _FilePainter(top, classes, "webvision", seed)
        # Every engine gets its share of every class.
        for position, engine in enumerate(engines):
            count = max(1, len(range(position, per_class, len(engines))))
            rows = painter.paint(engine, count, partial(_query_path, engine))
            _write_lines(top / f"info/train_filelist_{engine}.txt", [f"{k} {y}" for k, y in rows])
        held_out = painter.paint(
            "val", test_images(per_class), lambda number: f"{VALIDATION_FOLDER}/val{number:08d}.jpg"
        )
        lines = [f"{key.removeprefix(f'{VALIDATION_FOLDER}/')} {label}" for key, label in held_out]
        _write_lines(top / VALIDATION_LIST, lines)
        _write_lines(top / NAMES_LIST, [f"n{number:08d} number {number}" for number in range(CLASSES)])
    return folder


def _query_path(engine: str, number: int) -> str:
    return f"{engine}/q{number % 40:04d}/{number:08d}.jpg"


class _FilePainter:
    """Writes the images of a stand-in, numbered through all of its parts."""

    def __init__(self, top: Path, classes: int, name: str, seed: int) -> None:
        self._top = top
        self._classes = classes
        self._name = name
        self._seed = seed
        self._number = 0

    def paint(self, part: str, per_class: int, key_of: Callable[[int], str]) -> list[tuple[str, int]]:
        """Write ``per_class`` images of each class, and return their paths and labels in random order.

        In parts for training, some images show another class than their label says.
        """
        training = part not in ("val", "clean_val", "clean_test")
        noisy = training and part != "clean_train"
        painter = Painter(self._classes, training)
        rng = numpy_stream("stand-in", self._name, part, self._seed)
        entries = []
        for label in rng.permutation(np.repeat(np.arange(self._classes), per_class)).tolist():
            shown = label
            if noisy and rng.random() < _NOISE[self._name]:
                shown = (label + int(rng.integers(1, self._classes))) % self._classes
            self._number += 1
            key = key_of(self._number)
            height, width = (int(side) for side in rng.integers(*_SIDES, 2))
            path = self._top / key
            path.parent.mkdir(parents=True, exist_ok=True)
            painter.paint(shown, height, width, rng).save(path, quality=_QUALITY)
            entries.append((key, label))
        return entries


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
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
