"""Tables as values: computed here, written by one renderer per format."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import pandas as pd

from lnlbench.analysis.axes import Key, Trial, check_parameters, in_order, is_choice, value_of
from lnlbench.analysis.caption import provenance, table_caption
from lnlbench.analysis.cells import NO_REFERENCE, Cell, Draft, Value, draft_cell, mark_best
from lnlbench.analysis.layout import METRIC, Layout, Measure, heading_of
from lnlbench.analysis.names import axis_label, clean, describe, display
from lnlbench.analysis.quantities import label_of, quantity
from lnlbench.analysis.stats import summarise
from lnlbench.analysis.trials import trials_of
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
        """Labels of the columns, without their groups."""
        return [(column.label, column.sublabel) for column in self.columns]


@dataclass(frozen=True, slots=True)
class Table:
    """A table, ready to be rendered. Its texts are plain: renderers escape them.

    Attributes
    ----------
    stub : tuple of str
        Headings of the row labels.
    rows : tuple of tuple of str
        Row labels, one per heading.
    columns : tuple of Column
    cells : tuple of tuple of Cell
        By row and column.
    footnotes : tuple of str
        Numbered from 1; cells refer to them.
    caption : tuple of str
        Sentences.
    provenance : tuple of (str, str)
        Names and values: version, commit, grid, records, date.
    groups_per_block : int or None
        How many groups stand side by side; None for all.
    """

    stub: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]
    footnotes: tuple[str, ...]
    caption: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]
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


def build_table(frame: pd.DataFrame, layout: Mapping[str, Any] | None = None) -> Table:
    """Arrange results in a table.

    Rows, columns and groups stand in the order in which the frame, and so the plan, first
    names them. The best accuracy is marked among the cells of the same problem (data set,
    noise, backbone), which differ in method, tuning mode, parameters or budget.

    Parameters
    ----------
    frame : pandas.DataFrame
        Trials to show; see :func:`lnlbench.analysis.frame.build_frame`.
    layout : mapping, optional
        See :meth:`lnlbench.analysis.layout.Layout.parse`.

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
    check_parameters(shape.axes, trials)

    by_cell: dict[Place, list[Trial]] = {}
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
    sentences = table_caption(shape, trials, list(drafts.values()))

    headings: list[Column] = []
    grid: list[list[Draft]] = [[] for _ in rows]
    for group in groups:
        mine = [column for column in columns if (group, column) in present]
        titles = _group_title(shape, groups, group), ", ".join(map(describe, shape.groups, group))
        headings += [Column(titles[0], *_column_titles(shape, column), titles[1]) for column in mine]
        headings += [
            Column(titles[0], quantity(name).label, "", titles[1], extra=True) for name in shape.extra
        ]
        for cells, row in zip(grid, rows, strict=True):
            accuracies = [drafts[row, group, column] for column in mine]
            cells += accuracies
            cells += [_draft_extra(name, accuracies) for name in shape.extra]

    footnotes = _distinct(note for cells in grid for draft in cells for note in draft.notes)
    numbers = {note: number for number, note in enumerate(footnotes, start=1)}
    return Table(
        stub=tuple(_heading(axis) for axis in shape.rows),
        rows=tuple(tuple(map(display, shape.rows, row)) for row in rows),
        columns=tuple(headings),
        cells=tuple(tuple(_finish(draft, numbers) for draft in cells) for cells in grid),
        footnotes=tuple(footnotes),
        caption=sentences,
        provenance=provenance(list(drafts.values()), trials),
        groups_per_block=shape.groups_per_block,
    )


def _place(shape: Layout, trial: Trial, measure: Measure) -> Place:
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
    return ", ".join(describe(shape.groups[position], group[position]) for position in differing)


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
