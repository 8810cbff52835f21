"""Setting results beside a table of the paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lnlbench.analysis.cells import draft_cell
from lnlbench.analysis.comparison.matching import Match, Run, match, strangers
from lnlbench.analysis.comparison.protocol import Pair, differences
from lnlbench.analysis.comparison.published import Key, PublishedCell, PublishedTable, Quantity
from lnlbench.analysis.comparison.ranking import Entry, Lead, Standing, find_lead, rank
from lnlbench.analysis.comparison.result import ComparedCell, Comparison, Group, Number
from lnlbench.analysis.comparison.tolerance import Verdict, judge, tolerance
from lnlbench.analysis.stats import Summary
from lnlbench.errors import DataError
from lnlbench.record import Status
from lnlbench.spec import TrialSpec

Row = dict[str, Any]


def compare(
    table: PublishedTable,
    published: Sequence[PublishedCell],
    runs: Sequence[Run],
    reference: Iterable[Run],
    sizes: Mapping[str, Mapping[str, int]],
    fixed: float | None = None,
    narrowed: bool = False,
) -> Comparison:
    """Set results beside a table of the paper.

    Parameters
    ----------
    table : PublishedTable
    published : sequence of PublishedCell
    runs : sequence of Run
        Planned trials, done or not; see :func:`lnlbench.analysis.comparison.matching.match`.
    reference : iterable of Run
        The trials of the paper's own grid as it is packaged: its protocol.
    sizes : mapping
        Sizes of data sets in the paper; see
        :func:`lnlbench.analysis.comparison.published.read_sizes`.
    fixed : float, optional
        Fixed part of the tolerance, instead of each quantity's own.
    narrowed : bool, default False
        The runs are a selection: numbers for which none of them stands are not missing.

    Raises
    ------
    DataError
        If the paper's own grid has no trial for a published number.
    """
    matches = match(table, published, runs, narrowed)
    protocol = {run.place(table.keys): run.spec for run in reference}
    return Comparison(
        table=table,
        groups=tuple(_group(table, found, fixed) for found in matches),
        differences=differences(_pairs(table, matches, protocol), sizes),
        strangers=strangers(table, matches, runs),
        remarks=_remarks(table, matches),
    )


def _pairs(
    table: PublishedTable, matches: Iterable[Match], protocol: Mapping[Key, TrialSpec]
) -> Iterable[Pair]:
    """Pair every run that is not skipped with the trials of the paper that it stands for."""
    for found in matches:
        for cell, runs in found.cells:
            place = (*cell.setting, *cell.entrant)
            if place not in protocol:
                raise DataError(
                    f"The grid {table.grid} has no trial for {', '.join(place)} of {table.title}.",
                    "Both are part of lnlbench: install it again.",
                )
            for run in runs:
                if run.row["status"] != Status.SKIPPED:
                    yield Pair(run.spec, protocol[place], run.data)


def _group(table: PublishedTable, found: Match, fixed: float | None) -> Group:
    rows = [run.row for _, runs in found.cells for run in runs]
    cells = tuple(
        _cell(table, cell, _divided(table, [run.row for run in runs], rows), fixed)
        for cell, runs in found.cells
    )
    entries = [
        [
            Entry(cell.entrant, number.published, number.measured)
            for cell in cells
            if (number := cell.numbers[position]).published is not None and number.measured is not None
        ]
        for position in range(len(table.quantities))
    ]
    leads = (
        _lead(table, position, [cell for cell, _ in found.cells], entries[position], fixed)
        for position in range(len(table.quantities))
    )
    return Group(
        setting=found.setting,
        measured=found.measured,
        cells=cells,
        rankings=tuple(map(rank, table.quantities, entries)),
        leads=tuple(lead for lead in leads if lead is not None),
    )


def _cell(
    table: PublishedTable, published: PublishedCell, rows: Sequence[Row], fixed: float | None
) -> ComparedCell:
    draft = draft_cell(rows, tuple(quantity.source for quantity in table.quantities))
    measured = [value.summary for value in draft.values]
    summaries: list[Summary | None] = [*measured] or [None] * len(table.quantities)
    return ComparedCell(
        entrant=published.entrant,
        numbers=tuple(
            _number(quantity, value, summary, fixed)
            for quantity, value, summary in zip(table.quantities, published.values, summaries, strict=True)
        ),
        notes=tuple(draft.notes),
        # A skipped trial completes a table, which shows what was planned, but not a comparison.
        complete=draft.complete and bool(draft.used),
    )


def _number(
    quantity: Quantity, published: float | None, measured: Summary | None, fixed: float | None
) -> Number:
    if published is None:
        return Number(quantity, None, measured, None, None, Verdict.UNPUBLISHED)
    if measured is None:
        return Number(quantity, published, None, None, None, Verdict.MISSING)
    difference = measured.mean - published
    allowed = tolerance(quantity, published, measured, fixed)
    return Number(quantity, published, measured, difference, allowed, judge(difference, allowed))


def _lead(
    table: PublishedTable,
    position: int,
    published: Sequence[PublishedCell],
    entries: Sequence[Entry],
    fixed: float | None,
) -> Lead | None:
    """Compare the leader of one quantity; None if the paper claims nothing of it."""
    quantity = table.quantities[position]
    values = {cell.entrant: value for cell in published if (value := cell.values[position]) is not None}
    claimed = next((entrant for entrant in values if table.claimed(entrant)), None)
    if claimed is None or values[claimed] < max(values.values()):
        return None
    own = next((entry for entry in entries if entry.entrant == claimed), None)
    rivals = [entry for entry in entries if entry.entrant != claimed]
    return Lead(quantity, Standing.UNKNOWN) if own is None else find_lead(quantity, own, rivals, fixed)


def _divided(table: PublishedTable, rows: Sequence[Row], group: Sequence[Row]) -> list[Row]:
    """Divide what is compared in relation to a method by its number for the same seed."""
    result = [dict(row) for row in rows]
    for quantity in table.quantities:
        if quantity.reference:
            base = {row["seed"]: row[quantity.source] for row in group if row["method"] == quantity.reference}
            for row in result:
                value, unit = row[quantity.source], base.get(row["seed"])
                row[quantity.source] = value / unit if value is not None and unit else None
    return result


def _remarks(table: PublishedTable, matches: Iterable[Match]) -> tuple[str, ...]:
    """Say what makes times incomparable, where times are compared."""
    if not any(quantity.reference for quantity in table.quantities):
        return ()
    rows = [run.row for found in matches for _, runs in found.cells for run in runs]
    machines = {f"{row['device']}, {row['threads']} threads" for row in rows if row["device"]}
    remarks = []
    if len(machines) > 1:
        remarks.append(f"Times are of different machines or thread counts ({'; '.join(sorted(machines))}).")
    if any(row["shared_device"] for row in rows):
        remarks.append("Trials shared their device or cores, so times are upper bounds: run with --jobs 1.")
    return tuple(remarks)
