"""Records on disk: one small JSON file per trial, written atomically, checked when read.

Layout of an output folder::

    lnlbench.json          {"format": 1, "created_by": "lnlbench 0.1.0"}
    plans/<grid>.json      what `lnlbench run` was asked for
    trials/<trial_id>.json one record each
    details/, noise/       what is per epoch and per class (:mod:`lnlbench.records.beside.details`)
    models/                trained networks (:mod:`lnlbench.deploy.model_files`)
    verdicts/              what is per sample (:mod:`lnlbench.records.beside.verdicts`)
    damaged/               files that a run has moved aside
    .index                 what the files in trials/ said (:mod:`lnlbench.records.index`)
    .lock, .lock.json      held by the run that writes here, and who that is

Plans and records carry a checksum (:mod:`lnlbench.basics.files`), so that a truncated or altered
file is noticed and named.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lnlbench._version import __version__
from lnlbench.basics.allocator import patient_collector
from lnlbench.basics.files import TEMPORARY, Damaged, read_checked, write_atomically, write_checked
from lnlbench.basics.lock import lock_folder
from lnlbench.errors import StoreError, UsageError
from lnlbench.records.beside import details, verdicts
from lnlbench.records.entry import Entry, entry_of
from lnlbench.records.index import Index, Signature, signature
from lnlbench.records.plan_file import pack, unpack
from lnlbench.records.record import READABLE_VERSIONS, Record, Status

if TYPE_CHECKING:
    import pandas as pd

# Raised when a folder can no longer be read as it is.
FORMAT = 1

MARKER, INDEX = "lnlbench.json", ".index"
PUBLISHED = "origin.json"  # in a folder of published results, see lnlbench.records.reading.published_folder


class Store:
    """The records of one output folder; made by :meth:`open`.

    Any number of readers may look at a folder while one run, holding :meth:`lock`, writes. What was read
    is remembered, so that looking again reads only the files that have changed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._noise: dict[str, dict[str, Any]] = {}
        self._plans: dict[Path, tuple[Signature, dict[str, Any]]] = {}

    @cached_property
    def _index(self) -> Index:
        return Index(self.root / INDEX)

    @classmethod
    def open(cls, path: str | Path, create: bool = False) -> Store:
        """Open an output folder.

        Parameters
        ----------
        path : str or Path
        create : bool, default False
            Make the folder if it is missing or empty.

        Raises
        ------
        StoreError
            If there is no such folder, or it belongs to something else, or to another
            format version.
        """
        root = Path(path)
        try:
            entries = {entry.name for entry in root.iterdir()} if root.is_dir() else set()
            if root.exists() and not root.is_dir():
                raise StoreError(f"'{root}' is a file, not an output folder.", "Name a folder with --out.")
            if MARKER in entries:
                _check_marker(root / MARKER)
            elif PUBLISHED in entries:
                raise StoreError(
                    f"'{root}' holds published results, which no run adds to.",
                    "Name another folder with --out. table, rank, report, plot and export read both as one.",
                )
            elif any(not name.endswith(TEMPORARY) for name in entries):
                raise StoreError(
                    f"'{root}' is not empty and was not made by lnlbench ({MARKER} is missing).",
                    "Choose another folder with --out.",
                )
            elif not create:
                raise StoreError(
                    f"There are no results in '{root}'.",
                    "Make some with: lnlbench run --grid NAME, or name another folder with --out.",
                )
            else:
                root.mkdir(parents=True, exist_ok=True)
                marker = {"format": FORMAT, "created_by": f"lnlbench {__version__}"}
                write_atomically(root / MARKER, json.dumps(marker).encode())
        except OSError as error:
            raise StoreError(
                f"The output folder '{root}' cannot be used: {error}.", "Name another one with --out."
            ) from error
        return cls(root)

    # Records

    def put(self, record: Record) -> None:
        """Save a record, replacing an earlier one of the same trial.

        Raises
        ------
        StoreError
            If it cannot be written; what was there before stays readable.
        """
        parts = details.split(record.to_dict())
        with _saving(self.root, f"What lies beside the record of trial {record.trial_id}"):
            details.write_parts(self.root, parts)
            if record.verdicts is None or record.verdict_table is not None:
                verdicts.write_table(self.root, record.trial_id, record.verdict_table)
        path = self._trial_path(record.trial_id)
        self._write(path, parts.record, f"Trial {record.trial_id} ({record.spec.describe()})")

    def whole(self, record: Record) -> Record:
        """Return a record of this folder with the details that lie beside it.

        These are the metrics and selections of every epoch, and noise by class and between classes. What is
        missing or damaged is left out.
        """
        found = details.read_details(self.root, record.trial_id)
        history = details.merge(record.history, found)
        selections = [entry["selection"] for entry in history if "selection" in entry]
        noise = record.noise.copy()
        labels = noise.get("labels_sha256", "")
        if labels not in self._noise:  # the same for many trials
            self._noise[labels] = details.read_noise(self.root, labels)
        noise.update(self._noise[labels])  # type: ignore[typeddict-item]
        return replace(
            record, history=history, selection=selections[-1] if selections else record.selection, noise=noise
        )

    def verdicts(self, record: Record) -> pd.DataFrame:
        """Return what a trial says of every training sample, with a row each.

        Raises
        ------
        StoreError
            If it was run without ``--verdicts``, or the file is missing, or not that of the record.
        """
        if record.verdicts is None:
            raise StoreError(
                f"Trial {record.trial_id} ({record.spec.describe()}) has no verdicts.",
                "Make them with lnlbench run --verdicts --retry all.",
            )
        path = verdicts.path_of(self.root, record.trial_id)
        return verdicts.read_verdicts(path, record.verdicts.get("sha256"))

    @patient_collector()
    def look(self) -> tuple[list[Entry], list[Damaged]]:
        """Return what tables and status need of every record, and read only files that have changed.

        Returns
        -------
        entries : list of Entry
            In the order of their ids.
        damaged : list of Damaged
            See :meth:`read_all`, which also says what is raised.
        """
        entries: list[Entry] = []
        damaged: list[Damaged] = []
        folder = self.root / "trials"
        names = _names(folder)
        for name in names:
            signed = signature(f"{folder}/{name}")
            entry = self._index.get(name, signed)
            if entry is None:
                record = _read_record(folder / name)
                if isinstance(record, Damaged):
                    damaged.append(record)
                    continue
                entry = entry_of(record)
                self._index.put(name, signed, entry)
            entries.append(entry)
        self._index.save(names)
        return entries, damaged

    def read_all(self) -> tuple[list[Record], list[Damaged]]:
        """Read every record in one pass.

        Returns
        -------
        records : list of Record
            In the order of their ids.
        damaged : list of Damaged
            Every other file among them, with the reason.

        Raises
        ------
        StoreError
            If a record is intact, but of another version of lnlbench.
        """
        records: list[Record] = []
        damaged: list[Damaged] = []
        for path in _files(self.root / "trials"):
            record = _read_record(path)
            if isinstance(record, Damaged):
                damaged.append(record)
            else:
                records.append(record)
        return records, damaged

    def records(self) -> list[Record]:
        """Return the intact records; see :meth:`read_all`."""
        return self.read_all()[0]

    def read(self, trial_ids: Iterable[str]) -> list[Record]:
        """Return the intact records of some trials, whole and in the order given; others are left out.

        See :meth:`whole`.

        Raises
        ------
        StoreError
            See :meth:`read_all`.
        """
        paths = (path for path in map(self._trial_path, trial_ids) if path.exists())
        found = (_read_record(path) for path in paths)
        return [self.whole(record) for record in found if not isinstance(record, Damaged)]

    def done_ids(self) -> set[str]:
        """Return the ids of the trials that are done."""
        return {entry.trial_id for entry in self.look()[0] if entry.status is Status.DONE}

    # Plans

    def put_plan(self, plan: Mapping[str, Any]) -> None:
        """Save a plan under its grid's name, replacing an earlier one.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        name = str(plan["grid"])
        self._write(self.root / "plans" / _plan_file(name), pack(plan), f"The plan of grid '{name}'")

    def plans(self) -> dict[str, dict[str, Any]]:
        """Return the intact plans by grid name; what is returned is not to be changed."""
        plans = (self._read_plan(path) for path in _files(self.root / "plans"))
        return {plan["grid"]: plan for plan in plans if not isinstance(plan, Damaged)}

    # Damage

    def damaged_plans(self) -> list[Damaged]:
        """Return every damaged file among the plans, with the reason."""
        plans = (self._read_plan(path) for path in _files(self.root / "plans"))
        return [plan for plan in plans if isinstance(plan, Damaged)]

    def _read_plan(self, path: Path) -> dict[str, Any] | Damaged:
        signed = signature(path)
        if signed is not None and (known := self._plans.get(path)) and known[0] == signed:
            return known[1]
        plan = _read_plan(path)
        if signed is not None and not isinstance(plan, Damaged):
            self._plans[path] = signed, plan
        return plan

    def set_aside(self, damaged: Damaged) -> Path:
        """Move a damaged file to ``damaged/``, and return where it is now."""
        folder = self.root / "damaged"
        target = folder / damaged.path.name
        copies = 1
        while target.exists():
            target = folder / f"{damaged.path.name}.{copies}"
            copies += 1
        try:
            folder.mkdir(exist_ok=True)
            damaged.path.replace(target)
        except OSError as error:
            raise StoreError(
                f"The damaged file '{damaged.path}' cannot be moved aside: {error}.", "Remove it by hand."
            ) from error
        return target

    # Writing

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for writing during the ``with`` block.

        Raises
        ------
        StoreError
            If another run holds it, or it cannot be locked.
        """
        with lock_folder(self.root):
            self._remove_leftovers()
            yield

    def remove_empty(self) -> None:
        """Remove what a run that started no trial has left in a folder of its own."""
        files = [self.root / MARKER, self.root / INDEX, self.root / ".lock", self.root / ".lock.json"]
        for path in (*files, *(self.root / "plans").glob("*.json")):
            with suppress(OSError):
                path.unlink()
        for name in ("plans", "checkpoints"):
            with suppress(OSError):  # not there, or not empty
                (self.root / name).rmdir()

    def _remove_leftovers(self) -> None:
        """Remove the temporary files of a run that was killed while it wrote."""
        beside = (self.root / name for name in (details.DETAILS, details.NOISE, verdicts.FOLDER))
        models = (self.root / "models").glob("*/*")
        for folder in (self.root, self.root / "plans", self.root / "trials", *beside, *models):
            for path in folder.glob(f".*{TEMPORARY}"):
                with suppress(OSError):
                    path.unlink()

    def _trial_path(self, trial_id: str) -> Path:
        return self.root / "trials" / f"{trial_id}.json"

    def _write(self, path: Path, payload: Mapping[str, Any], what: str) -> None:
        with _saving(path, what):
            path.parent.mkdir(exist_ok=True)
            write_checked(path, payload)


@contextmanager
def _saving(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{what} could not be saved to '{path}': {error}.",
            "Make room or allow writing there, then run the same command again; "
            "what was saved before is kept.",
        ) from error


def _files(folder: Path) -> list[Path]:
    """All visible entries of a folder, in order of their names."""
    return [folder / name for name in _names(folder)]


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208 - many files


def _read_record(path: Path) -> Record | Damaged:
    payload = read_checked(path)
    if isinstance(payload, Damaged):
        return payload
    version = payload.get("record_version")
    if version is None:
        return Damaged(path, "it is not a record")
    if version not in READABLE_VERSIONS:
        raise StoreError(
            f"The record '{path}' has format {version}; lnlbench {__version__} reads up to "
            f"{READABLE_VERSIONS[-1]}.",
            "Use the version that wrote it, or start afresh with another --out.",
        )
    trial_id = payload.get("trial_id")
    if path.name != f"{trial_id}.json":
        return Damaged(path, f"it holds the record of another trial, {trial_id}")
    try:
        record = Record.from_dict(payload)
    # Intact, so another version wrote it, or somebody who knew how.
    except (AttributeError, KeyError, TypeError, ValueError, UsageError) as error:
        return Damaged(path, f"lnlbench {__version__} does not understand it ({error})")
    if record.trial_id != trial_id:
        return Damaged(path, f"its settings are those of another trial, {record.trial_id}")
    return record


def _plan_file(grid: str) -> str:
    if not grid or grid.startswith("."):
        raise StoreError(f"A grid cannot be called '{grid}'.", "Rename the grid file.")
    return f"{quote(grid, safe=' ')}.json"


@patient_collector()
def _read_plan(path: Path) -> dict[str, Any] | Damaged:
    payload = read_checked(path)
    if isinstance(payload, Damaged):
        return payload
    try:
        plan = unpack(payload)
        right = _plan_file(plan["grid"])
    except (StoreError, TypeError, ValueError):
        return Damaged(path, "it is not a plan")
    if path.name != right:
        return Damaged(path, f"it holds the plan of another grid, {plan['grid']}")
    return plan


def _check_marker(path: Path) -> None:
    try:
        marker = json.loads(path.read_bytes())
    except ValueError:
        marker = None
    if not isinstance(marker, dict) or "format" not in marker:
        raise StoreError(
            f"'{path}' is damaged, so the format of the folder is unknown.",
            f'If an lnlbench of this version made it, write {{"format": {FORMAT}}} there.',
        )
    if marker["format"] != FORMAT:
        maker = marker.get("created_by", "an unknown version")
        raise StoreError(
            f"'{path.parent}' has format {marker['format']} (made by {maker}); "
            f"lnlbench {__version__} reads format {FORMAT}.",
            "Use the version that made it, or start afresh with another --out.",
        )
