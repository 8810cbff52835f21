"""A cleaned manifest: which files to train on, with which labels. The data stay as they are."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass

from lnlbench.audit.findings_files import SHEET
from lnlbench.audit.subject import Subject
from lnlbench.data.dataset import Dataset, Split
from lnlbench.errors import DataError, StoreError

SPLITS = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A manifest, and what it does.

    Attributes
    ----------
    text : str
        CSV with the columns ``path,label,split``.
    kept, dropped, relabelled : int
        Training samples.
    """

    text: str
    kept: int
    dropped: int
    relabelled: int


def clean_manifest(
    dataset: Dataset, subject: Subject, sheet: list[dict[str, str]], *, relabel: bool
) -> Cleaned:
    """Return the manifest that a reader's verdicts ask for.

    Parameters
    ----------
    dataset : Dataset
        Its validation and test splits are listed as they are.
    subject : Subject
        Its training samples, with the labels that were audited.
    sheet : list of rows
        Of ``verdicts.csv``; ``suspected`` and ``suggested`` decide.
    relabel : bool
        Give suspected samples their suggested label; else leave them out.

    Raises
    ------
    DataError
        If the data are not in files, or a class would have no sample left.
    StoreError
        If the rows are not those of this data set, or say what cannot be done.
    """
    files = subject.files
    if files is None:
        raise DataError(
            f"{subject.name} has no files that a manifest could name.",
            f"Use the columns sample, suspected and suggested of {SHEET}.",
        )
    labels = _labels(subject, sheet)
    rows: list[tuple[str, str, str]] = []
    changed = Counter[str]()
    for sample, (given, suggested) in enumerate(zip(subject.labels, labels, strict=True)):
        suspected = suggested is not None
        changed["dropped" if suspected and not relabel else "kept"] += 1
        if suspected and not relabel:
            continue
        name = suggested if suggested is not None else subject.classes[given]
        changed["relabelled"] += name != subject.classes[given]
        rows.append((files[sample], name, SPLITS["train"]))
    left = {label for _, label, _ in rows}
    for name in subject.classes:
        if name not in left:
            raise DataError(
                f"Class {name} would have no training sample left.",
                f"Say in {SHEET} which of its suspects are right (suspected: False).",
            )
    for part in ("validation", "test"):
        split: Split | None = getattr(dataset, part)
        if split is not None and split.images is not None and split.images.files is not None:
            names = (dataset.classes[label] for label in split.labels)
            rows += [(path, name, SPLITS[part]) for path, name in zip(split.images.files, names, strict=True)]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([("path", "label", "split"), *rows])
    return Cleaned(stream.getvalue(), changed["kept"], changed["dropped"], changed["relabelled"])


def _labels(subject: Subject, sheet: list[dict[str, str]]) -> list[str | None]:
    """Return each sample's new label; None where it is not suspected."""
    labels: list[str | None] = [None] * len(subject)
    seen: set[int] = set()
    for number, row in enumerate(sheet, start=2):
        where = f"{SHEET}, line {number}"
        sample = int(row["sample"]) if row["sample"].isdecimal() else -1
        if not 0 <= sample < len(subject) or sample in seen:
            raise StoreError(f"{where}: there is no sample '{row['sample']}', or twice.", "Put it back.")
        seen.add(sample)
        if _undefused(row["given"], subject.classes) != subject.classes[subject.labels[sample]]:
            raise StoreError(
                f"{where}: sample {sample} was audited with the label '{row['given']}', and now has "
                f"'{subject.classes[subject.labels[sample]]}'.",
                "Audit the data set again.",
            )
        verdict = row["suspected"].strip().lower()
        if verdict not in ("true", "false"):
            raise StoreError(f"{where}: suspected is '{row['suspected']}'.", "Write True or False.")
        if verdict == "true":
            suggested = _undefused(row["suggested"], subject.classes)
            if suggested not in subject.classes:
                raise StoreError(
                    f"{where}: there is no class '{row['suggested']}'.", "Write one of the data set."
                )
            labels[sample] = suggested
    if len(seen) != len(subject):
        raise StoreError(
            f"{SHEET} has {len(seen)} of {len(subject)} samples.", "Change rows, but remove none."
        )
    return labels


def _undefused(text: str, classes: tuple[str, ...]) -> str:
    """Return a class's name without the quote that the csv puts before what could be a formula."""
    return text[1:] if text not in classes and text.startswith("'") else text
