"""Results beside a table of the paper: numbers, cells, settings, and what they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lnlbench.analysis.caption import machine_of
from lnlbench.analysis.cells import draft_cell
from lnlbench.analysis.paper.agreement import (
    Lead,
    Ranked,
    Ranking,
    Standing,
    Verdict,
    find_lead,
    judge,
    mean_tau,
    rank,
    tolerance,
)
from lnlbench.analysis.paper.differences import Difference, Pair, differences
from lnlbench.analysis.paper.matching import Match, Run, match, strangers
from lnlbench.analysis.paper.published import Place, PublishedCell, PublishedQuantity, PublishedTable
from lnlbench.analysis.stats import Summary
from lnlbench.errors import DataError
from lnlbench.records.record import Status
from lnlbench.spec import TrialSpec


@dataclass(frozen=True, slots=True)
class Number:
    """One number of a cell: as published, and measured over seeds if there are results.

    ``fixed`` is a fixed part of the tolerance that stands instead of the quantity's own.
    """

    quantity: PublishedQuantity
    published: float
    measured: Summary | None
    fixed: float | None

    @property
    def difference(self) -> float | None:
        """Measured mean minus published."""
        return None if self.measured is None else self.measured.mean - self.published

    @property
    def allowed(self) -> float | None:
        """The tolerance of the difference."""
        if self.measured is None:
            return None
        return tolerance(self.quantity, self.published, self.measured, self.fixed)

    @property
    def verdict(self) -> Verdict:
        """What the comparison says."""
        if self.difference is None or self.allowed is None:
            return Verdict.MISSING
        return judge(self.difference, self.allowed)


@dataclass(frozen=True, slots=True)
class ComparedCell:
    """The numbers of one entrant, in the order of the table's quantities.

    ``notes`` say why it is empty, or what else must be known of it. It is ``complete`` if all trials
    that stand for it are done, and there are some.
    """

    entrant: Place
    numbers: tuple[Number, ...]
    notes: tuple[str, ...]
    complete: bool

    @property
    def verdict(self) -> Verdict:
        """The worst of its numbers' verdicts."""
        found = {number.verdict for number in self.numbers}
        return next(
            verdict for verdict in (Verdict.DIFFERS, Verdict.MISSING, Verdict.AGREES) if verdict in found
        )


@dataclass(frozen=True, slots=True)
class ComparedSetting:
    """Everything that is ranked against each other: a ``setting`` of the paper.

    ``measured`` is that of the runs that stand for it, None if there are none. There is a ranking for
    each quantity, and a lead for those in which the entrant of the paper's claim leads in the paper.
    """

    setting: Place
    measured: Place | None
    cells: tuple[ComparedCell, ...]
    rankings: tuple[Ranking, ...]
    leads: tuple[Lead, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table of the paper beside our results.

    Attributes
    ----------
    table : PublishedTable
    groups : tuple of ComparedSetting
    differences : tuple of Difference
        Between the protocol of the runs and the paper's. If there are any, cells cannot be
        expected to agree, and only rankings are judged.
    strangers : mapping of tuple of str to int
        Entrants that the paper does not have, with their number of trials.
    remarks : tuple of str
        What must be known of the measurements as a whole.
    """

    table: PublishedTable
    groups: tuple[ComparedSetting, ...]
    differences: tuple[Difference, ...]
    strangers: Mapping[Place, int]
    remarks: tuple[str, ...]

    @property
    def cells(self) -> tuple[ComparedCell, ...]:
        """The cells of all groups."""
        return tuple(cell for group in self.groups for cell in group.cells)

    @property
    def measured(self) -> bool:
        """Whether there is any number to compare with."""
        return any(number.measured is not None for cell in self.cells for number in cell.numbers)

    @property
    def complete(self) -> bool:
        """Whether every published number is compared with all that was planned for it."""
        return all(cell.complete for cell in self.cells)

    def mean_tau(self, quantity: PublishedQuantity) -> float | None:
        """Return the mean of Kendall's τ over all settings in which it is defined."""
        return mean_tau(
            [ranking for group in self.groups for ranking in group.rankings if ranking.quantity == quantity]
        )

    def count(self, verdict: Verdict) -> int:
        """Return the number of cells with a verdict."""
        return sum(cell.verdict is verdict for cell in self.cells)

    def mismatches(self, least_tau: float | None = None) -> tuple[str, ...]:
        """Return what contradicts the paper, as statements.

        Cells that differ, where the protocol is the paper's; leads that the paper claims and
        that are lost by more than the tolerance; and a mean τ below ``least_tau``.
        """
        statements = []
        apart = 0 if self.differences else self.count(Verdict.DIFFERS)
        if apart:
            statements.append(f"{apart} of {len(self.cells)} cells differ")
        leads = [lead for group in self.groups for lead in group.leads]
        lost = sum(lead.standing is Standing.BEHIND for lead in leads)
        if lost:
            statements.append(f"who leads in the paper is behind in {lost} of {len(leads)} rankings")
        for quantity in self.table.quantities:
            found = self.mean_tau(quantity)
            if least_tau is not None and found is not None and found < least_tau:
                statements.append(f"the mean τ of {quantity.label} is {found:.2f}, below {least_tau:g}")
        return tuple(statements)


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
        Planned trials, done or not; see :func:`lnlbench.analysis.paper.matching.match`.
    reference : iterable of Run
        The trials of the paper's own grid as it is packaged: its protocol.
    sizes : mapping
        Sizes of data sets in the paper; see :func:`lnlbench.analysis.paper.published.read_sizes`.
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
    table: PublishedTable, matches: Iterable[Match], protocol: Mapping[Place, TrialSpec]
) -> Iterable[Pair]:
    """Pair every run that is not skipped with the trials of the paper that it stands for."""
    for cell, runs in (item for found in matches for item in found.cells):
        place = (*cell.setting, *cell.entrant)
        if place not in protocol:
            raise DataError(
                f"The grid {table.grid} has no trial for {', '.join(place)} of {table.title}.",
                "Both are part of lnlbench: install it again.",
            )
        for run in runs:
            if run.row["status"] != Status.SKIPPED:
                yield Pair(run.spec, protocol[place], run.data)


def _group(table: PublishedTable, found: Match, fixed: float | None) -> ComparedSetting:
    rows = [run.row for _, runs in found.cells for run in runs]
    cells = tuple(
        _cell(table, cell, _divided(table, [run.row for run in runs], rows), fixed)
        for cell, runs in found.cells
    )
    rankings, leads = [], []
    for position, quantity in enumerate(table.quantities):
        entries = [
            Ranked(cell.entrant, number.published, number.measured)
            for cell in cells
            if (number := cell.numbers[position]).measured is not None
        ]
        rankings.append(rank(quantity, entries))
        claimed = _claimed(table, position, cells)
        if claimed is not None:
            own = next((entry for entry in entries if entry.entrant == claimed), None)
            rivals = [entry for entry in entries if entry.entrant != claimed]
            unknown = Lead(quantity, Standing.UNKNOWN)
            leads.append(unknown if own is None else find_lead(quantity, own, rivals, fixed))
    return ComparedSetting(found.setting, found.measured, cells, tuple(rankings), tuple(leads))


def _claimed(table: PublishedTable, position: int, cells: Iterable[ComparedCell]) -> Place | None:
    """Return of whom the paper says that it leads, if its own numbers for this quantity say so too."""
    values = {cell.entrant: cell.numbers[position].published for cell in cells}
    claimed = next((entrant for entrant in values if table.claimed(entrant)), None)
    return None if claimed is None or values[claimed] < max(values.values()) else claimed


def _cell(
    table: PublishedTable, published: PublishedCell, rows: Sequence[dict[str, Any]], fixed: float | None
) -> ComparedCell:
    draft = draft_cell(rows, tuple(quantity.source for quantity in table.quantities))
    measured: list[Summary | None] = [value.summary for value in draft.values]
    measured = measured or [None] * len(table.quantities)
    return ComparedCell(
        entrant=published.entrant,
        numbers=tuple(
            Number(quantity, value, summary, fixed)
            for quantity, value, summary in zip(table.quantities, published.values, measured, strict=True)
        ),
        notes=tuple(draft.notes),
        # A skipped trial completes a table, which shows what was planned, but not a comparison.
        complete=draft.complete and bool(draft.used),
    )


def _divided(
    table: PublishedTable, rows: Iterable[dict[str, Any]], group: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
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
    machines = {machine_of(row) for row in rows if row["device"]}
    remarks = []
    if len(machines) > 1:
        remarks.append(f"Times are of different machines or thread counts ({'; '.join(sorted(machines))}).")
    if any(row["shared_device"] for row in rows):
        remarks.append("Trials shared their device or cores, so times are upper bounds: run with --jobs 1.")
    return tuple(remarks)
