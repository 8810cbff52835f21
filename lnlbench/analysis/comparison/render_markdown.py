"""A comparison for documents and issues."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lnlbench.analysis.comparison import wording
from lnlbench.analysis.comparison.result import Comparison
from lnlbench.analysis.render_markdown import escape_markdown

_NUMBERS = re.compile(r"[-+]?[\d.]+( [/±] [-+]?[\d.]+)*")


def render_markdown(comparison: Comparison, mismatches: Sequence[str], everything: bool = False) -> str:
    """Return a comparison as Markdown: one table of rankings and one of cells.

    Parameters are those of :func:`lnlbench.analysis.comparison.render_text.render_text`.
    """
    table, judged = comparison.table, not comparison.differences
    lines = [f"## {escape_markdown(wording.title(comparison))}", ""]
    notice = wording.protocol(comparison)
    if notice:
        lines += [f"**{escape_markdown(notice[0])}**", "", *_list(notice[1:]), ""]
    rankings = [wording.ranking_labels(table, group) for group in comparison.groups]
    lines += _table(wording.ranking_headings(table), rankings)
    head = ["setting", *wording.entrant_headings(table), *wording.number_headings(table)]
    cells = [
        [
            wording.heading(table, group),
            *wording.entrant_labels(table, cell.entrant),
            *wording.number_labels(cell, judged),
        ]
        for group in comparison.groups
        for cell in group.cells
        if wording.shown(cell, judged, everything)
    ]
    if cells:
        lines += ["", *_table(head, cells)]
    lines += ["", *_list(wording.summary(comparison))]
    if not everything:
        lines += _list(["Only cells that differ or are incomplete are listed; --all lists every one."])
    lines += ["", escape_markdown(wording.method())]
    if mismatches:
        lines += ["", f"**Mismatch:** {escape_markdown('; '.join(mismatches))}."]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_row(head), f"|{' --- |' * len(head)}", *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(cell: str) -> str:
    # A number at the start of a table's cell is no list, and reads better without a backslash.
    return cell if _NUMBERS.fullmatch(cell) else escape_markdown(cell)


def _list(items: Sequence[str]) -> list[str]:
    return [f"- {escape_markdown(item)}" for item in items]
