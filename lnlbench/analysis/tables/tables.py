"""Tables as values: computed here, written by one renderer per format."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeVar

import pandas as pd

from lnlbench.analysis.axes import Key, TrialRow, absent_parameters, in_order, is_choice, value_of
from lnlbench.analysis.caption import hyperparameter_file, provenance, table_caption
from lnlbench.analysis.cells import NO_REFERENCE, Cell, Draft, Value, draft_cell, mark_best
from lnlbench.analysis.deviations import Deviation, find_deviations
from lnlbench.analysis.names import axis_label, clean, describe, display
from lnlbench.analysis.protocol_text import phase_details
from lnlbench.analysis.quantities import label_of, quantity
from lnlbench.analysis.stats import summarise
from lnlbench.analysis.table_layout import METRIC, Layout, Measure, heading_of
from lnlbench.analysis.trial_rows import trials_of
from lnlbench.errors import NothingSelectedError

Place = tuple[Key, Key, Key]  # row, group, column
T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    group : str
        Heading over several columns: what sets them apart from other groups.
    label : str
    sublabel : str
        What its numbers are, as in ``best / last``; "" where its rows say so.
    whole_group : str
        Values of all axes of the group.
    extra : bool
        Whether its numbers are means over the group's columns, and not over seeds.
    """

    group: str
    label: str
    sublabel: str
    whole_group: str
    extra: bool = False
    # Beside the label, where a note below the table belongs to all of its trials.
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Columns that stand side by side, with their cells.

    Attributes
    ----------
    columns : tuple of Column
    cells : tuple of tuple of Cell
        By row and column.
    """

    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]

    @property
    def spans(self) -> list[tuple[str, int]]:
        """The group headings with the number of columns under each."""
        return [(label, len(list(part))) for label, part in groupby(column.group for column in self.columns)]

    @property
    def headings(self) -> list[tuple[str, str]]:
        """Labels of the columns with their marks, without their groups."""
        return [(column.label + column.mark, column.sublabel) for column in self.columns]


@dataclass(frozen=True, slots=True)
class Table:
    """A table, ready to be rendered. Its texts are plain: renderers escape them.

    Attributes
    ----------
    stub : tuple of str
        Headings of the row labels.
    rows : tuple of tuple of str
        Row labels, one per heading.
    labels : tuple of tuple of str
        The same with marks beside the names of methods, for readers.
    columns : tuple of Column
    cells : tuple of tuple of Cell
        By row and column.
    footnotes : tuple of str
        Numbered from 1; cells refer to them.
    mark_notes : tuple of str
        What the marks beside names of methods say, each with its mark.
    caption : tuple of str
        Sentences.
    provenance : tuple of (str, str)
        Names and values: version, commit, grid, records, date.
    details : tuple of (str, str)
        Every setting of every phase, for the comments that sources of documents have.
    groups_per_block : int or None
        How many groups stand side by side; None for all.
    """

    stub: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: tuple[tuple[str, ...], ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]
    footnotes: tuple[str, ...]
    mark_notes: tuple[str, ...]
    caption: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]
    details: tuple[tuple[str, str], ...]
    groups_per_block: int | None = None

    @property
    def grouped(self) -> bool:
        """Whether groups need headings; a single one is named in the caption."""
        return len({column.group for column in self.columns}) > 1

    @property
    def complete(self) -> bool:
        """Whether no planned trial is pending, failed or left out."""
        return all(cell.complete for row in self.cells for cell in row)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The columns in blocks, one below the other, of ``groups_per_block`` groups each."""
        groups = _distinct(column.group for column in self.columns)
        size = self.groups_per_block or len(groups)
        blocks = []
        for start in range(0, len(groups), size):
            mine = [
                number
                for number, column in enumerate(self.columns)
                if column.group in groups[start : start + size]
            ]
            blocks.append(
                Block(
                    tuple(self.columns[number] for number in mine),
                    tuple(tuple(row[number] for number in mine) for row in self.cells),
                )
            )
        return tuple(blocks)


def build_table(
    frame: pd.DataFrame,
    layout: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
    caption: str = "full",
) -> Table:
    """Arrange results in a table.

    Rows, columns and groups stand in the order in which the frame, and so the plan, first
    names them. The best accuracy is marked among the cells of the same problem (data set,
    noise, backbone), which differ in method, tuning mode, parameters or budget.

    Parameters
    ----------
    frame : pandas.DataFrame
        Trials to show; see :func:`lnlbench.records.frame.build_frame`.
    layout : mapping, optional
        See :meth:`lnlbench.analysis.table_layout.Layout.parse`.
    plan : mapping, optional
        The stored plan of the trials, for what the caption says of where their settings come from.
    caption : {"full", "short", "none"}, default="full"
        How much of it there is: everything; the title, what the numbers are and what is marked, for
        a paper whose text has the rest; or nothing. Notes that cells refer to are there in any case.

    Raises
    ------
    UsageError
        If the layout is wrong.
    NothingSelectedError
        If the frame is empty.
    """
    shape = Layout.parse(layout)
    if frame.empty:
        raise NothingSelectedError("There is no trial to put into a table.")
    trials = trials_of(frame)
    # A grid's own axis may be a parameter of methods that a filter leaves out.
    shape = shape.without(absent_parameters(shape.axes, trials))

    by_cell: dict[Place, list[TrialRow]] = {}
    measure_at: dict[Place, Measure] = {}
    for trial in trials:
        for measure in shape.measures:
            place = _place(shape, trial, measure)
            by_cell.setdefault(place, []).append(trial)
            measure_at[place] = measure
    rows = in_order(row for row, _, _ in by_cell)
    groups = in_order(group for _, group, _ in by_cell)
    columns = in_order(column for _, _, column in by_cell)
    present = {(group, column) for _, group, column in by_cell}

    drafts: dict[Place, Draft] = {}
    for row in rows:
        for group, column in present:
            place = (row, group, column)
            measure = measure_at.get(place) or _measure(shape, row, column)
            drafts[place] = draft_cell(by_cell.get(place, []), measure)
    compared: dict[Key, list[Draft]] = {}
    for place, draft in drafts.items():
        compared.setdefault((draft.metrics, _problem(shape, place)), []).append(draft)
    for contest in compared.values():
        mark_best(contest)
    extra, left_out = _columns_with_numbers(shape.extra, trials)
    sentences = table_caption(replace(shape, extra=extra), trials, list(drafts.values()), caption)

    source = (*left_out, *hyperparameter_file((plan or {}).get("source", {})))
    deviations = find_deviations(trials, shape.axes, _reasons(plan or {}))
    headings: list[Column] = []
    grid: list[list[Draft]] = [[] for _ in rows]
    for group in groups:
        mine = [column for column in columns if (group, column) in present]
        titles = _group_title(shape, groups, group), _named(shape.groups, group)
        for column in mine:
            placed = (by_cell.get((row, group, column), []) for row in rows)
            mark = _mark(deviations, placed) if "method" in shape.columns else ""
            headings.append(Column(titles[0], *_column_titles(shape, column), titles[1], mark=mark))
        headings += [Column(titles[0], quantity(name).label, "", titles[1], extra=True) for name in extra]
        for cells, row in zip(grid, rows, strict=True):
            accuracies = [drafts[row, group, column] for column in mine]
            cells += accuracies
            cells += [_draft_extra(name, accuracies) for name in extra]

    footnotes = _distinct(note for cells in grid for draft in cells for note in draft.notes)
    numbers = {note: number for number, note in enumerate(footnotes, start=1)}
    names = [tuple(map(display, shape.rows, row)) for row in rows]
    marked = list(names)
    if "method" in shape.rows:
        at = shape.rows.index("method")
        for number, row in enumerate(rows):
            mark = _mark(deviations, (found for place, found in by_cell.items() if place[0] == row))
            marked[number] = (*names[number][:at], names[number][at] + mark, *names[number][at + 1 :])
    shown = "method" in (*shape.rows, *shape.columns)
    return Table(
        stub=tuple(_heading(axis) for axis in shape.rows),
        rows=tuple(names),
        labels=tuple(marked),
        columns=tuple(headings),
        cells=tuple(tuple(_finish(draft, numbers) for draft in cells) for cells in grid),
        footnotes=tuple(footnotes),
        mark_notes=tuple(f"{one.symbol} {one.note}" if shown else one.note for one in deviations),
        caption=sentences + (source if caption == "full" else ()),
        provenance=provenance(list(drafts.values()), trials),
        details=phase_details(trials),
        groups_per_block=shape.groups_per_block,
    )


def _reasons(plan: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    """Return by trial and setting why overrides of the grid are there; older plans do not say."""
    return {trial["trial_id"]: trial.get("reasons", {}) for trial in plan.get("trials", ())}


def _mark(deviations: Iterable[Deviation], placed: Iterable[Iterable[TrialRow]]) -> str:
    ids = {trial["trial_id"] for cell in placed for trial in cell}
    return ",".join(one.symbol for one in deviations if not one.trials.isdisjoint(ids))


def _place(shape: Layout, trial: TrialRow, measure: Measure) -> Place:
    def key(axes: Sequence[str]) -> Key:
        return tuple(heading_of(measure) if axis == METRIC else value_of(trial, axis) for axis in axes)

    return key(shape.rows), key(shape.groups), key(shape.columns)


def _measure(shape: Layout, row: Key, column: Key) -> Measure:
    """Return what a cell outside the plan would show."""
    places = dict(zip((*shape.rows, *shape.columns), (*row, *column), strict=True))
    named = {heading_of(measure): measure for measure in shape.measures}
    return named.get(places.get(METRIC, ""), shape.measures[0])


def _problem(shape: Layout, place: Place) -> Key:
    """Return the part of a place that methods are given and do not choose."""
    row, group, column = place
    axes = zip((*shape.rows, *shape.groups, *shape.columns), (*row, *group, *column), strict=True)
    return tuple(value for axis, value in axes if not is_choice(axis))


def _column_titles(shape: Layout, column: Key) -> tuple[str, str]:
    """Return label and sublabel of a column."""
    axes = zip(shape.columns, column, strict=True)
    label = ", ".join(describe(axis, value) for axis, value in axes if axis != METRIC)
    if METRIC in shape.rows:
        return label, ""
    numbers = label_of(_measure(shape, ("",) * len(shape.rows), column))
    return (label, numbers) if label else (numbers, "")


def _group_title(shape: Layout, groups: Sequence[Key], group: Key) -> str:
    """Name a group by what it does not share with all others; the caption has the rest."""
    differing = [position for position in range(len(group)) if len({key[position] for key in groups}) > 1]
    return _named([shape.groups[at] for at in differing], [group[at] for at in differing])


def _named(axes: Sequence[str], values: Sequence[Any]) -> str:
    """Name a place; axes on which it does not lie, as features on that of backbones, are left out."""
    return ", ".join(describe(axis, value) for axis, value in zip(axes, values, strict=True) if value != "")


def _heading(axis: str) -> str:
    return "" if axis == METRIC else axis_label(axis)


def _draft_extra(name: str, cells: Sequence[Draft]) -> Draft:
    """Mean over columns of the mean over seeds."""
    means = []
    for cell in cells:
        measured = [trial[name] for trial in cell.used if trial[name] is not None]
        if measured:
            means.append(summarise(measured).mean)
    if not means:
        return Draft((name,), notes=[_why_no_extra(name, cells)])
    partial = [] if len(means) == len(cells) else [f"mean over {len(means)} of {len(cells)} columns"]
    return Draft((name,), values=(Value(summarise([summarise(means).mean])),), notes=partial)


def _columns_with_numbers(
    extra: tuple[str, ...], trials: Sequence[TrialRow]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the extra columns without a column of dashes for costs, and the sentence in its place."""
    counted = [trial for trial in trials if trial["cost_units"] is not None]
    if "cost" not in extra or not counted or any(trial["cost"] is not None for trial in counted):
        return extra, ()
    return tuple(name for name in extra if name != "cost"), (f"No relative cost: {NO_REFERENCE}.",)


def _why_no_extra(name: str, cells: Sequence[Draft]) -> str:
    used = [trial for cell in cells for trial in cell.used]
    if not used:
        return "no result in this row"
    if name == "cost" and any(trial["cost_units"] is not None for trial in used):
        return NO_REFERENCE
    return f"no {clean(name)} recorded"


def _finish(draft: Draft, numbers: Mapping[str, int]) -> Cell:
    notes = tuple(sorted({numbers[note] for note in draft.notes}))
    return Cell(draft.metrics, draft.values, notes, draft.complete)


def _distinct(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))
