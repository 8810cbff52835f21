"""A comparison for terminals."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from lnlbench.analysis.comparison import wording
from lnlbench.analysis.comparison.published import PublishedTable
from lnlbench.analysis.comparison.result import Comparison, Group

_WIDTH = 110
_INDENT = _GAP = "  "


def render_text(comparison: Comparison, mismatches: Sequence[str], everything: bool = False) -> str:
    """Return a comparison as plain text: rankings in one table, then cells by setting.

    Parameters
    ----------
    comparison : Comparison
    mismatches : sequence of str
        What contradicts the paper; see :meth:`Comparison.mismatches`.
    everything : bool, default False
        Print all cells, not only those that differ or are incomplete.
    """
    judged = not comparison.differences
    lines = [wording.title(comparison)]
    notice = wording.protocol(comparison)
    if notice:
        lines += ["", *_wrapped(notice[0]), *(_INDENT + item for item in notice[1:])]
    table = comparison.table
    rankings = [wording.ranking_labels(table, group) for group in comparison.groups]
    lines += ["", *_columns([wording.ranking_headings(table), *rankings], "")]
    for group in comparison.groups:
        lines += _group(table, group, judged, everything)
    lines += ["", *(line for sentence in wording.summary(comparison) for line in _wrapped(sentence))]
    if not everything:
        lines += _wrapped("Only cells that differ or are incomplete are listed; --all lists every one.")
    lines += ["", *_wrapped(wording.method())]
    if mismatches:
        lines += ["", *_wrapped(f"Mismatch: {'; '.join(mismatches)}.")]
    return "\n".join(lines) + "\n"


def _group(table: PublishedTable, group: Group, judged: bool, everything: bool) -> list[str]:
    title = wording.heading(table, group)
    cells = [cell for cell in group.cells if wording.shown(cell, judged, everything)]
    reasons = {cell.notes for cell in cells}
    if len(cells) == len(group.cells) > 1 and len(reasons) == 1 and not any(map(wording.has_numbers, cells)):
        return ["", title, f"{_INDENT}all {len(cells)} cells are missing: {'; '.join(reasons.pop())}"]
    if not cells:
        return []
    head = [*wording.entrant_headings(table), *wording.number_headings(table)]
    body = [
        [*wording.entrant_labels(table, cell.entrant), *wording.number_labels(cell, judged)] for cell in cells
    ]
    return ["", title, *_columns([head, *body], _INDENT)]


def _columns(rows: Sequence[Sequence[str]], indent: str) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (indent + _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_on_hyphens=False)
