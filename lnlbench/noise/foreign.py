"""Files of noisy labels that other codes write: read, checked against the true labels, never executed.

Of a whole training set, in its order: the ``.pt`` files of CIFAR-10N (dictionaries of arrays), the ``.json``
files of DivideMix, ELR and CORES (a list of labels), the ``.npz`` files of UNICON (an array ``label``), and
``.csv`` files with a heading.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lnlbench.basics.printable import shorten
from lnlbench.data.npz import read_npz
from lnlbench.data.source import Labels
from lnlbench.errors import NoiseError
from lnlbench.noise.label_pickle import read_label_pickle
from lnlbench.noise.noise_file import NoiseFile
from lnlbench.noise.realised import labels_hash

# A label takes a few bytes; WebVision's 2.4 million are far below.
MAX_TEXT = 2**26
_CLEAN = "clean_label"
_HINT = "Check which file it is, or get it again."


@dataclass(frozen=True)
class Request:
    """What is to be read.

    Attributes
    ----------
    path : Path
    key : str or None
        Name of the array, key or column with the labels; None for the format's own.
    clean : int64 array of shape [N]
        True labels of the training set.
    classes : tuple of str
        Their names, which a csv may hold instead of numbers.
    """

    path: Path
    key: str | None
    clean: Labels
    classes: tuple[str, ...]


# From a request to noisy labels, and the true ones if the file has them.
_Reader = Callable[[Request], tuple[Labels, Labels | None]]


def import_labels(form: str, request: Request, *, dataset: str, label: str) -> NoiseFile:
    """Read labels of another code into the content of a noise file.

    Parameters
    ----------
    form : str
        One of :data:`FORMATS`.
    request : Request
    dataset : str
        The data set's label.
    label : str
        What tables call this noise.

    Returns
    -------
    NoiseFile
        Of the whole training set where the file has true labels of its own that fit the data set's.

    Raises
    ------
    NoiseError
        If the file is damaged or of another form, has more or fewer labels than the data set has samples,
        unknown labels, or labels in another order.
    """
    path, classes = request.path, len(request.classes)
    noisy, whole = FORMATS[form](request)
    clean = request.clean if whole is None else whole
    if len(noisy) != len(clean):
        raise NoiseError(
            f"{path} has {len(noisy):,} labels, and the data set has {len(clean):,} training samples.",
            "Such a file is one of the whole training set, in its official order.",
        )
    if noisy.min() < 0 or noisy.max() >= classes:
        raise NoiseError(
            f"{path} has labels from {noisy.min()} to {noisy.max()} for {classes} classes.", _HINT
        )
    if whole is None:
        _check_order(noisy, clean, classes, path)
    made = NoiseFile(
        labels=noisy,
        generator="import",
        rate=float((noisy != clean).mean()),
        settings={"format": form, "file": path.name, "key": request.key},
        seed=0,
        dataset=dataset,
        classes=classes,
        clean_sha256=labels_hash(clean),
        clean=clean,
        label=label,
    )
    made.labels_for(request.clean, classes, str(path))
    return made


def _check_order(noisy: Labels, clean: Labels, classes: int, path: Path) -> None:
    """Refuse labels that agree with the true ones no more often than by chance, as in another order."""
    given, true = (np.bincount(labels, minlength=classes) / len(labels) for labels in (noisy, clean))
    chance = float(given @ true)
    spread = (chance * (1 - chance) / len(noisy)) ** 0.5
    agreement = float((noisy == clean).mean())
    if agreement < chance + 4 * spread:
        raise NoiseError(
            f"The labels in {path} are the true ones of {agreement:.1%} of the samples, which is chance.",
            "They are in another order than the data set, or say nothing about it.",
        )


def _cifar_n(request: Request) -> tuple[Labels, Labels | None]:
    if request.key is None:
        raise NoiseError(
            f"{request.path} holds several sets of labels.",
            "Name one with --key, as in worse_label or aggre_label.",
        )
    found = read_label_pickle(request.path, (_CLEAN, request.key))
    return found[request.key], found[_CLEAN]


def _json_list(request: Request) -> tuple[Labels, Labels | None]:
    try:
        value = json.loads(_text(request.path))
    except (ValueError, RecursionError) as problem:
        raise NoiseError(f"{request.path} is no JSON: {shorten(str(problem))}.", _HINT) from problem
    if request.key is not None and isinstance(value, dict):
        value = value.get(request.key)
    if not isinstance(value, list) or not value or not all(type(item) is int for item in value):
        raise NoiseError(f"{request.path} is no list of labels.", "DivideMix writes [3, 8, 8, 0, …].")
    return _integers(value, request.path), None


def _npz_array(request: Request) -> tuple[Labels, Labels | None]:
    key = request.key or "label"
    values = read_npz(request.path, (key,), error=NoiseError)[key]
    if values.dtype.kind not in "iu" or values.ndim != 1 or not len(values):
        raise NoiseError(
            f"{request.path}: array {key} has type {values.dtype} and shape {values.shape}.",
            "Labels are integers of shape [N].",
        )
    return _integers(values.tolist(), request.path), None


def _csv_column(request: Request) -> tuple[Labels, Labels | None]:
    """Read a column of labels; with a column ``index`` its rows may come in any order."""
    key, path = request.key or "label", request.path
    numbers = {name: number for number, name in enumerate(request.classes)}
    labels: dict[int, int] = {}
    for line, row in _rows(path, key):
        index = _number(row.get("index", str(len(labels))), f"{path}:{line}: index")
        if index in labels:
            raise NoiseError(f"{path}:{line}: index {index} is there twice.", "Give each sample one label.")
        if index >= len(request.clean):
            raise NoiseError(
                f"{path}:{line}: there is no sample {index}; the data set has {len(request.clean):,}.", _HINT
            )
        text = row[key]
        labels[index] = numbers[text] if text in numbers else _number(text, f"{path}:{line}: {key}")
    return _integers([labels[index] for index in sorted(labels)], path), None


def _rows(path: Path, key: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(_text(path).splitlines(), strict=True)
    try:
        names = reader.fieldnames or ()
        if key not in names or len(set(names)) < len(names):
            raise NoiseError(
                f"{path} has no single column '{key}'; its heading is {shorten(', '.join(names))}.",
                "Name the column with --key.",
            )
        for row in reader:
            if None in row or None in row.values():
                raise NoiseError(f"{path}:{reader.line_num}: it has another number of fields.", _HINT)
            yield reader.line_num, row
    except csv.Error as problem:
        raise NoiseError(f"{path}:{reader.line_num}: {problem}.", _HINT) from problem


def _number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise NoiseError(f"{where} is '{shorten(text)}', which is no class and no number.", _HINT)
    return int(text)


def _integers(values: Sequence[Any], path: Path) -> Labels:
    outside = next((value for value in values if not 0 <= value < 2**31), None)
    if outside is not None or not values:
        what = f"the label {shorten(str(outside))}" if values else "no labels"
        raise NoiseError(f"{path} has {what}.", "Labels are 0 … C − 1.")
    return np.array(values, dtype=np.int64)


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise NoiseError(f"{path} is not a file.", "Check the path.")
        if path.stat().st_size > MAX_TEXT:
            raise NoiseError(f"{path} is larger than any file of labels.", _HINT)
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NoiseError(f"{path} does not exist.", "Check the path.") from None
    except UnicodeDecodeError:
        raise NoiseError(f"{path} is no text in UTF-8.", _HINT) from None
    except OSError as problem:
        raise NoiseError(f"{path} cannot be read: {problem.strerror}.", "Check the file.") from problem


# By what the command line calls them.
FORMATS: dict[str, _Reader] = {
    "cifar-n": _cifar_n,
    "dividemix": _json_list,
    "unicon": _npz_array,
    "csv": _csv_column,
}
SUFFIXES = {".pt": "cifar-n", ".json": "dividemix", ".npz": "unicon", ".csv": "csv"}
