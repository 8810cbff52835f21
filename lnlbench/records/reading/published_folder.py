"""A folder of published results: ``records.parquet``, ``plans.json``, and what is rendered from these.

Layout::

    README.md         how to read the results; written by people, and only begun by lnlbench
    GRID.toml         the grid as it was written, one file per grid
    plans.json        the plans: every trial with its settings, skipped ones with the reason, as
                      :mod:`lnlbench.records.plan_file` writes them
    records.parquet   a row per trial (:mod:`lnlbench.records.reading.record_table`)
    origin.json       commits, versions, machines; sums of the files above
    table.md, table.tex, ranking.md, report.html    rendered from plans and records alone
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lnlbench._version import __version__
from lnlbench.basics.files import Damaged
from lnlbench.errors import StoreError
from lnlbench.records.entry import Entry, entry_of
from lnlbench.records.plan_file import unpack
from lnlbench.records.reading.record_table import from_parquet
from lnlbench.records.record import Record
from lnlbench.records.store import PUBLISHED

FORMAT = 2
READABLE_FORMATS = (1, 2)  # of 1, plans write out every trial
RECORDS, PLANS, ORIGIN = "records.parquet", "plans.json", PUBLISHED

Plans = dict[str, dict[str, Any]]


@dataclass(frozen=True)  # without slots, for the cached records by id
class PublishedResults:
    """A folder of published results that was read. What reads a run's folder can read this one.

    Attributes
    ----------
    root : Path
    records : list of Record
        Each once, in the order of the plans.
    frame : pandas.DataFrame
        The columns of ``lnlbench export`` as they were when the folder was made.
    origin : dict
        Commits, versions, machines and days with numbers of records, and sums of files.
    """

    root: Path
    _plans: Plans
    records: list[Record]
    frame: pd.DataFrame
    origin: dict[str, Any]

    def plans(self) -> Plans:
        """Return the plans by grid name; what is returned is not to be changed."""
        return self._plans

    def look(self) -> tuple[list[Entry], list[Damaged]]:
        """Return what tables need of every record, and that nothing is damaged: such a folder is not read."""
        return [entry_of(record) for record in self.records], []

    def read(self, trial_ids: Iterable[str]) -> list[Record]:
        """Return the records of some trials, in the order given; others are left out."""
        return [self._by_id[trial_id] for trial_id in trial_ids if trial_id in self._by_id]

    @cached_property
    def _by_id(self) -> dict[str, Record]:
        return {record.trial_id: record for record in self.records}

    def damaged_plans(self) -> list[Damaged]:
        """Return nothing, see :meth:`look`."""
        return []


def is_published(folder: Path) -> bool:
    """Whether a folder looks like published results, intact or not."""
    return (folder / ORIGIN).is_file()


def read_published(folder: Path) -> PublishedResults:
    """Read a folder of published results.

    Raises
    ------
    StoreError
        If it is none, or of another format version, or a record in it cannot be understood.
    """
    try:
        contents = {name: (folder / name).read_bytes() for name in (ORIGIN, PLANS, RECORDS)}
        origin, stored = json.loads(contents[ORIGIN]), json.loads(contents[PLANS])
    except OSError as error:
        raise StoreError(
            f"'{folder}' is no folder of published results: {Path(str(error.filename)).name} cannot be read.",
            "Make one with lnlbench export --bundle.",
        ) from error
    except ValueError as error:
        raise StoreError(f"A file in '{folder}' is damaged: {error}.") from error
    if origin.get("format") not in READABLE_FORMATS:
        raise StoreError(
            f"'{folder}' has format {origin.get('format')}; lnlbench {__version__} reads up to {FORMAT}.",
            "Use the version that made it.",
        )
    try:
        plans = {grid: unpack(plan) for grid, plan in stored.items()}
    except (AttributeError, ValueError) as error:  # no object, or of something else
        raise StoreError(f"'{folder / PLANS}' holds something else than plans ({error}).") from error
    records, frame = from_parquet(contents[RECORDS], folder / RECORDS)
    return PublishedResults(folder, plans, records, frame, origin)
