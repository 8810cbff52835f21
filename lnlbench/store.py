"""Records on disk: one small JSON file per trial, written atomically, checked when read.

Layout of an output folder::

    lnlbench.json          {"format": 1, "created_by": "lnlbench 0.1.0"}
    plans/<grid>.json      what `lnlbench run` was asked for
    trials/<trial_id>.json one record each
    damaged/               files that a run has moved aside
    .lock, .lock.json      held by the run that writes here, and who that is

Plans and records carry a checksum (:mod:`lnlbench.files`), so that a truncated or altered
file is noticed and named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lnlbench._version import __version__
from lnlbench.errors import StoreError, UsageError
from lnlbench.files import TEMPORARY, Damaged, read_checked, write_atomically, write_checked
from lnlbench.lock import lock_folder
from lnlbench.record import RECORD_VERSION, Record, Status

# Raised when a folder can no longer be read as it is.
FORMAT = 1

MARKER = "lnlbench.json"


class Store:
    """The records of one output folder; made by :meth:`open`.

    Any number of readers may look at a folder while one run, holding :meth:`lock`, writes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

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
        path = self._trial_path(record.trial_id)
        self._write(path, record.to_dict(), f"Trial {record.trial_id} ({record.spec.describe()})")

    def get(self, trial_id: str) -> Record | None:
        """Return one record, or None if the trial has none.

        Raises
        ------
        StoreError
            If the file is damaged.
        """
        path = self._trial_path(trial_id)
        if not path.exists():
            return None
        record = _read_record(path)
        if isinstance(record, Damaged):
            raise StoreError(
                f"The record '{path}' is damaged: {record.reason}.",
                "Run the grid again: the file is moved aside and the trial repeated.",
            )
        return record

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

    def done_ids(self) -> set[str]:
        """Return the ids of the trials that are done."""
        return {record.trial_id for record in self.records() if record.status is Status.DONE}

    # Plans

    def put_plan(self, plan: Mapping[str, Any]) -> None:
        """Save a plan under its grid's name, replacing an earlier one.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        name = str(plan["grid"])
        self._write(self.root / "plans" / _plan_file(name), plan, f"The plan of grid '{name}'")

    def plans(self) -> dict[str, dict[str, Any]]:
        """Return the intact plans by grid name."""
        plans = (_read_plan(path) for path in _files(self.root / "plans"))
        return {plan["grid"]: plan for plan in plans if not isinstance(plan, Damaged)}

    # Damage

    def damaged(self) -> list[Damaged]:
        """Return every damaged file among records and plans, with the reason."""
        return self.damaged_plans() + self.read_all()[1]

    def damaged_plans(self) -> list[Damaged]:
        """Return every damaged file among the plans, with the reason."""
        plans = (_read_plan(path) for path in _files(self.root / "plans"))
        return [plan for plan in plans if isinstance(plan, Damaged)]

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

    def _remove_leftovers(self) -> None:
        """Remove the temporary files of a run that was killed while it wrote."""
        for folder in (self.root, self.root / "plans", self.root / "trials"):
            for path in folder.glob(f".*{TEMPORARY}"):
                with suppress(OSError):
                    path.unlink()

    def _trial_path(self, trial_id: str) -> Path:
        return self.root / "trials" / f"{trial_id}.json"

    def _write(self, path: Path, payload: Mapping[str, Any], what: str) -> None:
        try:
            path.parent.mkdir(exist_ok=True)
            write_checked(path, payload)
        except OSError as error:
            raise StoreError(
                f"{what} could not be saved to '{path}': {error}.",
                "Make room or allow writing there, then run the same command again; "
                "what was saved before is kept.",
            ) from error


def _files(folder: Path) -> list[Path]:
    """All visible entries of a folder, in order of their names."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _read_record(path: Path) -> Record | Damaged:
    payload = read_checked(path)
    if isinstance(payload, Damaged):
        return payload
    version = payload.get("record_version")
    if version is None:
        return Damaged(path, "it is not a record")
    if version != RECORD_VERSION:
        raise StoreError(
            f"The record '{path}' has format {version}; lnlbench {__version__} reads {RECORD_VERSION}.",
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


def _read_plan(path: Path) -> dict[str, Any] | Damaged:
    payload = read_checked(path)
    if isinstance(payload, Damaged):
        return payload
    if "grid" not in payload or "trials" not in payload:
        return Damaged(path, "it is not a plan")
    if path.name != _plan_file(payload["grid"]):
        return Damaged(path, f"it holds the plan of another grid, {payload['grid']}")
    return payload


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
