"""What the renderers share: numbers, cells and headings as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lnlbench.analysis.cells import Cell, Value
from lnlbench.analysis.names import NO, YES
from lnlbench.analysis.quantities import quantity
from lnlbench.analysis.tables.tables import Table


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


def format_cell(cell: Cell, style: Style) -> str:
    """Return a cell: numbers (means marked), then references to its notes."""
    pairs = zip(cell.values, cell.metrics, strict=True) if cell.values else ()
    numbers = " / ".join(_format_value(value, metric, style) for value, metric in pairs) or style.blank
    return numbers + (style.note(",".join(map(str, cell.notes))) if cell.notes else "")


def unrepeated(table: Table) -> list[tuple[str, ...]]:
    """Return the row labels, with those left out that the row above has as well.

    The last label of a row always stands, and so do ticks.
    """
    shown: list[tuple[str, ...]] = []
    above: tuple[str, ...] = ()
    for labels in table.labels:
        repeated = 0
        while repeated < len(labels) - 1 and labels[: repeated + 1] == above[: repeated + 1]:
            repeated += 1
        shown.append(
            tuple(
                "" if position < repeated and label not in (YES, NO) else label
                for position, label in enumerate(labels)
            )
        )
        above = labels
    return shown


def starts_block(table: Table) -> list[bool]:
    """Tell for each row whether a rule belongs above it: the first of several labels changes."""
    firsts = [labels[0] for labels in table.rows]
    return [
        number > 0 and len(table.stub) > 1 and firsts[number] != firsts[number - 1]
        for number in range(len(firsts))
    ]


def _format_value(value: Value, metric: str, style: Style) -> str:
    summary, write = value.summary, quantity(metric).write
    mean = write(summary.mean)
    mean = style.bold(mean) if value.best else style.underline(mean) if value.inseparable else mean
    return mean if summary.sd is None else f"{mean} {style.plus_minus} {write(summary.sd)}"
