"""Results out of one or several folders, of runs or published, as if they lay in one."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from lnlbench.basics.files import Damaged
from lnlbench.errors import UsageError, suggest
from lnlbench.records.entry import Entry
from lnlbench.records.frame import DamagedRecordWarning, build_frame
from lnlbench.records.reading.published_folder import is_published, read_published
from lnlbench.records.record import Record, Status
from lnlbench.records.staleness import Present, installed, specs_of
from lnlbench.records.store import Store


class Folder(Protocol):
    """What is asked of a folder of results: of :class:`~lnlbench.records.store.Store`, or published ones."""

    @property
    def root(self) -> Path: ...
    def plans(self) -> dict[str, dict[str, Any]]: ...
    def look(self) -> tuple[list[Entry], list[Damaged]]: ...
    def read(self, trial_ids: Iterable[str]) -> list[Record]: ...
    def damaged_plans(self) -> list[Damaged]: ...


@dataclass(frozen=True, slots=True)
class Results:
    """Plans and what is known of records.

    Attributes
    ----------
    folders : tuple of Folder
    plans : dict
        By grid. Plans of one grid in several folders are joined: the trials of all, the layout of
        the first.
    entries : list of Entry
        Of a trial that several folders hold, the record that is done, and of several the newest.
    origins : dict
        The folder that an entry is from, by trial id.
    damaged : list of Damaged
        Files that cannot be read.
    """

    folders: tuple[Folder, ...]
    plans: dict[str, dict[str, Any]]
    entries: list[Entry]
    origins: dict[str, Folder]
    damaged: list[Damaged]

    def frame(self, present: Present | None = None) -> pd.DataFrame:
        """Return all as a frame; see :func:`lnlbench.records.frame.build_frame`."""
        return build_frame(self.plans, self.entries, present)

    def read(self) -> list[Record]:
        """Return the records in full, in the order of the entries."""
        return [
            record for entry in self.entries for record in self.origins[entry.trial_id].read([entry.trial_id])
        ]

    def choose(self, grid: str | None) -> list[str]:
        """Return the grids to show: the one that is asked for, or all if there are several folders.

        Records without a plan belong to the grid "".

        Raises
        ------
        UsageError
            For a grid that is not there, or if one folder holds several and none is asked for.
        """
        where = ", ".join(f"'{folder.root}'" for folder in self.folders)
        if grid is not None:
            if grid not in self.plans:
                raise UsageError(f"There is no grid '{grid}' in {where}.", suggest(grid, self.plans))
            return [grid]
        if len(self.plans) > 1 and len(self.folders) == 1:
            raise UsageError(
                f"{where} holds several grids: {', '.join(sorted(self.plans))}.", "Choose one with --grid."
            )
        return list(self.plans) or [""]

    def plan(self, grids: Sequence[str]) -> dict[str, Any]:
        """Return the plan of some grids as one: titles and trials of all, the layout of the first."""
        found = [self.plans[grid] for grid in grids if grid in self.plans]
        if not found:
            return {}
        titles = "; ".join(dict.fromkeys(str(plan.get("title", "")) for plan in found if plan.get("title")))
        trials = [trial for plan in found for trial in plan["trials"]]
        return {**found[0], "title": titles, "trials": trials} if len(found) > 1 else found[0]


def read_results(folders: Iterable[str | Path]) -> Results:
    """Read folders of results.

    Parameters
    ----------
    folders : iterable of str or Path
        As ``lnlbench run`` or ``lnlbench export --bundle`` wrote them.

    Raises
    ------
    StoreError
        If one is no folder of results, or of another format version.
    """
    return joined(
        [
            read_published(folder) if is_published(folder) else Store.open(folder)
            for folder in dict.fromkeys(map(Path, folders))
        ]
    )


def joined(folders: Sequence[Folder]) -> Results:
    """Return what folders hold, as one."""
    plans: dict[str, dict[str, Any]] = {}
    entries: dict[str, Entry] = {}
    origins: dict[str, Folder] = {}
    damaged: list[Damaged] = []
    for folder in folders:
        for grid, plan in folder.plans().items():
            plans[grid] = _with_trials_of(plans[grid], plan) if grid in plans else plan
        found, broken = folder.look()
        damaged += broken + folder.damaged_plans()
        for entry in found:
            other = entries.get(entry.trial_id)
            if other is None or _worth(entry) > _worth(other):
                entries[entry.trial_id], origins[entry.trial_id] = entry, folder
    ordered = sorted(entries.values(), key=lambda entry: entry.trial_id)
    return Results(tuple(folders), plans, ordered, origins, damaged)


def load_frames(folders: Iterable[str | Path]) -> pd.DataFrame:
    """Load output folders as one frame; see :func:`lnlbench.records.frame.load_frame`."""
    results = read_results(folders)
    for path, reason in results.damaged:
        warnings.warn(f"{path}: {reason}", DamagedRecordWarning, stacklevel=2)
    return results.frame(installed(specs_of(results.entries)))


def _with_trials_of(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    trials = {trial["trial_id"]: trial for trial in (*second["trials"], *first["trials"])}
    order = dict.fromkeys(trial["trial_id"] for trial in (*first["trials"], *second["trials"]))
    return {**first, "trials": [trials[trial_id] for trial_id in order]}


def _worth(entry: Entry) -> tuple[bool, str]:
    return entry.status is Status.DONE, entry.finished
