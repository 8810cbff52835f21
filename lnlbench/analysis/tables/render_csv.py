"""Tables for other programs: one line per cell and metric."""

from __future__ import annotations

import csv
import io

from lnlbench.analysis.cells import Value
from lnlbench.analysis.names import clean
from lnlbench.analysis.quantities import quantity
from lnlbench.analysis.tables.tables import Column, Table

_FIELDS = ("group", "column", "metric", "mean", "sd", "n", "best", "not_separable", "note")


def render_csv(table: Table) -> str:
    """Return a table as tidy CSV, with full precision and the provenance in every line.

    Blank cells have a line with an empty mean and the reason in ``note``.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    provenance = [value for name, value in table.provenance if name != "records"]
    names = [name for name, _ in table.provenance if name != "records"]
    writer.writerow([escape_csv(name) for name in (*table.stub, *_FIELDS, *names)])
    for labels, cells in zip(table.rows, table.cells, strict=True):
        for cell, column in zip(cells, table.columns, strict=True):
            note = "; ".join(table.footnotes[number - 1] for number in cell.notes)
            for position, metric in enumerate(cell.metrics):
                numbers = _numbers(cell.values[position], metric, column) if cell.values else [""] * 5
                place = (*labels, column.whole_group, column.label, metric)
                texts = [escape_csv(text) for text in place]
                writer.writerow([*texts, *numbers, escape_csv(note), *map(escape_csv, provenance)])
    return buffer.getvalue()


def escape_csv(text: str) -> str:
    """Return text on one line that no spreadsheet takes for a formula."""
    return defuse(clean(text))


def defuse(text: str) -> str:
    """Return text that no spreadsheet takes for a formula, by a quote in front of what could be one."""
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text


def _numbers(value: Value, metric: str, column: Column) -> list[str]:
    """Mean, then what there is of deviation, n and (of an accuracy) the two marks."""
    summary = value.summary
    if column.extra:
        return [repr(summary.mean), "", "", "", ""]
    spread = "" if summary.sd is None else repr(summary.sd)
    compared = quantity(metric).better
    marks = [str(mark).lower() if compared else "" for mark in (value.best, value.inseparable)]
    return [repr(summary.mean), spread, str(summary.n), *marks]
