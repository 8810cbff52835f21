"""Image folders: ``train/CLASS/*.png``, ``test/CLASS/*.png`` and, if there is one, ``val/CLASS/*.png``."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from lnlbench.basics.printable import check_characters, shorten
from lnlbench.data.dataset import UNKNOWN
from lnlbench.data.image_files import VerifiedFiles
from lnlbench.data.source import Dataset, DatasetSource, Labels, Split, assemble, local_path, spec_path
from lnlbench.errors import DataError
from lnlbench.spec import DatasetSpec

# The file that says what training images truly show.
CLEAN = "clean.csv"
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm"})


class ImageFolder(DatasetSource):
    """A folder of images: ``imagefolder:PATH``.

    Classes are the folders below ``train``, sorted by name; files are sorted by name, folders
    below a class and names that start with a dot are left out. Images are taken as they are
    stored: an orientation in their metadata is not applied. A file ``clean.csv`` in the folder may say the
    true classes of training images: ``path,clean``, with paths as in ``train/CLASS/1.png``.
    """

    summary = "a folder of images: train/CLASS/*.png, test/CLASS/*.png, and val/ if there is one"
    takes_path: ClassVar[bool] = True

    def missing(self, path: str | None, root: Path | None) -> str | None:
        folder = local_path(path, root, "imagefolder")
        for part in ("train", "test"):
            if not (folder / part).is_dir():
                return f"{folder / part} is not a folder. Arrange the images as {part}/CLASS/*.png."
        return None

    def load(self, spec: DatasetSpec, root: Path | None) -> Dataset:
        folder = spec_path(spec, root)
        problem = self.missing(str(folder), None)
        if problem:
            raise DataError(problem)
        classes = tuple(item.name for item in _entries(folder / "train", folder) if item.is_dir())
        if len(classes) < 2:
            raise DataError(
                f"{folder / 'train'} has {len(classes)} class folders; at least two are needed.",
                "Arrange the images as train/CLASS/*.png.",
            )
        train, names = _read_split(folder, "train", classes)
        if (folder / CLEAN).is_file():
            train = dataclasses.replace(train, clean=read_clean(folder / CLEAN, names, classes))
        return assemble(
            spec,
            family="custom",
            classes=classes,
            train=train,
            test=_read_split(folder, "test", classes)[0],
            validation=_read_split(folder, "val", classes)[0] if (folder / "val").is_dir() else None,
        )


def _entries(folder: Path, root: Path) -> list[Path]:
    """Return what is in a folder, sorted; a link that leads out of ``root`` is an error."""
    entries = sorted(item for item in folder.iterdir() if not item.name.startswith("."))
    for item in (folder, *entries):
        check_characters(item.name, f"a name in {item.parent}")
        if item.is_symlink() and not _target(item).is_relative_to(root.resolve()):
            raise DataError(
                f"{item} is a link to {_target(item)}, outside of {root}.",
                "Copy the files, or give the folder that holds them all.",
            )
        if not item.is_dir() and not item.is_file():  # a pipe or a device may have no end
            raise DataError(f"{item} is neither a file nor a folder.", "Remove it.")
    return entries


def _target(link: Path) -> Path:
    try:
        return link.resolve()
    except (OSError, RuntimeError) as error:  # the second for a circle, in Python before 3.13
        raise DataError(f"{link} is a link that leads nowhere.", "Remove it.") from error


def _read_split(root: Path, part: str, classes: tuple[str, ...]) -> tuple[Split, list[str]]:
    """Return a split, and the paths of its images."""
    names: list[str] = []
    labels: list[int] = []
    for folder in _entries(root / part, root):
        if not folder.is_dir():
            continue
        if folder.name not in classes:
            raise DataError(
                f"{folder} is a class that {root / 'train'} does not have.",
                "Every class needs training images.",
            )
        files = [item for item in _entries(folder, root) if item.suffix.lower() in EXTENSIONS]
        if part == "train" and not files:
            raise DataError(
                f"{folder} holds no image.", f"Known extensions: {', '.join(sorted(EXTENSIONS))}."
            )
        names += [item.relative_to(root).as_posix() for item in files]
        labels += [classes.index(folder.name)] * len(files)
    if not names:
        raise DataError(f"{root / part} holds no image.", f"Arrange the images as {part}/CLASS/*.png.")
    images = VerifiedFiles(root, names)
    return Split(images=images, features=None, labels=np.array(labels, dtype=np.int64)), names


def read_clean(path: Path, names: Sequence[str], classes: Sequence[str]) -> Labels:
    """Read the true classes of images.

    Parameters
    ----------
    path : Path
        A csv file with the columns ``path`` and ``clean``. Others are left alone.
    names : sequence of str
        Paths of the N training images.
    classes : sequence of str

    Returns
    -------
    int64 array of shape [N]
        :data:`lnlbench.data.dataset.UNKNOWN` for images without a row.

    Raises
    ------
    DataError
        If it cannot be read, or a row names no training image, one a second time, or no class.
    """
    places = {name: number for number, name in enumerate(names)}
    numbers = {name: number for number, name in enumerate(classes)}
    clean = np.full(len(names), UNKNOWN, dtype=np.int64)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            for row in reader:
                where, name = f"{path}:{reader.line_num}", row.get("path") or ""
                if name not in places:
                    raise DataError(f"{where}: '{shorten(name)}' is no training image.", "Mend the row.")
                if clean[places[name]] != UNKNOWN:
                    raise DataError(f"{where}: '{shorten(name)}' is there twice.", "Mend the row.")
                label = row.get("clean") or ""
                if label not in numbers:
                    raise DataError(f"{where}: '{shorten(label)}' is no class folder.", "Mend the row.")
                clean[places[name]] = numbers[label]
    except (csv.Error, UnicodeDecodeError, OSError) as problem:
        raise DataError(f"{path} cannot be read as csv: {problem}.", "Save it as csv in UTF-8.") from problem
    return clean
