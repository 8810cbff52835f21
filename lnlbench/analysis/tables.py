"""Tables as values: computed here, written by one renderer per format."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd

from lnlbench.analysis.caption import caption, flag, provenance
from lnlbench.analysis.cells import Cell, Draft, Value, draft_cell, mark_best
from lnlbench.analysis.layout import Layout, Trial
from lnlbench.analysis.names import EXTRAS, axis_label, clean, display
from lnlbench.analysis.stats import summarise
from lnlbench.errors import NothingSelectedError

Key = tuple[Any, ...]
Place = tuple[Key, Key, Key]  # row, group, column
T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    group : str
        Heading over several columns.
    label : str
    metrics : tuple of str
        Names of the numbers in each of its cells.
    extra : bool
        Whether it is an extra column and not one of accuracies.
    """

    group: str
    label: str
    metrics: tuple[str, ...]
    extra: bool = False

    @property
    def sublabel(self) -> str:
        """What its numbers are, as in ``best / last``; "" for extra columns."""
        return "" if self.extra else " / ".join(self.metrics)


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
    """

    stub: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]
    footnotes: tuple[str, ...]
    caption: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]

    @property
    def grouped(self) -> bool:
        """Whether groups need headings; a single one is named in the caption."""
        return len({column.group for column in self.columns}) > 1

    @property
    def complete(self) -> bool:
        """Whether no planned trial is pending, failed or left out."""
        return all(cell.complete for row in self.cells for cell in row)


def build_table(frame: pd.DataFrame, layout: Mapping[str, Any] | None = None) -> Table:
    """Arrange results in a table.

    Rows, columns and groups stand in the order in which the frame, and so the plan, first
    names them.

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
    unique = frame.drop_duplicates("trial_id").astype(object)
    trials: list[Trial] = unique.where(unique.notna(), None).to_dict("records")  # type: ignore[assignment]

    by_cell: dict[Place, list[Trial]] = {}
    for trial in trials:
        place = (shape.row_of(trial), shape.group_of(trial), shape.column_of(trial))
        by_cell.setdefault(place, []).append(trial)
    rows = _distinct(row for row, _, _ in by_cell)
    groups = _distinct(group for _, group, _ in by_cell)
    columns = _distinct(column for _, _, column in by_cell)
    present = {(group, column) for _, group, column in by_cell}

    drafts: dict[Place, Draft] = {}
    for row in rows:
        for group, column in present:
            drafts[row, group, column] = draft_cell(by_cell.get((row, group, column), []), shape.metrics)
    for group, column in present:
        mark_best([drafts[row, group, column] for row in rows])
    flags = flag(list(drafts.values()))

    headings: list[Column] = []
    grid: list[list[Draft]] = [[] for _ in rows]
    for group in groups:
        mine = [column for column in columns if (group, column) in present]
        title = _label(shape.groups, group)
        headings += [Column(title, _label(shape.columns, column), shape.metrics) for column in mine]
        headings += [Column(title, EXTRAS.get(name, name), (name,), extra=True) for name in shape.extra]
        reference = [_cost_reference(drafts, group, column) for column in mine]
        for cells, row in zip(grid, rows, strict=True):
            accuracies = [drafts[row, group, column] for column in mine]
            cells += accuracies
            cells += [_draft_extra(name, accuracies, reference) for name in shape.extra]

    footnotes = _distinct(note for cells in grid for draft in cells for note in draft.notes)
    numbers = {note: number for number, note in enumerate(footnotes, start=1)}
    lead = (shape.caption, _label(shape.groups, groups[0]) if len(groups) == 1 else "")
    return Table(
        stub=tuple(axis_label(axis) for axis in shape.rows),
        rows=tuple(tuple(map(display, shape.rows, row)) for row in rows),
        columns=tuple(headings),
        cells=tuple(tuple(_finish(draft, numbers) for draft in cells) for cells in grid),
        footnotes=tuple(footnotes),
        caption=caption(shape, lead, list(drafts.values()), flags),
        provenance=provenance(list(drafts.values()), trials),
    )


def _cost_reference(drafts: Mapping[Place, Draft], group: Key, column: Key) -> float | None:
    """Mean cost of CE with FFT in one column, in units."""
    used = [
        trial["cost_units"]
        for (_, its_group, its_column), draft in drafts.items()
        if (its_group, its_column) == (group, column)
        for trial in draft.used
        if trial["method"] == "ce" and trial["tuning"] == "fft" and trial["cost_units"]
    ]
    return summarise(used).mean if used else None


def _draft_extra(name: str, cells: Sequence[Draft], reference: Sequence[float | None]) -> Draft:
    """Mean over columns of the mean over seeds."""
    means = []
    for cell, unit in zip(cells, reference, strict=True):
        source = "cost_units" if name == "cost" else name
        measured = [trial[source] for trial in cell.used if trial[source] is not None]
        if measured and (name != "cost" or unit):
            mean = summarise(measured).mean
            means.append(mean / unit if name == "cost" and unit else mean)
    if not means:
        return Draft(notes=[_why_no_extra(name, cells, reference)])
    partial = [] if len(means) == len(cells) else [f"mean over {len(means)} of {len(cells)} columns"]
    return Draft(values=(Value(summarise([summarise(means).mean])),), notes=partial)


def _why_no_extra(name: str, cells: Sequence[Draft], reference: Sequence[float | None]) -> str:
    if not any(cell.used for cell in cells):
        return "no result in this row"
    if name == "cost" and not any(reference):
        return "no result of CE with FFT to compare the cost with"
    return f"no {clean(name)} recorded"


def _finish(draft: Draft, numbers: Mapping[str, int]) -> Cell:
    return Cell(draft.values, tuple(sorted({numbers[note] for note in draft.notes})), draft.complete)


def _distinct(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))


def _label(axes: Sequence[str], key: Key) -> str:
    return ", ".join(map(display, axes, key))
