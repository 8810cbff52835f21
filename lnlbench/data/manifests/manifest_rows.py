"""Rows of a manifest: which image, which label, perhaps the true one, and which split."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lnlbench.basics.printable import shorten
from lnlbench.data.dataset import UNKNOWN
from lnlbench.data.lists import path_problem
from lnlbench.data.source import Labels
from lnlbench.errors import DataError

Report = Callable[[DataError], object]

SPLITS = {
    "train": "train",
    "test": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
_MEND = "Mend the row, or take it out."


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A row as it is written.

    Attributes
    ----------
    place : int
        Its line in a csv, its number from 0 in a parquet.
    path : str
        Of the image; "" where the image is in the manifest.
    label, clean : str
        ``clean`` is "" where nobody knows it.
    split : str
        "" for ``train``.
    """

    place: int
    path: str
    label: str
    clean: str = ""
    split: str = ""


@dataclass(frozen=True, eq=False)
class Part:
    """A split of a manifest.

    Attributes
    ----------
    numbers : list of int
        Which rows these are, counted from 0.
    names : list of str
        Paths below :attr:`ManifestTable.base`; "" where the images are in the manifest.
    labels : int64 array of shape [N]
    clean : int64 array of shape [N] or None
        True labels; None if the manifest has none of this split.
    """

    numbers: list[int]
    names: list[str]
    labels: Labels
    clean: Labels | None


@dataclass(frozen=True, eq=False)
class ManifestTable:
    """A manifest that was read.

    Attributes
    ----------
    base : Path
        The folder that paths are below.
    classes : tuple of str
    parts : dict of str to Part
        ``train``, ``test`` and, if there is one, ``validation``.
    """

    base: Path
    classes: tuple[str, ...]
    parts: dict[str, Part]


def read_csv(path: Path, report: Report) -> Iterator[ManifestRow]:
    """Yield the rows of a csv file with a heading; columns other than a manifest's are left alone."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames or ()
            absent = [name for name in ("path", "label") if names.count(name) != 1]
            if absent or names.count("clean") > 1 or names.count("split") > 1:
                raise DataError(
                    f"{path} does not have one column {absent[0] if absent else 'clean and split'}; its "
                    f"heading is '{shorten(', '.join(names))}'.",
                    "The first line is path,label or path,label,clean,split.",
                )
            for fields in reader:
                if None in fields or None in fields.values():
                    report(
                        _mistake(path, reader.line_num, "it has another number of fields than the heading")
                    )
                    continue
                yield ManifestRow(
                    reader.line_num,
                    fields["path"],
                    fields["label"].strip(),
                    (fields.get("clean") or "").strip(),
                    (fields.get("split") or "").strip(),
                )
    except UnicodeDecodeError:
        raise DataError(f"{path} is not a text file in UTF-8.", "Save it as UTF-8.") from None
    except csv.Error as problem:
        raise DataError(f"{path} cannot be read as csv: {problem}.", "Save it as csv again.") from problem
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror}.", "Check the path.") from problem


def build_table(
    rows: Iterable[ManifestRow],
    path: Path,
    bases: Sequence[Path],
    report: Report,
    *,
    names: Sequence[str] | None = None,
    stored: bool = False,
) -> ManifestTable:
    """Check rows, and sort them into splits.

    Parameters
    ----------
    rows : iterable of ManifestRow
    path : Path
        The manifest.
    bases : sequence of Path
        Folders that paths may be below; the first that has the first image is taken for all.
    report : callable
        Takes a DataError for each wrong row, which is left out if it returns.
    names : sequence of str, optional
        Of the classes. Default: the labels of the training rows, sorted; as numbers if all are.
    stored : bool, default False
        Whether the images are in the manifest, so that rows need no path.

    Raises
    ------
    DataError
        For what concerns the manifest as a whole.
    """
    kept: dict[str, list[tuple[int, ManifestRow, str]]] = {
        part: [] for part in ("train", "validation", "test")
    }
    seen: dict[str, int] = {}
    base = bases[0]
    for number, row in enumerate(rows):
        if not seen and not stored:
            base = _choose_base(row.path, bases)
        name, problem = ("", None) if stored else _name_of(row.path, base)
        part = SPLITS.get(row.split or "train")
        if problem is None and not (row.label and row.label.isprintable()):
            problem = f"its label {row.label!a} holds control characters" if row.label else "it has no label"
        if problem is None and part is None:
            problem = f"its split '{shorten(row.split)}' is none of {', '.join(SPLITS)}"
        if problem is None and name and seen.setdefault(name, row.place) != row.place:
            problem = f"'{shorten(name)}' is in row {seen[name]} already"
        if problem is not None or part is None:
            report(_mistake(path, row.place, problem or "it has no split"))
            continue
        kept[part].append((number, row, name))
    for part in ("train", "test"):
        if not kept[part]:
            raise DataError(
                f"{path} has no row of the {part} split.",
                "A column split says train, validation or test; without it all rows are for training. Mark "
                "rows whose labels you trust with test.",
            )
    classes = tuple(names) if names is not None else _classes(row.label for _, row, _ in kept["train"])
    if len(classes) < 2:
        raise DataError(f"{path} has the class {', '.join(classes)} alone.", "At least two are needed.")
    index = {name: position for position, name in enumerate(classes)}
    parts = {part: _part(path, index, found, report) for part, found in kept.items() if found}
    lacking = np.flatnonzero(np.bincount(parts["train"].labels, minlength=len(classes)) == 0)
    if len(lacking):
        raise DataError(
            f"{path} has no training row of class '{classes[lacking[0]]}'.",
            "Every class needs training images.",
        )
    return ManifestTable(base, classes, parts)


def _part(
    path: Path, index: Mapping[str, int], rows: list[tuple[int, ManifestRow, str]], report: Report
) -> Part:
    numbers, names, labels, clean = [], [], [], []
    for number, row, name in rows:
        unknown = next((text for text in (row.label, row.clean) if text and text not in index), None)
        if unknown is not None:
            known = "no label of a training row"
            report(_mistake(path, row.place, f"'{shorten(unknown)}' is {known}"))
            continue
        numbers.append(number)
        names.append(name)
        labels.append(index[row.label])
        clean.append(index[row.clean] if row.clean else UNKNOWN)
    truth = np.array(clean, dtype=np.int64)
    known_truth = truth if (truth != UNKNOWN).any() else None
    return Part(numbers, names, np.array(labels, dtype=np.int64), known_truth)


def _classes(labels: Iterable[str]) -> tuple[str, ...]:
    found = set(labels)
    numbers = all(text.isascii() and text.isdecimal() for text in found)
    return tuple(sorted(found, key=lambda text: (int(text) if numbers else 0, text)))


def _choose_base(name: str, bases: Sequence[Path]) -> Path:
    """Return the folder that an image is below: where it is, else the first."""
    for base in bases:
        inside, problem = _name_of(name, base)
        if problem is None and os.path.lexists(base / inside):
            return base
    return bases[0]


def _name_of(name: str, base: Path) -> tuple[str, str | None]:
    """Return a path below a folder, and why it is none."""
    inside = name
    if name.startswith("/"):
        top = f"{base.absolute()}/"
        if not name.startswith(top):
            return "", f"'{shorten(name)}' is not below {base}; --data gives another folder"
        inside = name.removeprefix(top)
    parts = [part for part in inside.split("/") if part not in ("", ".")]
    problem = path_problem(inside) if parts else "it has no path"
    return "/".join(parts), problem


def _mistake(path: Path, place: int, problem: str) -> DataError:
    return DataError(f"{path}, row {place}: {problem}.", _MEND)
