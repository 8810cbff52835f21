"""Which trials stand for which published number."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lnlbench.analysis.paper.published import Place, PublishedCell, PublishedTable, canonical
from lnlbench.analysis.trial_rows import trials_of
from lnlbench.records.plan_file import planned_spec
from lnlbench.records.record import Record
from lnlbench.spec import TrialSpec


@dataclass(frozen=True, slots=True)
class Run:
    """A planned trial: its row of the results frame, and what its record says of its data, if any.

    Missing values of the row are None.
    """

    spec: TrialSpec
    row: dict[str, Any]
    data: Mapping[str, Any]

    def place(self, columns: Iterable[str]) -> Place:
        """Return its values in columns of a published table."""
        spec = self.spec
        values: dict[str, object] = dict(spec.method.params)
        values |= {"dataset": spec.dataset.label, "backbone": spec.backbone.label, "noise": spec.noise.label}
        values |= {"tuning": spec.tuning, "method": spec.method.name}
        return tuple(canonical(values.get(column, "")) for column in columns)


@dataclass(frozen=True, slots=True)
class Match:
    """A setting of the paper, that of the runs that stand for it (None without any), and both by cell."""

    setting: Place
    measured: Place | None
    cells: tuple[tuple[PublishedCell, tuple[Run, ...]], ...]


def make_runs(frame: pd.DataFrame, plan: Mapping[str, Any], records: Iterable[Record] = ()) -> list[Run]:
    """Return the runs of one plan.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows of this plan's trials; see :func:`lnlbench.records.frame.build_frame`.
    plan : mapping
        As the store has it.
    records : iterable of Record
    """
    planned = {trial["trial_id"]: trial for trial in plan["trials"]}
    data = {record.trial_id: record.data for record in records}
    return [
        Run(planned_spec(planned[row["trial_id"]]), row, data.get(row["trial_id"], {}))
        for row in trials_of(frame)
    ]


def match(
    table: PublishedTable, published: Sequence[PublishedCell], runs: Sequence[Run], narrowed: bool
) -> list[Match]:
    """Assign runs to published cells.

    A run stands for the published cell of the same place. A run whose data set, backbone or noise is
    nowhere in the table stands for every one that is (noise: every one of its type, if there are
    any), so that the order of methods can be compared with that of each setting of the paper.
    What is ranked (method, tuning mode, a parameter) must be the same.

    Parameters
    ----------
    table : PublishedTable
    published : sequence of PublishedCell
    runs : sequence of Run
    narrowed : bool
        The runs are a selection: cells for which none of them stands are left out.
    """
    known = [{cell.setting[axis] for cell in published} for axis in range(len(table.settings))]
    by_place: dict[Place, dict[Place, list[Run]]] = {}
    for run in runs:
        entrants = by_place.setdefault(run.place(table.settings), {})
        entrants.setdefault(run.place(table.entrants), []).append(run)
    matches = []
    for setting in dict.fromkeys(cell.setting for cell in published):
        cells = [cell for cell in published if cell.setting == setting]
        standing = [own for own in by_place if _stands_for(table.settings, own, setting, known)]
        for own in standing:
            members = [(cell, tuple(by_place[own].get(cell.entrant, ()))) for cell in cells]
            chosen = tuple((cell, mine) for cell, mine in members if mine or not narrowed)
            if chosen:
                matches.append(Match(setting, own, chosen))
        if not standing and not narrowed:
            matches.append(Match(setting, None, tuple((cell, ()) for cell in cells)))
    return matches


def strangers(table: PublishedTable, matches: Iterable[Match], runs: Iterable[Run]) -> dict[Place, int]:
    """Count the runs that stand for no published number, by what they would be ranked as."""
    used = {run.spec.trial_id for found in matches for _, mine in found.cells for run in mine}
    counts: dict[Place, int] = {}
    for run in runs:
        if run.spec.trial_id not in used:
            entrant = run.place(table.entrants)
            counts[entrant] = counts.get(entrant, 0) + 1
    return counts


def _stands_for(columns: Sequence[str], own: Place, paper: Place, known: Sequence[Collection[str]]) -> bool:
    return all(
        mine == theirs or (mine not in values and theirs in _like(column, mine, values))
        for column, mine, theirs, values in zip(columns, own, paper, known, strict=True)
    )


def _like(column: str, value: str, values: Collection[str]) -> Collection[str]:
    """Return the published values for which an unpublished one may stand."""
    if column != "noise":
        return values
    return {other for other in values if _type(other) == _type(value)} or values


def _type(noise: str) -> str:
    return noise.partition("-")[0]
