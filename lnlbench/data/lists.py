"""Lists of image files, as large data sets publish them: one path a line, with or without a label.

Every mistake is reported with its file and line. What happens then is the caller's choice: loading
stops at the first one, ``lnlbench data check`` collects them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from lnlbench.data.source import Labels
from lnlbench.errors import DataError

Report = Callable[[DataError], object]


@dataclass(frozen=True, eq=False)
class Listing:
    """Images and their labels, in the order of a list.

    Attributes
    ----------
    names : list of str
        Paths, with forward slashes, below a folder that the caller knows.
    labels : int64 array of shape [N]
    clean : int64 array of shape [N] or None
        True labels where the data set has some; see :class:`lnlbench.data.dataset.Split`.
    """

    names: list[str]
    labels: Labels
    clean: Labels | None = None

    def __len__(self) -> int:
        return len(self.names)


def stop(problem: DataError) -> NoReturn:
    """Report a problem by raising it."""
    raise problem


def read_listing(path: Path, classes: int, report: Report = stop, *, keep: int | None = None) -> Listing:
    """Read lines ``PATH LABEL``.

    Parameters
    ----------
    path : Path
    classes : int
        Labels are 0 … classes − 1.
    report : callable
        Takes a :class:`DataError` for each mistake; a line with one is left out if it returns.
    keep : int, optional
        Keep the images of the first classes only; the others are read and checked as well.

    Returns
    -------
    Listing
        A line that is repeated word for word counts once.

    Raises
    ------
    DataError
        If the file cannot be read, a path leads elsewhere, a label is no class, or an image has
        two different labels.
    """
    labels: dict[str, int] = {}
    for number, line in text_lines(path):
        name, _, text = line.rpartition(" ")
        name = name.rstrip()
        problem = path_problem(name) if name else "it is not a path and a label"
        label = int(text) if text.isascii() and text.isdigit() else -1
        if problem is None and not 0 <= label < classes:
            problem = f"the label '{text}' is not a class from 0 to {classes - 1}"
        if problem is None and labels.setdefault(name, label) != label:
            problem = f"'{name}' had the label {labels[name]} before, and now has {label}"
        if problem is not None:
            report(mistake(path, number, problem))
    kept = labels if keep is None else {name: label for name, label in labels.items() if label < keep}
    return Listing(list(kept), np.fromiter(kept.values(), dtype=np.int64, count=len(kept)))


def read_keys(path: Path, report: Report = stop) -> list[str]:
    """Read lines ``PATH``; parameters and errors as for :func:`read_listing`.

    A path that is repeated is a mistake: one of the samples would count twice.
    """
    keys: dict[str, int] = {}
    for number, name in text_lines(path):
        problem = path_problem(name)
        if problem is None and keys.setdefault(name, number) != number:
            problem = f"'{name}' is in line {keys[name]} already"
        if problem is not None:
            report(mistake(path, number, problem))
    return list(keys)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file that are not blank, with their numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, 1):
                text = line.strip().replace("\t", " ")
                if text:
                    yield number, text
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", "Copy the data set's lists again.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not a text file in UTF-8.", "Copy the data set's lists again.") from None
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror}.", "Check the file.") from problem


def path_problem(name: str) -> str | None:
    """Say why a path cannot be one below the data set's folder; None if it can."""
    if not name.isprintable():
        return f"the path {name!a} holds control characters"
    if name.startswith("/") or "\\" in name:
        return f"the path '{name}' is not one below the data set's folder"
    if ".." in name and ".." in name.split("/"):
        return f"the path '{name}' leads out of the data set's folder"
    return None


def mistake(path: Path, number: int, problem: str) -> DataError:
    """Return the error for a line of a list."""
    return DataError(f"{path}:{number}: {problem}.", "Copy the list again, or mend the line.")
