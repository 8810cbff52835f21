"""What the renderers share: numbers, cells and headings as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from lnlbench.analysis.cells import Cell, Value
from lnlbench.analysis.tables import Column, Table


@dataclass(frozen=True, slots=True)
class Style:
    """How a format marks up text; every function takes and returns source text.

    Attributes
    ----------
    bold, underline, note : callable
        ``note`` marks a reference to footnotes, given as ``1,2``.
    plus_minus, blank : str
        The sign between mean and deviation; what an empty cell shows.
    """

    bold: Callable[[str], str]
    underline: Callable[[str], str]
    note: Callable[[str], str]
    plus_minus: str
    blank: str


def format_cell(cell: Cell, column: Column, style: Style) -> str:
    """Return a cell: numbers (means marked), then references to its notes."""
    numbers = " / ".join(_format_value(value, column, style) for value in cell.values) or style.blank
    return numbers + (style.note(",".join(map(str, cell.notes))) if cell.notes else "")


def spans(table: Table) -> list[tuple[str, int]]:
    """Return the group headings with the number of columns under each."""
    return [(label, len(list(part))) for label, part in groupby(column.group for column in table.columns)]


def unrepeated(table: Table) -> list[tuple[str, ...]]:
    """Return the row labels, with the first left out where it is that of the row above."""
    shown: list[tuple[str, ...]] = []
    above = None
    for labels in table.rows:
        shown.append(("", *labels[1:]) if len(labels) > 1 and labels[0] == above else labels)
        above = labels[0]
    return shown


def _format_value(value: Value, column: Column, style: Style) -> str:
    summary = value.summary
    if column.extra:
        return f"{summary.mean:.2f}" if abs(summary.mean) < 10 else f"{summary.mean:.1f}"
    mean = f"{summary.mean:.2f}"
    mean = style.bold(mean) if value.best else style.underline(mean) if value.inseparable else mean
    return mean if summary.sd is None else f"{mean} {style.plus_minus} {summary.sd:.2f}"
